import { describe, expect, it } from 'vitest'
import { MSR_IA32_XFD, MSR_IA32_XFD_ERR } from '../../src/isa/msr-index.ts'
import { MsrError } from '../../src/vmm/errors.ts'
import { amxVcpu, plainVcpu, testHost } from './hosts.ts'

const MSR_STAR = 0xc0000081
const NO_SUCH_MSR = 0x12345

describe('MSRs of a vCPU', () => {
  it('of the list can all be read, and written back, on a vCPU with the supported CPUID [KAPI-80, KAPI-132]', () => {
    const process = testHost().newProcess()
    const vm = process.openKvm().createVm()
    vm.createIrqchip()
    const vcpu = vm.createVcpu()
    vcpu.setCpuid2(vm.kvm.getSupportedCpuid())
    const list = vm.kvm.getMsrIndexList()
    expect(list).toContain(MSR_IA32_XFD)
    const entries = vcpu.getMsrs(list)
    expect(entries.map((entry) => entry.index)).toEqual(list)
    expect(vcpu.setMsrs(entries)).toBe(list.length)
  })

  it('stop at the first that does not exist, and say how many were done [KAPI-73]', () => {
    const vcpu = plainVcpu()
    expect(vcpu.getMsrs([MSR_STAR, NO_SUCH_MSR, MSR_STAR])).toEqual([{ index: MSR_STAR, data: 0n }])
    const entries = [MSR_STAR, NO_SUCH_MSR, MSR_STAR].map((index, i) => ({ index, data: BigInt(i + 1) }))
    expect(vcpu.setMsrs(entries)).toBe(1)
    expect(vcpu.readMsr(MSR_STAR)).toBe(1n)
  })

  it('of the list are not all writable without in-kernel LAPIC: MSR_KVM_ASYNC_PF_INT refuses even 0', () => {
    const vcpu = plainVcpu()
    const entries = vcpu.getMsrs(vcpu.vm.kvm.getMsrIndexList())
    const refused = entries.findIndex((entry) => entry.index === 0x4b564d06)
    expect(vcpu.setMsrs(entries)).toBe(refused)
  })

  it('one by one: an error that names the MSR', () => {
    const vcpu = plainVcpu()
    expect(() => vcpu.readMsr(NO_SUCH_MSR)).toThrow(MsrError)
    expect(() => vcpu.writeMsr(MSR_IA32_XFD, 1n << 18n)).toThrow(/KVM_SET_MSRS stopped at MSR_IA32_XFD \(0x1c4\), 0 done/)
  })

  it('more than 255 are several ioctls [KAPI-73]', () => {
    const vcpu = plainVcpu()
    const many = Array.from({ length: 600 }, () => MSR_STAR)
    expect(vcpu.getMsrs(many)).toHaveLength(600)
    expect(vcpu.setMsrs(many.map((index, i) => ({ index, data: BigInt(i) })))).toBe(600)
    expect(vcpu.readMsr(MSR_STAR)).toBe(599n)
  })

  it('IA32_XFD takes what CPUID allows to withhold, from the host too [GFPU-26]', () => {
    const vcpu = amxVcpu()
    for (const index of [MSR_IA32_XFD, MSR_IA32_XFD_ERR]) {
      vcpu.writeMsr(index, 1n << 18n)
      expect(vcpu.readMsr(index)).toBe(1n << 18n)
      expect(() => vcpu.writeMsr(index, 1n << 17n)).toThrow(MsrError)
      expect(vcpu.readMsr(index)).toBe(1n << 18n)
    }
    const plain = plainVcpu()
    plain.writeMsr(MSR_IA32_XFD, 0n)
    expect(plain.readMsr(MSR_IA32_XFD)).toBe(0n)
  })
})

describe('feature MSRs of /dev/kvm', () => {
  it('of the list can all be read [KAPI-79]', () => {
    const kvm = testHost().newProcess().openKvm()
    const list = kvm.getMsrFeatureIndexList()
    expect(kvm.getMsrs(list).map((entry) => entry.index)).toEqual(list)
    expect(kvm.getMsrs([NO_SUCH_MSR])).toEqual([])
  })
})

describe('XCR0', () => {
  it('is validated as XSETBV does, and a refusal changes nothing [GFPU-45, XSAVE-30]', () => {
    const vcpu = amxVcpu()
    for (const bad of [0n, 6n, 5n, 0x20n | 7n, 0x27n, (1n << 17n) | 7n, (1n << 18n) | 7n, (1n << 19n) | 7n, (1n << 62n) | 1n]) {
      expect(() => vcpu.setXcr0(bad), `0x${bad.toString(16)}`).toThrow(/EINVAL: KVM_SET_XCRS/)
      expect(vcpu.getXcr0()).toBe(0x602e7n)
    }
    for (const good of [1n, 3n, 7n, 0xe7n, 0x60007n]) {
      vcpu.setXcr0(good)
      expect(vcpu.getXcr0()).toBe(good)
    }
  })

  it('is one entry of a list, the first of XCR0 wherever it stands; others are ignored [XSAVE-30]', () => {
    const vcpu = amxVcpu()
    expect(vcpu.getXcrs()).toEqual([{ xcr: 0, value: 0x602e7n }])
    vcpu.setXcrs([
      { xcr: 1, value: 0xffn },
      { xcr: 0, value: 7n },
      { xcr: 0, value: 0x602e7n },
    ])
    expect(vcpu.getXcr0()).toBe(7n)
    vcpu.setXcrs([])
    expect(vcpu.getXcr0()).toBe(7n)
    expect(() => vcpu.setXcrs(new Array(17).fill({ xcr: 0, value: 1n }))).toThrow(/EINVAL: KVM_SET_XCRS: nr_xcrs is 17.*XSAVE-30/)
    expect(() => vcpu.setXcrs([{ xcr: 0, value: 1n }], 1)).toThrow(/EINVAL.*XSAVE-30/)
    expect(vcpu.getXcr0()).toBe(7n)
  })
})

describe('KVM_GET_FPU and KVM_SET_FPU', () => {
  it('move the legacy region; MXCSR reads 0 and is not set [XSAVE-28, XSAVE-29]', () => {
    const vcpu = amxVcpu()
    const fpu = vcpu.getFpu()
    vcpu.setFpu({ ...fpu, fcw: 0x27f, mxcsr: 0x1fa0, last_ip: 0x1234_5678_9abcn, xmm: fpu.xmm.map((_, i) => i & 255) })
    const back = vcpu.getFpu()
    expect(back).toMatchObject({ fcw: 0x27f, mxcsr: 0, last_ip: 0x1234_5678_9abcn })
    expect([...back.xmm.slice(0, 4)]).toEqual([0, 1, 2, 3])
  })
})
