import { expect, test } from 'vitest'
import { allocateGuestFpu, ensureRegistersLoaded } from '../../../src/linux/fpu/door.ts'
import { flushFpu } from '../../../src/linux/fpu/lifecycle.ts'
import { groupPermission } from '../../../src/linux/fpu/permission.ts'
import { handleXfdFault } from '../../../src/linux/fpu/xfd-fault.ts'
import { pinnedProcessor } from '../../../src/linux/processor.ts'
import { sigaltstack } from '../../../src/linux/signal/alt-stack.ts'
import { compatTable } from '../../../src/linux/syscalls/table.ts'
import type { Task } from '../../../src/linux/task.ts'
import { COUNT_XFD } from '../../../src/machine/counters.ts'
import { REG } from '../../../src/machine/execution-context.ts'
import { bootHost, CallingProcess, E } from '../host.ts'

const arch_prctl = 158
const GET_SUPP = 0x1021
const GET_PERM = 0x1022
const REQ_PERM = 0x1023
const GET_GUEST_PERM = 0x1024
const REQ_GUEST_PERM = 0x1025

function get(process: CallingProcess, option: number): number {
  expect(process.call(arch_prctl, option, process.scratch)).toBe(0)
  return process.task.mm.getUserLong(process.scratch)
}

/** A second thread of the process: CLONE_VM, _FS, _FILES, _SIGHAND, _THREAD. */
function newThread(process: CallingProcess): Task {
  return process.kernel.tasks.get(process.call(56, 0x10f00, 0x10000000))!
}

/** sigaltstack with a stack of `size` bytes. */
function altStack(process: CallingProcess, size: number): number {
  const { mm } = process.task
  mm.putUserLong(process.scratch, 0x10000000)
  mm.putUser64(process.scratch + 8, 0, 0)
  mm.putUserLong(process.scratch + 16, size)
  return sigaltstack(process.task, process.scratch, 0)
}

test('the prctl walk of Sapphire Rapids on 6.12 [PERM-16, PERM-17, PERM-20, PERM-21, PERM-23]', () => {
  const p = new CallingProcess(bootHost())
  expect(get(p, GET_SUPP)).toBe(0x602e7)
  expect(get(p, GET_PERM)).toBe(0x202e7)
  expect(p.call(arch_prctl, REQ_PERM, 17)).toBe(-E.EOPNOTSUPP)
  expect(p.call(arch_prctl, REQ_PERM, 2)).toBe(-E.EOPNOTSUPP)
  expect(p.call(arch_prctl, REQ_PERM, 19)).toBe(-E.EINVAL)
  expect(p.call(arch_prctl, REQ_PERM, 0x100000012)).toBe(-E.EINVAL)
  expect(p.call(arch_prctl, REQ_PERM, -1)).toBe(-E.EINVAL)
  expect(p.call(arch_prctl, REQ_PERM, 18)).toBe(0)
  expect(get(p, GET_PERM)).toBe(0x602e7)
  expect(get(p, GET_GUEST_PERM)).toBe(0x202e7)
  expect(p.call(arch_prctl, REQ_GUEST_PERM, 18)).toBe(0)
  expect(get(p, GET_GUEST_PERM)).toBe(0x602e7)
  expect(allocateGuestFpu(p.task)).not.toBeNull()
  expect(p.call(arch_prctl, REQ_GUEST_PERM, 18)).toBe(0)
})

test('component 19 is EOPNOTSUPP since 6.16, 20 is EINVAL [PERM-17]', () => {
  const p = new CallingProcess(bootHost({ profile: 'linux-6.18' }))
  expect(p.call(arch_prctl, REQ_PERM, 19)).toBe(-E.EOPNOTSUPP)
  expect(p.call(arch_prctl, REQ_PERM, 20)).toBe(-E.EINVAL)
})

test('ARCH_REQ_XCOMP_GUEST_PERM after the first vCPU fails with EBUSY and says why [PERM-23]', () => {
  const p = new CallingProcess(bootHost())
  allocateGuestFpu(p.task)
  expect(p.call(arch_prctl, REQ_GUEST_PERM, 18)).toBe(-E.EBUSY)
  expect(p.task.refusal).toMatchObject({ errno: E.EBUSY, rule: 'PERM-23' })
  expect(get(p, GET_GUEST_PERM)).toBe(0x202e7)
})

test('without AMX a request is EOPNOTSUPP and nothing is dynamic [PERM-13, PERM-17]', () => {
  const kernel = bootHost({ cpu: 'Skylake-Server' })
  const p = new CallingProcess(kernel)
  expect(p.call(arch_prctl, REQ_PERM, 18)).toBe(-E.EOPNOTSUPP)
  expect(kernel.xstate.dynamicSizing).toBe(false)
})

