import { beforeAll, describe, expect, test } from 'vitest'
import { X86_CR4_OSXSAVE, X86_CR4_PKE } from '../../../src/isa/control-registers.ts'
import type { Vcpu } from '../../../src/kvm/vcpu/vcpu.ts'
import { setConfidential } from '../../../src/linux/fpu/door.ts'
import type { Host } from '../../../src/vmm/modelled/host.ts'
import type { VcpuFd } from '../../../src/vmm/vcpu-fd.ts'
import { amxVcpu, realModeVcpu, testHost } from '../../vmm/hosts.ts'

/**
 * No VM type of encrypted guests can be made (KVM_CREATE_VM takes type 0), so these tests do to a vCPU of a plain VM what launching
 * such a guest does: they hand its registers to the firmware, through the guest-FPU door, and give the VM the type's property.
 */
const insideOf = (host: Host): Vcpu => [...host.kvm.vms].at(-1)!.vcpus[0]

function encrypted(host: Host, hasProtectedState: boolean): VcpuFd {
  const vcpu = amxVcpu(host)
  const image = vcpu.getXsave2()
  image.xstateBv = 7n
  image.mxcsr = 0x1fa0
  image.bytes.fill(0x5a, 160, 416)
  vcpu.setXsave(image)
  const inside = insideOf(host)
  setConfidential(inside.guestFpu)
  inside.vm.hasProtectedState = hasProtectedState
  return vcpu
}

const blank = (vcpu: VcpuFd) => {
  const bytes = vcpu.getXsave2().bytes
  bytes.fill(0xff)
  return bytes
}

const refusal = (call: () => unknown): string => {
  try {
    call()
  } catch (error) {
    return (error as Error).message
  }
  return 'accepted'
}

let host: Host
beforeAll(() => {
  host = testHost()
})

describe('a vCPU whose registers are encrypted', () => {
  test('of a VM type with protected state: XSAVE and FPU ioctls are EINVAL [GFPU-24]', () => {
    const vcpu = encrypted(host, true)
    const empty = new Uint8Array(11008)
    for (const call of [() => vcpu.getXsave2(), () => vcpu.setXsave(empty), () => vcpu.getFpu()])
      expect(refusal(call)).toMatch(/^EINVAL: .*\(GFPU-24\)/)
    insideOf(host).vm.hasProtectedState = false
    const fpu = vcpu.getFpu()
    insideOf(host).vm.hasProtectedState = true
    expect(refusal(() => vcpu.setFpu(fpu))).toMatch(/^EINVAL: .*\(GFPU-24\)/)
  })

  test('of the default VM type: GET gives zeros over the whole size, SET does nothing [GFPU-24, GFPU-25]', () => {
    const vcpu = encrypted(host, false)
    const { process } = vcpu.vm.kvm
    const bytes = blank(vcpu)
    expect(process.ioctlBytes(vcpu.fd, 'KVM_GET_XSAVE2', bytes)).toBe(0)
    expect(bytes.every((byte) => byte === 0)).toBe(true)
    // An image that would be refused is not even looked at.
    const bad = new Uint8Array(11008).fill(0xff)
    vcpu.setXsave(bad)
    const fpu = vcpu.getFpu()
    expect(fpu.fcw).toBe(0)
    expect(fpu.xmm.every((byte) => byte === 0)).toBe(true)
    vcpu.setFpu({ ...fpu, fcw: 0x27f })
    expect(vcpu.getFpu().fcw).toBe(0)
  })

  test('before 6.10 they are zeros whatever the type [GFPU-24, XSAVE-31]', () => {
    for (const kernel of ['linux-6.1', 'linux-6.6']) {
      const vcpu = encrypted(testHost({ kernel }), true)
      expect(vcpu.getXsave2().bytes.every((byte) => byte === 0)).toBe(true)
      vcpu.setXsave(new Uint8Array(11008).fill(0xff))
      expect(vcpu.getXcr0()).toBe(0x602e7n)
    }
  })

  test('XCRS are EINVAL with protected state, and XCR0 as set without [XSAVE-31]', () => {
    const vcpu = encrypted(host, true)
    expect(refusal(() => vcpu.getXcr0())).toMatch(/^EINVAL: KVM_GET_XCRS: .*XSAVE-31/)
    expect(refusal(() => vcpu.setXcr0(1n))).toMatch(/^EINVAL: KVM_SET_XCRS: .*XSAVE-31/)
    const legacy = encrypted(host, false)
    legacy.setXcr0(7n)
    expect(legacy.getXcr0()).toBe(7n)
  })

  test('runs with the XCR0 and PKRU of the host: KVM switches neither [GFPU-23]', () => {
    const { vcpu } = realModeVcpu([0xf4], host)
    vcpu.setSregs({ ...vcpu.getSregs(), cr4: BigInt(X86_CR4_OSXSAVE | X86_CR4_PKE) })
    vcpu.setXcr0(7n)
    const image = vcpu.getXsave2()
    image.xstateBv = 1n << 9n
    image.component(9).fill(1)
    vcpu.setXsave(image)
    setConfidential(insideOf(host).guestFpu)
    const before = host.costs.snapshot()
    expect(vcpu.run().reason).toBe('hlt')
    const costs = host.costs.since(before)
    expect(costs.worldSwitches).toBeGreaterThan(0)
    expect(costs).toMatchObject({ xsetbv: 0, wrpkru: 0 })
    expect(insideOf(host).pkru).toBe(0x01010101)
  })

  test("is swapped without its registers: one XSAVE of the thread's own, one XRSTOR of them [GFPU-22]", () => {
    const { vcpu } = realModeVcpu([0xf4], host)
    setConfidential(insideOf(host).guestFpu)
    const before = host.costs.snapshot()
    vcpu.run()
    const { xsave, xrstor } = host.costs.since(before)
    expect([xsave.executed, xrstor.executed]).toEqual([1, 1])
  })
})
