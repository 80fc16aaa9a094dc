import { describe, expect, it } from 'vitest'
import { cpuidXcr0 } from '../../src/vmm/cpuid-list.ts'
import { testHost } from './hosts.ts'

const XTILE_CFG = 17
const XTILE_DATA = 18
const XTILE = (1n << 17n) | (1n << 18n)

describe('permission for guests to use AMX', () => {
  it('requested first: supported CPUID, sizes and SET_CPUID2 follow [PERM-23, XSAVE-01, XSAVE-40, GFPU-39]', () => {
    const process = testHost().newProcess()
    const kvm = process.openKvm()
    expect(kvm.supportedXcr0() & XTILE).toBe(XTILE)
    expect(cpuidXcr0(kvm.getSupportedCpuid()) & XTILE).toBe(0n)
    expect(kvm.checkExtension('KVM_CAP_XSAVE2')).toBe(4096)
    process.archPrctl.reqXcompGuestPerm(XTILE_DATA)
    expect((process.archPrctl.getXcompGuestPerm() >> 18n) & 1n).toBe(1n)
    expect(cpuidXcr0(kvm.getSupportedCpuid()) & XTILE).toBe(XTILE)
    expect(kvm.checkExtension('KVM_CAP_XSAVE2')).toBe(11008)
    const vcpu = kvm.createVm().createVcpu()
    vcpu.setCpuid2(kvm.getSupportedCpuid())
    vcpu.setXcr0(0x602e7n)
    expect(vcpu.getXcr0()).toBe(0x602e7n)
  })

  it('requested after the first vCPU: EBUSY, and CPUID with AMX is EPERM for good [PERM-23, GFPU-04, GFPU-50]', () => {
    const host = testHost()
    const allowed = host.newProcess()
    allowed.archPrctl.reqXcompGuestPerm(XTILE_DATA)
    const withAmx = allowed.openKvm().getSupportedCpuid()

    const process = host.newProcess()
    const vcpu = process.openKvm().createVm().createVcpu()
    expect(() => process.archPrctl.reqXcompGuestPerm(XTILE_DATA)).toThrow(/EBUSY.*PERM-23/)
    expect(() => vcpu.setCpuid2(withAmx)).toThrow(/EPERM: KVM_SET_CPUID2/)
    expect(vcpu.getCpuid2()).toEqual([])
  })

  it('is of a process, not of a host', () => {
    const host = testHost()
    host.newProcess().archPrctl.reqXcompGuestPerm(XTILE_DATA)
    expect(host.newProcess().archPrctl.getXcompGuestPerm() & XTILE).toBe(1n << 17n)
  })

  it('does not exist for a component that needs none, or on a processor without AMX [PERM-17]', () => {
    const sapphireRapids = testHost().newProcess()
    expect(() => sapphireRapids.archPrctl.reqXcompGuestPerm(XTILE_CFG)).toThrow(/EOPNOTSUPP.*PERM-17/)
    const skylake = testHost({ cpu: 'Skylake-Server' }).newProcess()
    expect(() => skylake.archPrctl.reqXcompGuestPerm(XTILE_DATA)).toThrow(/EOPNOTSUPP.*PERM-17/)
    expect(skylake.openKvm().supportedXcr0() & XTILE).toBe(0n)
  })
})