test('a GET option with a bad pointer is EFAULT [PERM-16]', () => {
  const p = new CallingProcess(bootHost())
  for (const option of [GET_SUPP, GET_PERM, GET_GUEST_PERM]) expect(p.call(arch_prctl, option, 0x10)).toBe(-E.EFAULT)
})

test('unknown arch_prctl options are EINVAL [LUX-32, PERM-18]', () => {
  const p = new CallingProcess(bootHost())
  for (const option of [0x1020, 0x1026, 0x6001, 0]) expect(p.call(arch_prctl, option, p.scratch)).toBe(-E.EINVAL)
})

test('a request needs every alternate stack of the process to hold a frame [PERM-28]', () => {
  const p = new CallingProcess(bootHost())
  expect(altStack(p, 11951)).toBe(0)
  expect(p.call(arch_prctl, REQ_PERM, 18)).toBe(-E.ENOSPC)
  expect(get(p, GET_PERM)).toBe(0x202e7)
  // Guest permission does not look at alternate stacks [PERM-21].
  expect(p.call(arch_prctl, REQ_GUEST_PERM, 18)).toBe(0)
  expect(altStack(p, 11952)).toBe(0)
  expect(p.call(arch_prctl, REQ_PERM, 18)).toBe(0)
})

test('a guest request looks at no alternate stack and grants the host nothing; nor the other way round [PERM-21]', () => {
  const p = new CallingProcess(bootHost())
  expect(altStack(p, 2048)).toBe(0)
  expect(p.call(arch_prctl, REQ_GUEST_PERM, 18)).toBe(0)
  expect([get(p, GET_PERM), get(p, GET_GUEST_PERM)]).toEqual([0x202e7, 0x602e7])
  const other = new CallingProcess(bootHost())
  expect(other.call(arch_prctl, REQ_PERM, 18)).toBe(0)
  expect([get(other, GET_PERM), get(other, GET_GUEST_PERM)]).toEqual([0x602e7, 0x202e7])
})

test('after the grant sigaltstack takes 11837 bytes and refuses 11836 [PERM-29, PERM-30]', () => {
  const p = new CallingProcess(bootHost())
  expect(altStack(p, 2048)).toBe(0)
  expect(altStack(p, 2047)).toBe(-E.ENOMEM)
  expect(altStack(p, 65536)).toBe(0)
  expect(p.call(arch_prctl, REQ_PERM, 18)).toBe(0)
  expect(altStack(p, 11837)).toBe(0)
  expect(altStack(p, 11836)).toBe(-E.ENOMEM)
  // Its present setting is accepted without a check [PERM-31].
  expect(altStack(p, 11837)).toBe(0)
})

test('an alternate stack set to what it is already is accepted, however small [PERM-31]', () => {
  const p = new CallingProcess(bootHost())
  expect(p.call(arch_prctl, REQ_PERM, 18)).toBe(0)
  p.task.altStack = { sp: 0x10000000, size: 2048, flags: 0 }
  expect(altStack(p, 2048)).toBe(0)
  expect(altStack(p, 2056)).toBe(-E.ENOMEM)
})

test('strict mode checks before any grant: more than 3644 bytes [PERM-29, PERM-31]', () => {
  const p = new CallingProcess(bootHost({ strictSigaltstack: true }))
  expect(altStack(p, 3644)).toBe(-E.ENOMEM)
  expect(altStack(p, 3645)).toBe(0)
})

test('a fork inherits permissions and the lock, a new program starts with defaults [PERM-14, PERM-24]', () => {
  const kernel = bootHost()
  const p = new CallingProcess(kernel)
  p.call(arch_prctl, REQ_PERM, 18)
  allocateGuestFpu(p.task)
  const pid = p.call(57)
  const child = kernel.tasks.get(pid)!
  expect(child.fpu.perm).toEqual(p.task.fpu.perm)
  expect(child.fpu.guestPerm.locked).toBe(true)
  const fresh = new CallingProcess(kernel, 1)
  expect(get(fresh, GET_PERM)).toBe(0x202e7)
})

test('before 6.16 a grant drops supervisor bits from the stored permission, later it keeps them [PERM-59]', () => {
  const before = new CallingProcess(bootHost({ profile: 'linux-6.12' }))
  expect(before.task.fpu.perm.statePerm).toBe(0x20ee7)
  before.call(arch_prctl, REQ_PERM, 18)
  expect(before.task.fpu.perm.statePerm).toBe(0x602e7)
  expect(before.task.fpu.perm.kernelSize).toBe(10752)
  const after = new CallingProcess(bootHost({ profile: 'linux-6.18' }))
  after.call(arch_prctl, REQ_PERM, 18)
  expect(after.task.fpu.perm.statePerm).toBe(0x60ee7)
})

