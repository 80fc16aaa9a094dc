import { expect, test } from 'vitest'
import { allocateGuestFpu } from '../../../src/linux/fpu/door.ts'
import { sigaltstack } from '../../../src/linux/signal/alt-stack.ts'
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
