import { describe, expect, it } from 'vitest'
import { UserError } from '../../src/isa/user-error.ts'
import { DEFAULT_KERNEL_PROFILE, kernelProfile, kernelProfiles, listKernelProfiles } from '../../src/profiles/index.ts'

const names = kernelProfiles.map((p) => p.name)

describe('every profile', () => {
  it('has its own name, and the list shows it with title and source', () => {
    expect(new Set(names).size).toBe(names.length)
    expect(listKernelProfiles().map((p) => p.name)).toEqual(names)
    for (const p of kernelProfiles) {
      expect(p.title).not.toBe('')
      expect(p.source).toMatch(/PERM|XSAVE|SLD|CET|GFPU/)
      expect(kernelProfile(p.name)).toBe(p)
    }
  })

  it.each(kernelProfiles.map((p) => [p.name, p] as const))('%s is consistent with itself', (_, p) => {
    const { fpu, xsave, kvm, permissions, dynamicStates } = p
    expect(fpu.userDynamic & ~fpu.userSupported).toBe(0)
    expect(permissions.facilities.reduce((mask, f) => mask | f.components, 0)).toBe(fpu.userDynamic)
    for (const f of permissions.facilities) {
      expect(31 - Math.clz32(f.components)).toBe(f.highestComponent)
      expect(f.highestComponent).toBeLessThan(permissions.xfeatureMax)
    }
    expect(fpu.guestOnlySupervisor & ~fpu.supervisorSupported).toBe(0)
    expect(fpu.separateGuestDefaults).toBe(fpu.guestOnlySupervisor !== 0)
    expect(fpu.userSupported & (fpu.supervisorSupported | fpu.independentSupervisor)).toBe(0)
    // a program asking for permission must find components to permit
    expect(permissions.hostPermSupported).toBe(fpu.userDynamic !== 0)
    expect(permissions.guestPermSupported).toBe(dynamicStates.enabling !== 'none')
    expect(kvm.hasXsave2).toBe(permissions.guestPermSupported)
    expect(kvm.offersAmx).toBe(permissions.guestPermSupported)
    // the era is a name for the answers, and they agree
    expect(xsave.getTrimsToGuestFeatures).toBe(xsave.era !== 'E1')
    expect(xsave.setBoundToGuestFeatures).toBe(xsave.era === 'E2')
    expect(xsave.setChecksHeader).toBe(xsave.era !== 'E0')
    expect(xsave.setAlwaysChecksMxcsr).toBe(xsave.era === 'E0')
    expect(xsave.setMasksWithXfd).toBe(xsave.era === 'E3+xfd')
    expect(xsave.xfdWriteClearsImage).toBe(xsave.era === 'E3+xfd')
    expect(permissions.hostSizeForcesSupervisor && permissions.keepsSupervisorBits).toBe(false)
    expect(kvm.rejectsAnyCpuidAfterRun && kvm.rejectsChangedCpuidAfterRun).toBe(false)
    expect(kvm.supportedXss !== 0).toBe(p.cet.offeredToGuests)
  })
})