test('host and guest options exist from the release that brought them [PERM-18]', () => {
  const walk = (profile: string) => {
    const p = new CallingProcess(bootHost({ profile }))
    return [p.call(arch_prctl, GET_PERM, p.scratch), p.call(arch_prctl, GET_GUEST_PERM, p.scratch)]
  }
  expect(walk('linux-5.15')).toEqual([-E.EINVAL, -E.EINVAL])
  expect(walk('linux-5.16')).toEqual([0, -E.EINVAL])
  expect(walk('linux-5.17')).toEqual([0, 0])
})

test('a 32-bit process may use every option, through its own system-call table [PERM-18]', () => {
  const p = new CallingProcess(bootHost())
  const compat = (...args: number[]) => {
    args.forEach((value, i) => void p.task.context.set([REG.RBX, REG.RCX][i], value, 0))
    p.task.args.compat = true
    return compatTable[384]!.run(p.task, p.task.args)
  }
  expect(compat(REQ_PERM, 18)).toBe(0)
  expect(compat(REQ_GUEST_PERM, 18)).toBe(0)
  expect(compat(REQ_PERM, 17)).toBe(-E.EOPNOTSUPP)
  expect(compat(0x1026, 0)).toBe(-E.EINVAL)
  expect([get(p, GET_PERM), get(p, GET_GUEST_PERM)]).toEqual([0x602e7, 0x602e7])
})

test('GET shows neither supervisor components nor the lock [PERM-15]', () => {
  const p = new CallingProcess(bootHost({ profile: 'linux-6.18' }))
  allocateGuestFpu(p.task)
  expect(p.task.fpu.guestPerm).toMatchObject({ statePerm: 0x21ee7, locked: true })
  expect(p.call(arch_prctl, GET_GUEST_PERM, p.scratch)).toBe(0)
  expect(new DataView(p.bytes(p.scratch, 8).buffer).getBigUint64(0, true)).toBe(0x202e7n)
})

test('the checks come in their order: number, kind, already permitted, locked [PERM-17]', () => {
  const locked = new CallingProcess(bootHost())
  allocateGuestFpu(locked.task)
  expect(locked.call(arch_prctl, REQ_GUEST_PERM, 19)).toBe(-E.EINVAL)
  expect(locked.call(arch_prctl, REQ_GUEST_PERM, 9)).toBe(-E.EOPNOTSUPP)
  expect(locked.call(arch_prctl, REQ_GUEST_PERM, 18)).toBe(-E.EBUSY)
  const permitted = new CallingProcess(bootHost())
  expect(permitted.call(arch_prctl, REQ_PERM, 18)).toBe(0)
  // A small stack set by another thread would be ENOSPC, were the permission not there already.
  permitted.task.altStack = { sp: 0x10000000, size: 2048, flags: 0 }
  expect(permitted.call(arch_prctl, REQ_PERM, 18)).toBe(0)
})

test('a grant writes the new sizes into the record and leaves every buffer small [PERM-20]', () => {
  const p = new CallingProcess(bootHost())
  const thread = newThread(p)
  expect(p.call(arch_prctl, REQ_PERM, 18)).toBe(0)
  expect(p.call(arch_prctl, REQ_GUEST_PERM, 18)).toBe(0)
  expect(p.task.fpu.perm).toMatchObject({ kernelSize: 10752, userSize: 11008 })
  // The guest request of this kernel counts what is permitted only: the supervisor components are in the record.
  expect(p.task.fpu.guestPerm).toMatchObject({ kernelSize: 10752, userSize: 11008 })
  for (const { fpu } of [p.task, thread])
    expect(fpu.fpstate).toMatchObject({ size: 2560, userSize: 2816, xfeatures: 0x20ee7, xfd: 0x40000 })
})

test('the grant adds component 18 alone; 17 was there [PERM-19]', () => {
  const p = new CallingProcess(bootHost())
  const before = get(p, GET_PERM)
  p.call(arch_prctl, REQ_PERM, 18)
  expect(before & 0x60000).toBe(0x20000)
  expect(get(p, GET_PERM) ^ before).toBe(0x40000)
})

test("a thread uses the leader's record and starts small, with XFD set [PERM-25]", () => {
  const p = new CallingProcess(bootHost())
  p.call(arch_prctl, REQ_PERM, 18)
  const cpu = pinnedProcessor(p.task.cpu!)
  ensureRegistersLoaded(cpu)
  cpu.processor.writeXfdErr(0x40000)
  handleXfdFault(cpu, p.task)
  expect(p.task.fpu.fpstate.size).toBe(10752)
  const thread = newThread(p)
  expect(thread.group).toBe(p.task.group)
  expect(groupPermission(thread, false)).toBe(p.task.fpu.perm)
  expect(thread.fpu.perm.statePerm).toBe(0x20ee7)
  expect(thread.fpu.fpstate).toMatchObject({ size: 2560, xfd: 0x40000 })
})

