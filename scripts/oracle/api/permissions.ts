import type { Process } from '../../../src/vmm/process.ts'
import { answerOf } from './calls.ts'
import { Session, XTILE_DATA } from './session.ts'

const NR_write = 1
const NR_memfd_create = 319
const NR_arch_prctl = 158
const NR_sigaltstack = 131
const GETS = { GET_XCOMP_SUPP: 0x1021, GET_XCOMP_PERM: 0x1022, GET_XCOMP_GUEST_PERM: 0x1024 } as const
const SS_DISABLE = 2

/** perm.bad_pointer_and_unknown_ops */
export function badGets(session: Session): void {
  const { calls, process } = session
  const prctl = (option: number, argument: number) => () => process.syscall('arch_prctl', NR_arch_prctl, option, argument)
  for (const [name, option] of Object.entries(GETS)) calls.call(name, ['NULL'], prctl(option, 0))
  for (const option of [0x1020, 0x1026, 0x1027, 0x1028]) {
    calls.call('arch_prctl', [`0x${option.toString(16)}`, XTILE_DATA], prctl(option, XTILE_DATA))
  }
}

/** perm.req.host|guest.NR */
export function request(session: Session, who: string, nr: string): void {
  if (who === 'host') session.reqPerm(Number(nr))
  else session.reqGuestPerm(Number(nr))
  session.gets()
}

/** perm.seq.LETTERS */
export function sequence(session: Session, letters: string): void {
  for (const letter of letters) {
    if (letter === 'p') session.reqPerm(XTILE_DATA)
    else if (letter === 'q') session.reqPerm(17)
    else if (letter === 'g') session.reqGuestPerm(XTILE_DATA)
    else if (letter === 'h') session.reqGuestPerm(17)
    else if (letter === 'b') session.reqPerm(9)
    else if (letter === 'u') session.reqPerm(12)
    else session.gets()
  }
}

const requestBoth = (session: Session): void => {
  session.reqPerm(XTILE_DATA)
  session.reqGuestPerm(XTILE_DATA)
}

/** What another process or thread of the scenario does; its calls stand among those of the first. */
const as = (session: Session, process: Process): Session => new Session(session.host, process, session.calls)

/** perm.thread.* */
export function threads(session: Session, which: string): void {
  const { calls } = session
  const second = as(session, session.process.newThread())
  if (which === 'main_requests') {
    requestBoth(session)
    calls.note('in second thread (started before the request)')
    second.gets()
  } else if (which === 'second_requests') {
    calls.note('request from second thread')
    requestBoth(second)
    second.gets()
    calls.note('main thread after it')
    session.gets()
  } else {
    altStack(second, 4096, ['second thread', 4096])
    session.reqPerm(XTILE_DATA)
    session.gets()
    altStack(second, 0, ['second thread', 'SS_DISABLE'], SS_DISABLE)
    session.reqPerm(XTILE_DATA)
    session.gets()
  }
}

/** perm.fork.* */
export function forks(session: Session, which: string): void {
  const { calls } = session
  if (which === 'parent_requests_first') requestBoth(session)
  const child = as(session, session.process.fork())
  calls.note('in forked child')
  if (which === 'child_requests') requestBoth(child)
  child.gets()
  child.process.exit()
  calls.note('in parent after the child ended')
  session.gets()
}

/** perm.exec */
export function exec(session: Session): void {
  requestBoth(session)
  session.gets()
  const child = session.process.fork()
  const program = programFile(child)
  const executed = as(session, child.exec(program))
  session.calls.note('after execve:')
  executed.gets()
  executed.process.exit()
}

/** A file with the smallest static program: an ELF header and one segment of one instruction (hlt) that never runs. */
export function programFile(process: Process): string {
  const image = new Uint8Array(0x79)
  const view = new DataView(image.buffer)
  image.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  view.setUint16(16, 2, true) // ET_EXEC
  view.setUint16(18, 62, true) // EM_X86_64
  view.setUint32(20, 1, true)
  view.setBigUint64(24, 0x400078n, true)
  view.setBigUint64(32, 64n, true)
  view.setUint16(52, 64, true)
  view.setUint16(54, 56, true)
  view.setUint16(56, 1, true)
  view.setUint32(64, 1, true) // PT_LOAD, readable and executable
  view.setUint32(68, 5, true)
  view.setBigUint64(80, 0x400000n, true)
  view.setBigUint64(88, 0x400000n, true)
  view.setBigUint64(96, BigInt(image.length), true)
  view.setBigUint64(104, BigInt(image.length), true)
  view.setBigUint64(112, 0x1000n, true)
  image[0x78] = 0xf4
  const memory = process.allocate(4096)
  memory.write(0, Uint8Array.of(0x65, 0))
  const fd = process.syscall('memfd_create', NR_memfd_create, memory.address, 0)
  memory.write(0, image)
  process.syscall('write', NR_write, fd, memory.address, image.length)
  return `/proc/self/fd/${fd}`
}

const SIZES = [1024, 2047, 2048, 2049, 3000, 3632, 4096, 8192, 11952, 12288, 16384]
const LARGEST = 1 << 17

/** sigaltstack.without_permission */
export function altStacks(session: Session): void {
  for (const size of SIZES) altStack(session, size, [size])
}

/** sigaltstack.after_permission: and the smallest size that is accepted, found by halving. */
export function altStacksAfterRequest(session: Session): void {
  session.reqPerm(XTILE_DATA)
  altStacks(session)
  const accepts = (size: number) => answerOf(() => setAltStack(session.process, size)).ret === 0
  let [lo, hi] = [2047, LARGEST]
  if (!accepts(hi)) return
  while (hi - lo > 1) {
    const middle = (lo + hi) >> 1
    if (accepts(middle)) hi = middle
    else lo = middle
  }
  session.calls.call('smallest_accepted_sigaltstack', null, () => hi)
}

function altStack(session: Session, size: number, args: readonly unknown[], flags = 0): void {
  session.calls.call('sigaltstack', args, () => setAltStack(session.process, size, flags))
}

function setAltStack(process: Process, size: number, flags = 0): number {
  const memory = process.allocate(4096)
  const stack = new Uint8Array(24)
  const view = new DataView(stack.buffer)
  view.setBigUint64(0, BigInt(memory.address + 4096), true)
  view.setInt32(8, flags, true)
  view.setBigUint64(16, BigInt(size), true)
  memory.write(0, stack)
  try {
    return process.syscall('sigaltstack', NR_sigaltstack, memory.address, 0)
  } finally {
    process.release(memory)
  }
}
