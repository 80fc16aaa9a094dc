import { EFAULT, EINVAL, ENOSYS, EPERM, ESRCH } from '../errno.ts'
import { latin1 } from '../fs/text-file.ts'
import { RLIM_INFINITY, RLIM_NLIMITS } from '../limits.ts'
import type { Task } from '../task.ts'
import type { SyscallArguments } from './arguments.ts'
import { full, partial, refused, type SyscallRow, type SyscallRows } from './support.ts'
import { childrenTime, processTime, threadTime } from './time.ts'
import { writeTimeval } from './timespec.ts'

/** The host and its resources. */
export const systemCalls: SyscallRows = {
  63: { name: 'uname', args: 'ptr', support: full, run: (task, a) => uname(task, a.long(0)) },
  97: { name: 'getrlimit', args: 'RLIMIT ptr', support: full, run: (task, a) => storeLimit(task, task, a.u32(0), a.long(1)) },
  98: { name: 'getrusage', args: 'int ptr', support: partial('user time and faults'), run: getrusage },
  99: { name: 'sysinfo', args: 'ptr', support: full, run: (task, a) => sysinfo(task, a.long(0)) },
  103: { name: 'syslog', args: 'int ptr int', support: refused('EPERM', 'needs privilege'), run: () => -EPERM },
  137: {
    name: 'statfs',
    args: 'str ptr',
    support: partial('tmpfs figures for everything'),
    run: (task, a) => statfs(task, a.long(1)),
  },
  138: {
    name: 'fstatfs',
    args: 'fd ptr',
    support: partial('tmpfs figures for everything'),
    run: (task, a) => statfs(task, a.long(1)),
  },
  160: { name: 'setrlimit', args: 'RLIMIT ptr', support: full, run: (task, a) => setLimit(task, task, a.u32(0), a.long(1)) },
  302: { name: 'prlimit64', args: 'int RLIMIT ptr ptr', support: full, run: prlimit64 },
  318: { name: 'getrandom', args: 'ptr size hex', support: full, run: getrandom },
  324: {
    name: 'membarrier',
    args: 'int hex int',
    support: partial('accesses are in order already'),
    run: (_task, a) => (a.int(0) === 0 ? 0x1ff : 0),
  },
}

const absent = (name: string, args: string, errno: number, why: string): SyscallRow => ({
  name,
  args,
  support: refused(errno === ENOSYS ? 'ENOSYS' : 'EPERM', why),
  run: (task) => {
    task.kernel.syscalls.note(name)
    return -errno
  },
})

/** Calls that tests try and do without. */
export const absentCalls: SyscallRows = {
  41: absent('socket', 'int int int', 97, 'no network'),
  213: absent('epoll_create', 'int', ENOSYS, 'not modelled'),
  237: absent('mbind', 'ptr size int ptr size hex', ENOSYS, 'one memory node'),
  239: absent('get_mempolicy', 'ptr ptr size ptr hex', ENOSYS, 'one memory node'),
  256: absent('migrate_pages', 'int size ptr ptr', ENOSYS, 'one memory node'),
  283: absent('timerfd_create', 'int hex', ENOSYS, 'not modelled'),
  291: absent('epoll_create1', 'hex', ENOSYS, 'not modelled'),
  298: absent('perf_event_open', 'ptr int int int hex', ENOSYS, 'no performance counters'),
  323: absent('userfaultfd', 'hex', ENOSYS, 'not modelled'),
  425: absent('io_uring_setup', 'uint ptr', ENOSYS, 'not modelled'),
}

function uname(task: Task, user: number): number {
  const { uname: names } = task.kernel.profile
  const bytes = new Uint8Array(65 * 6)
  const fields = [names.sysname, task.kernel.hostname, names.release, names.version, names.machine, '(none)']
  fields.forEach((field, i) => {
    bytes.set(latin1(field.slice(0, 64)), i * 65)
  })
  return task.mm.copyToUser(user, bytes, 0, bytes.length) ? 0 : -EFAULT
}

/** struct rlimit. */
function putLimits(task: Task, user: number, [soft, hard]: readonly [bigint, bigint]): boolean {
  const put = (at: number, value: bigint) =>
    task.mm.putUser64(at, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)))
  return put(user, soft) && put(user + 8, hard)
}

function limitsOf(target: Task, resource: number): readonly [bigint, bigint] {
  const { soft, hard, exact } = target.group.limits
  const bits = (value: number) => (value === RLIM_INFINITY ? -1n : BigInt(value))
  return exact.get(resource) ?? [bits(soft[resource]), bits(hard[resource])]
}

function storeLimit(task: Task, target: Task, resource: number, user: number): number {
  if (resource >= RLIM_NLIMITS) return -EINVAL
  return putLimits(task, user, limitsOf(target, resource)) ? 0 : -EFAULT
}