test('exec resets permissions and lock, gives the large buffer back and sets XFD again [PERM-14, PERM-22, PERM-26]', () => {
  const kernel = bootHost()
  const p = new CallingProcess(kernel)
  const { fpu } = p.task
  const cpu = pinnedProcessor(p.task.cpu!)
  const small = kernel.heap.bytesInUse
  p.call(arch_prctl, REQ_PERM, 18)
  p.call(arch_prctl, REQ_GUEST_PERM, 18)
  allocateGuestFpu(p.task)
  const withGuest = kernel.heap.bytesInUse
  ensureRegistersLoaded(cpu)
  cpu.processor.writeXfdErr(0x40000)
  handleXfdFault(cpu, p.task)
  expect([kernel.heap.bytesInUse > withGuest, cpu.processor.xfd]).toEqual([true, 0])
  flushFpu(cpu, p.task)
  expect(kernel.heap.bytesInUse).toBe(withGuest)
  expect(withGuest).toBeGreaterThan(small)
  expect(fpu.fpstate).toBe(fpu.embedded)
  expect(fpu.perm).toEqual({ statePerm: 0x20ee7, locked: false, kernelSize: 2560, userSize: 2816 })
  expect(fpu.guestPerm).toEqual({ statePerm: 0x20ee7, locked: false, kernelSize: 2560, userSize: 2816 })
  ensureRegistersLoaded(cpu)
  expect(cpu.processor.xfd).toBe(0x40000)
})

test('the default guest permission has CET_S from 6.17 on [PERM-14]', () => {
  const { guestPerm, perm } = new CallingProcess(bootHost({ profile: 'linux-6.18' })).task.fpu
  expect([perm.statePerm, guestPerm.statePerm]).toEqual([0x20ee7, 0x21ee7])
})

test('a fork takes the records of the leader, not of the thread that forks [PERM-24]', () => {
  const kernel = bootHost()
  const p = new CallingProcess(kernel)
  const thread = newThread(p)
  p.call(arch_prctl, REQ_PERM, 18)
  p.leave()
  kernel.scheduler.switchTo(kernel.cpus[0], thread)
  const forking = Object.assign(Object.create(CallingProcess.prototype), { kernel, task: thread, scratch: p.scratch })
  const child = kernel.tasks.get(forking.call(57))!
  expect(thread.fpu.perm.statePerm).toBe(0x20ee7)
  expect(child.fpu.perm.statePerm).toBe(0x602e7)
})

test('without a dynamic component a fork inherits nothing, not even the lock [PERM-13, PERM-24]', () => {
  const kernel = bootHost({ cpu: 'Icelake-Server' })
  const p = new CallingProcess(kernel)
  allocateGuestFpu(p.task)
  expect(p.task.fpu.guestPerm.locked).toBe(true)
  expect(kernel.tasks.get(p.call(57))!.fpu.guestPerm.locked).toBe(false)
  expect(kernel.machine.counters.msrWritesOf[COUNT_XFD]).toBe(0)
})

test("another thread's small alternate stack blocks a request, one without any does not [PERM-28]", () => {
  const p = new CallingProcess(bootHost())
  const thread = newThread(p)
  thread.altStack = { sp: 0x10000000, size: 4096, flags: 0 }
  expect(p.call(arch_prctl, REQ_PERM, 18)).toBe(-E.ENOSPC)
  expect(p.task.refusal?.sentence).toContain(`thread ${thread.tid}`)
  expect(p.task.fpu.perm).toMatchObject({ statePerm: 0x20ee7, userSize: 2816 })
  thread.altStack = { sp: 0, size: 0, flags: 2 }
  expect(p.call(arch_prctl, REQ_PERM, 18)).toBe(0)
})

test('without a dynamic component only strict mode looks beyond 2048 bytes [PERM-29]', () => {
  const lax = new CallingProcess(bootHost({ cpu: 'Skylake-Server' }))
  expect(altStack(lax, 2048)).toBe(0)
  const strict = new CallingProcess(bootHost({ cpu: 'Skylake-Server', strictSigaltstack: true }))
  // 3632 - (2696 + 116) + 2696
  expect(altStack(strict, 3516)).toBe(-E.ENOMEM)
  expect(altStack(strict, 3517)).toBe(0)
})

test('a size between the two limits blocks the grant and is accepted after it [PERM-30]', () => {
  const p = new CallingProcess(bootHost())
  expect(altStack(p, 11900)).toBe(0)
  expect(p.call(arch_prctl, REQ_PERM, 18)).toBe(-E.ENOSPC)
  p.task.altStack = { sp: 0, size: 0, flags: 2 }
  expect(p.call(arch_prctl, REQ_PERM, 18)).toBe(0)
  expect(altStack(p, 11900)).toBe(0)
})
