import { describe, expect, test } from 'vitest'
import { CODE, LOCK_INC, OUT_DONE, outcome, type Ring, splitLockGuest } from './rings.ts'

const ring0: Ring = { cpl: 0, alignmentCheck: false }
const ring3: Ring = { cpl: 3, alignmentCheck: false }
const LOCK = [...LOCK_INC, ...OUT_DONE]

describe('bus locks of a guest', () => {
  const KVM_CAP_X86_BUS_LOCK_EXIT = 193
  const exiting = (arg: bigint, options = {}) => {
    const guest = splitLockGuest(LOCK, ring0, { splitLockDetect: 'off', ...options })
    const { vm } = guest.vcpu
    return {
      guest,
      enable: () => vm.enableCap(KVM_CAP_X86_BUS_LOCK_EXIT, arg),
      cap: vm.checkExtension(KVM_CAP_X86_BUS_LOCK_EXIT),
    }
  }
  test('the capability is 3 where VMX has the control; unknown modes and both at once are EINVAL [SLD-40]', () => {
    expect(exiting(2n).cap).toBe(3)
    expect(exiting(2n, { cpu: 'Icelake-Server' }).cap).toBe(0)
    expect(exiting(4n).enable).toThrow(/EINVAL/)
    expect(exiting(3n).enable).toThrow(/EINVAL/)
    expect(exiting(1n).enable).not.toThrow()
  })
  test('KVM_RUN ends after the instruction with KVM_EXIT_X86_BUS_LOCK and flag 2 [SLD-41]', () => {
    const { guest, enable } = exiting(2n)
    enable()
    const vcpu = guest.vcpu.vm.createVcpu(1)
    vcpu.setCpuid2(guest.vcpu.vm.kvm.getSupportedCpuid())
    vcpu.setSregs(guest.vcpu.getSregs())
    vcpu.setRegs(guest.vcpu.getRegs())
    expect(vcpu.run()).toEqual({ reason: 'bus-lock' })
    expect(vcpu.runFlags).toBe(2)
    expect(vcpu.getRegs().rip).toBe(BigInt(CODE + LOCK_INC.length))
    expect(guest.value()).toBe(1)
    expect(vcpu.run().reason).toBe('io')
    expect(vcpu.runFlags).toBe(0)
  })
  test('once on, bus-lock exits stay on, and on a processor without them they are accepted and ignored [SLD-40]', () => {
    for (const [cpu, reason] of [
      ['SapphireRapids', 'bus-lock'],
      ['Icelake-Server', 'io'],
    ] as const) {
      const { guest, enable } = exiting(2n, { cpu })
      enable()
      guest.vcpu.vm.enableCap(KVM_CAP_X86_BUS_LOCK_EXIT, 1n)
      const vcpu = guest.vcpu.vm.createVcpu(1)
      vcpu.setCpuid2(guest.vcpu.vm.kvm.getSupportedCpuid())
      vcpu.setSregs(guest.vcpu.getSregs())
      vcpu.setRegs(guest.vcpu.getRegs())
      expect(vcpu.run().reason).toBe(reason)
    }
  })
  test('DR6[11] is 1 whatever a guest writes unless its CPUID has the feature, which kvm_intel offers and kvm_amd does not [SLD-42]', () => {
    const BUS_LOCK_DETECT = 1 << 24
    const leaf7 = (e: { function: number; index: number }) => e.function === 7 && e.index === 0
    // mov $0xffff07f0, %eax; mov %rax, %dr6; mov %dr6, %rax; out %al, $0x80
    const code = [0xb8, 0xf0, 7, 0xff, 0xff, 0x0f, 0x23, 0xf0, 0x0f, 0x21, 0xf0, ...OUT_DONE]
    for (const has of [true, false]) {
      const guest = splitLockGuest(code, ring0)
      const { vcpu } = guest
      const offered = vcpu.vm.kvm.getSupportedCpuid()
      expect(offered.find(leaf7)!.ecx & BUS_LOCK_DETECT).not.toBe(0)
      if (!has) vcpu.setCpuid2(offered.map((e) => (leaf7(e) ? { ...e, ecx: (e.ecx & ~BUS_LOCK_DETECT) >>> 0 } : e)))
      expect(outcome(guest)).toBe('runs')
      expect(vcpu.getRegs().rax & 0x800n).toBe(has ? 0n : 0x800n)
    }
    const amd = splitLockGuest(code, ring0, { cpu: 'EPYC-Genoa' }).vcpu.vm.kvm.getSupportedCpuid()
    expect(amd.find(leaf7)!.ecx & BUS_LOCK_DETECT).toBe(0)
  })
  test('a guest that sets DEBUGCTL[2] gets #DB after a bus lock in ring 3, and none in ring 0; DR6[11] is 0 then [SLD-42, SLD-08]', () => {
    for (const ring of [ring3, ring0]) {
      const guest = splitLockGuest(LOCK, ring, { splitLockDetect: 'off' })
      guest.vcpu.writeMsr(0x1d9, 4n)
      expect(outcome(guest)).toBe(ring.cpl === 3 ? '#DB' : 'runs')
      expect(guest.value()).toBe(1)
      if (ring.cpl === 3) expect(guest.vcpu.getDebugregs().dr6 & 0x800n).toBe(0n)
    }
  })
})
