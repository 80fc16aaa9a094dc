import { beforeAll, describe, expect, test } from 'vitest'
import { kvm_xcrs } from '../../../src/kvm/abi/structs.ts'
import type { Kvm } from '../../../src/vmm/kvm.ts'
import type { VcpuFd } from '../../../src/vmm/vcpu-fd.ts'
import { testHost } from '../../vmm/hosts.ts'

let kvm: Kvm
let vcpu: VcpuFd
beforeAll(() => {
  kvm = testHost({ cpu: 'SapphireRapids,-xsave' }).newProcess().openKvm()
  vcpu = kvm.createVm().createVcpu()
})

describe('on a host without XSAVE', () => {
  test('KVM has no XCR0 to offer, and leaf 0xD ends at once [XSAVE-02, XSAVE-41]', () => {
    expect(kvm.supportedXcr0()).toBe(0n)
    const leaves = kvm.getSupportedCpuid().filter((entry) => entry.function === 0xd)
    expect(leaves.map(({ eax, edx }) => [eax, edx])).toEqual(leaves.length === 0 ? [] : [[0, 0]])
    expect(kvm.checkExtension('KVM_CAP_XCRS')).toBe(0)
  })

  test('GET is the FXSAVE image with XSTATE_BV 3 and zeros behind [XSAVE-12]', () => {
    const bytes = vcpu.getXsave2().bytes
    const view = new DataView(bytes.buffer)
    expect(view.getUint16(0, true)).toBe(0x37f)
    expect(view.getUint32(24, true)).toBe(0x1f80)
    expect(view.getBigUint64(512, true)).toBe(3n)
    expect(bytes.subarray(520).every((byte) => byte === 0)).toBe(true)
  })

  test('SET takes x87 and SSE only, always looks at MXCSR, and copies 512 bytes [XSAVE-25]', () => {
    const before = vcpu.getXsave2().bytes
    const image = vcpu.getXsave2()
    image.xstateBv = 7n
    expect(() => vcpu.setXsave(image)).toThrow(/EINVAL.*XSAVE-25/)
    image.xstateBv = 0n
    image.mxcsr = 0x10000
    expect(() => vcpu.setXsave(image)).toThrow(/EINVAL.*XSAVE-25/)
    expect(vcpu.getXsave2().bytes).toEqual(before)
    image.mxcsr = 0x1fa0
    image.fcw = 0x27f
    image.bytes.fill(0x66, 160, 416)
    image.bytes.fill(0x77, 576, 832)
    vcpu.setXsave(image)
    const after = vcpu.getXsave2()
    expect(after.bytes.subarray(0, 512)).toEqual(image.bytes.subarray(0, 512))
    expect(after.bytes.subarray(520).every((byte) => byte === 0)).toBe(true)
  })

  test('KVM_GET_XCRS has no entry and KVM_SET_XCRS is EINVAL [XSAVE-30]', () => {
    expect(vcpu.getXcr0()).toBeNull()
    const { process } = kvm
    expect(() => process.set(vcpu.fd, 'KVM_SET_XCRS', kvm_xcrs, { nr_xcrs: 0 })).toThrow(/EINVAL.*XSAVE-30/)
  })
})