function readLimit(task: Task, user: number): bigint | null {
  if (!task.mm.getUser64(user)) return null
  const { lo, hi } = task.mm
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
}

const RLIM64_INFINITY = 2n ** 64n - 1n

function setLimit(task: Task, target: Task, resource: number, user: number): number {
  if (resource >= RLIM_NLIMITS) return -EINVAL
  const wantedSoft = readLimit(task, user)
  const wantedHard = readLimit(task, user + 8)
  if (wantedSoft === null || wantedHard === null) return -EFAULT
  if (wantedSoft > wantedHard) return -EINVAL
  const { limits } = target.group
  const asNumber = (value: bigint) => (value === RLIM64_INFINITY ? RLIM_INFINITY : Number(value))
  const [soft, hard] = [asNumber(wantedSoft), asNumber(wantedHard)]
  if (hard > limits.hard[resource] && task.kernel.uid !== 0) return -EPERM
  limits.soft[resource] = soft
  limits.hard[resource] = hard
  limits.exact.set(resource, [wantedSoft, wantedHard])
  if (resource === 3) target.mm.stackLimit = soft
  return 0
}

function prlimit64(task: Task, a: SyscallArguments): number {
  const pid = a.int(0)
  const target = pid === 0 ? task : task.kernel.tasks.get(pid)
  if (target === undefined) return -ESRCH
  const resource = a.u32(1)
  if (resource >= RLIM_NLIMITS) return -EINVAL
  const old = limitsOf(target, resource)
  if (a.long(2) !== 0) {
    const result = setLimit(task, target, resource, a.long(2))
    if (result < 0) return result
  }
  if (a.long(3) === 0) return 0
  return putLimits(task, a.long(3), old) ? 0 : -EFAULT
}

function getrusage(task: Task, a: SyscallArguments): number {
  const who = a.int(0)
  if (who < -1 || who > 1) return -EINVAL
  const user = a.long(1)
  const { mm } = task
  if (!mm.clearUser(user, 144)) return -EFAULT
  const time = who === -1 ? childrenTime(task) : who === 1 ? threadTime(task) : processTime(task)
  const stored =
    writeTimeval(task, user, time) &&
    mm.putUserLong(user + 32, mm.residentPages * 4) &&
    mm.putUserLong(user + 64, mm.minorFaults) &&
    mm.putUserLong(user + 128, task.voluntarySwitches) &&
    mm.putUserLong(user + 136, task.involuntarySwitches)
  return stored ? 0 : -EFAULT
}

/** struct sysinfo, 112 bytes. */
function sysinfo(task: Task, user: number): number {
  const { kernel } = task
  const bytes = new Uint8Array(112)
  const view = new DataView(bytes.buffer)
  const long = (at: number, value: number) => {
    view.setUint32(at, value >>> 0, true)
    view.setUint32(at + 4, Math.floor(value / 4294967296), true)
  }
  long(0, Math.floor(kernel.clock.now / 1e9))
  long(32, kernel.pages.total * 4096)
  long(40, kernel.pages.available * 4096)
  view.setUint16(80, kernel.tasks.size, true)
  view.setUint32(104, 1, true)
  return task.mm.copyToUser(user, bytes, 0, 112) ? 0 : -EFAULT
}

/** struct statfs, 120 bytes: TMPFS_MAGIC. */
function statfs(task: Task, user: number): number {
  const { pages } = task.kernel
  const bytes = new Uint8Array(120)
  const view = new DataView(bytes.buffer)
  const long = (at: number, value: number) => {
    view.setUint32(at, value >>> 0, true)
    view.setUint32(at + 4, Math.floor(value / 4294967296), true)
  }
  long(0, 0x01021994)
  long(8, 4096)
  long(16, pages.total)
  long(24, pages.available)
  long(32, pages.available)
  long(64, 255)
  long(72, 4096)
  return task.mm.copyToUser(user, bytes, 0, 120) ? 0 : -EFAULT
}

function getrandom(task: Task, a: SyscallArguments): number {
  if ((a.u32(2) & ~7) !== 0) return -EINVAL
  const length = a.long(1)
  if (length < 0) return -EFAULT
  return fillRandom(task, a.long(0), length)
}

/** Random bytes to user memory, a page at a time, up to the first one that is not there. */
export function fillRandom(task: Task, user: number, length: number): number {
  const bytes = new Uint8Array(4096)
  let done = 0
  while (done < length) {
    const chunk = bytes.subarray(0, Math.min(4096, length - done))
    const written = task.mm.copyToUserPartly(user + done, task.kernel.random.fill(chunk), 0, chunk.length)
    done += written
    if (written < chunk.length) return done === 0 ? -EFAULT : done
  }
  return done
}
