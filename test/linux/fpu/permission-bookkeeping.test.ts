import { describe, expect, test } from 'vitest'
import { allocateGuestFpu, enableGuestFeatures, guestImageBytes } from '../../../src/linux/fpu/door.ts'
import type { PermissionRecord } from '../../../src/linux/fpu/thread-fpu.ts'
import { bootHost, CallingProcess, E } from '../host.ts'

const arch_prctl = 158
const REQ_PERM = 0x1023
const GET_GUEST_PERM = 0x1024
const REQ_GUEST_PERM = 0x1025

/** Worked example "Bug demo" of PERM §13: default features 0xa07, dynamic 18 (8192 bytes) and 20 (256), nothing aligned. */
const processOn = (profile: string, cpu = 'Synthetic-TwoDynamic'): CallingProcess =>
  new CallingProcess(bootHost({ cpu, profile, physicalBytes: 32 << 20 }))
const guestRecord = (p: CallingProcess): PermissionRecord => p.task.fpu.guestPerm

describe('supervisor bits of state_perm', () => {
  const cases = [
    ['linux-5.18 to 6.15', 'linux-6.6', false],
    ['6.16 on', 'linux-6.18', true],
  ] as const
  test.each(cases)('%s: after an AMX request CET_U is kept: %s %s [PERM-59]', (_, profile, kept) => {
    const p = processOn(profile, 'SapphireRapids')
    expect(guestRecord(p).statePerm & 0x800).toBe(0x800)
    expect(p.call(arch_prctl, REQ_GUEST_PERM, 18)).toBe(0)
    expect(p.call(arch_prctl, REQ_PERM, 18)).toBe(0)
    expect((guestRecord(p).statePerm & 0x800) !== 0).toBe(kept)
    expect((p.task.fpu.perm.statePerm & 0x800) !== 0).toBe(kept)
    // What programs see is masked, and the same.
    expect(p.call(arch_prctl, GET_GUEST_PERM, p.scratch)).toBe(0)
    expect(p.task.mm.getUserLong(p.scratch)).toBe(0x602e7)
  })

  const designs = [
    ['proposal:perm-bookkeeping-before', 0x40207, 0x140207, 9288],
    ['proposal:perm-bookkeeping-fixed', 0x40a07, 0x140a07, 9304],
  ] as const
  test.each(designs)('%s: two requests [PERM-17, PERM-19, PERM-60, PERM-62]', (profile, afterFirst, afterSecond, size) => {
    const p = processOn(profile)
    expect(guestRecord(p)).toMatchObject({ statePerm: 0xa07, kernelSize: 856 })
    expect(p.call(arch_prctl, REQ_GUEST_PERM, 18)).toBe(0)
    expect(guestRecord(p)).toMatchObject({ statePerm: afterFirst, kernelSize: 9048 })
    expect(p.call(arch_prctl, REQ_GUEST_PERM, 19)).toBe(-E.EOPNOTSUPP)
    expect(p.call(arch_prctl, REQ_GUEST_PERM, 21)).toBe(-E.EINVAL)
    expect(p.call(arch_prctl, REQ_GUEST_PERM, 20)).toBe(0)
    expect(guestRecord(p)).toMatchObject({ statePerm: afterSecond, kernelSize: size })
  })

  test('the host request had the size right all along: all supervisor components were forced into it [PERM-60, PERM-65]', () => {
    const before = processOn('proposal:perm-bookkeeping-before')
    for (const nr of [18, 20]) expect(before.call(arch_prctl, REQ_PERM, nr)).toBe(0)
    expect(before.task.fpu.perm).toMatchObject({ statePerm: 0x140207, kernelSize: 9304 })
    // 5.17 did not force them, and CET_U was not in its images.
    const fixed = processOn('proposal:perm-bookkeeping-fixed')
    for (const nr of [18, 20]) expect(fixed.call(arch_prctl, REQ_PERM, nr)).toBe(0)
    expect(fixed.task.fpu.perm).toMatchObject({ statePerm: 0x140a07, kernelSize: 9304 })
  })

  test('the store that drops supervisor bits never meets LOCKED [PERM-61]', () => {
    const p = processOn('proposal:perm-bookkeeping-before')
    expect(p.call(arch_prctl, REQ_GUEST_PERM, 18)).toBe(0)
    allocateGuestFpu(p.task)
    expect(p.call(arch_prctl, REQ_GUEST_PERM, 20)).toBe(-E.EBUSY)
    expect(p.call(arch_prctl, REQ_GUEST_PERM, 18)).toBe(0)
    expect(guestRecord(p)).toMatchObject({ locked: true, statePerm: 0x40207 })
  })

  test.each(designs)('%s: what is enabled for a guest is %i bytes of room [PERM-60]', (profile, _first, _second, size) => {
    const p = processOn(profile)
    for (const nr of [18, 20]) expect(p.call(arch_prctl, REQ_GUEST_PERM, nr)).toBe(0)
    const guest = allocateGuestFpu(p.task)!
    expect(guestImageBytes(guest)).toBe(856)
    expect(enableGuestFeatures(p.task, guest, 0x140207)).toBe(0)
    expect(guestImageBytes(guest)).toBe(size)
  })
})