describe('version matrices', () => {
  const column = (name: string) => kernelProfile(name)

  it.each([
    ['linux-5.17', false, 19],
    ['linux-6.1', true, 19],
    ['linux-6.6', true, 19],
    ['linux-6.12', true, 19],
    ['linux-6.18', false, 20],
  ])('%s: host size forces supervisor %s, XFEATURE_MAX %i [PERM §12]', (name, forces, max) => {
    expect(column(name).permissions.hostSizeForcesSupervisor).toBe(forces)
    expect(column(name).permissions.xfeatureMax).toBe(max)
  })

  it.each([
    ['linux-5.17', 0],
    ['linux-6.1', 0x400],
    ['linux-6.6', 0xc00],
    ['linux-6.12', 0xc00],
    ['linux-6.18', 0x1c00],
  ])('%s: supervisor components 0x%s [PERM-01]', (name, mask) => {
    expect(column(name).fpu.supervisorSupported).toBe(mask)
  })

  it.each([
    ['linux-5.15', 'E0'],
    ['linux-5.16', 'E1'],
    ['linux-5.17', 'E2'],
    ['linux-6.1.0', 'E2'],
    ['linux-6.1', 'E3+xfd'],
    ['linux-6.6.0', 'E3'],
    ['linux-6.12', 'E3+xfd'],
    ['linux-6.18.0', 'E3'],
    ['linux-6.18', 'E3+xfd'],
  ])('%s is of era %s [XSAVE §5, §9]', (name, era) => {
    expect(column(name).xsave.era).toBe(era)
  })

  it.each([
    ['linux-5.17', false, false],
    ['linux-6.1', false, true],
    ['linux-6.6', true, true],
    ['linux-6.12', true, true],
    ['linux-6.18', true, true],
  ])('%s: hides XTILE_CFG %s, 4096 floor %s [XSAVE §9]', (name, hides, floor) => {
    expect(column(name).kvm.hidesXtileCfgWithoutPermission).toBe(hides)
    expect(column(name).kvm.baseUabiSizeFloor4096).toBe(floor)
  })

  it('only 6.18 offers CET to guests and counts XSS in 0DH.1 [CET-21, XSAVE-50]', () => {
    const with618 = [
      'linux-6.18.0',
      'linux-6.18',
      'proposal:cet-s-kernel-wide',
      'proposal:cet-s-kvm-managed',
      'proposal:cet-s-kvm-managed-lazy',
    ]
    expect(kernelProfiles.filter((p) => p.cet.offeredToGuests).map((p) => p.name)).toEqual(with618)
    expect(kernelProfiles.filter((p) => p.kvm.compactedSizeCountsXss).map((p) => p.name)).toEqual(with618)
  })

  it('linux-6.12 is the recorded kernel', () => {
    const p = kernelProfile(DEFAULT_KERNEL_PROFILE)
    expect(p.uname.release).toBe('6.12.113+deb12-cloud-amd64')
    expect(p.fpu.userSupported).toBe(0x602ff)
    expect(p.kvm.quirks).toBe(0x7ff)
    expect(p.xsave).toMatchObject({ era: 'E3+xfd', setMasksWithXfd: true, protectedStateIsEinval: true })
    expect(p.splitLock).toMatchObject({ warnDesign: 'timed-reenable', guestVirtualization: 'none', featureSetWhenOff: true })
  })
})

describe('proposals differ from their base in the design only', () => {
  it.each(kernelProfiles.filter((p) => p.name.startsWith('proposal:')).map((p) => [p.name, p] as const))('%s', (_, p) => {
    const base = kernelProfile(p.derivedFrom!)
    expect(p.title).toContain(`(on ${base.name})`)
    expect(p.document).toMatch(/20\d\d-\d\d-\d\d/)
    expect(p.changes.length).toBeGreaterThan(0)
    expect(p.changes.join('')).not.toBe('')
    const changed = (Object.keys(base) as (keyof typeof base)[]).filter(
      (k) =>
        !['name', 'title', 'source', 'derivedFrom', 'changes', 'document'].includes(k) &&
        JSON.stringify(base[k]) !== JSON.stringify(p[k]),
    )
    expect(changed.length).toBeGreaterThan(0)
    expect(changed.length).toBeLessThanOrEqual(3)
  })
})

describe('an unknown profile', () => {
  it.each([
    ['linux-6.13', 'linux-6.12'],
    ['6.12', 'linux-6.12'],
    ['linux6.18', 'linux-6.18'],
    ['proposal:sld-v8', 'proposal:sld-virt-v8'],
  ])('%s: did you mean %s?', (given, nearest) => {
    try {
      kernelProfile(given)
      expect.unreachable()
    } catch (error) {
      expect(error).toBeInstanceOf(UserError)
      expect((error as UserError).code).toBe('unknown-kernel-profile')
      expect((error as UserError).nearest).toContain(nearest)
    }
  })
})
