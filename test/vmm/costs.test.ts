import { describe, expect, test } from 'vitest'
import { amxVcpu, realModeVcpu, testHost } from './hosts.ts'

/** Sizes: spec of Sapphire Rapids under 6.12: kernel default 2560 bytes, with tile data 10752 (PERM §13). */
describe('costs of extended state, counted', () => {
  test('a task has its embedded buffer, a vCPU its image; they grow with tile data [GFPU-01, GFPU-39]', () => {
    const host = testHost()
    const before = host.costs.snapshot()
    const process = host.newProcess()
    process.archPrctl.reqXcompGuestPerm(18)
    const kvm = process.openKvm()
    const vm = kvm.createVm()
    const vcpu = vm.createVcpu()
    let costs = host.costs.since(before)
    expect(costs.tasks.map(({ embedded, grown }) => ({ embedded, grown }))).toEqual([{ embedded: 2560, grown: 0 }])
    expect(costs.vcpus).toEqual([{ pid: costs.tasks[0].tid, id: 0, image: 2560, byHand: 0 }])
    expect(costs.buffers).toMatchObject({ live: 2, liveBytes: 5120, allocated: 2, freed: 0 })
    vcpu.setCpuid2(kvm.getSupportedCpuid())
    costs = host.costs.since(before)
    expect(costs.vcpus[0].image).toBe(10752)
    // Both images exist while the content is moved.
    expect(costs.buffers).toMatchObject({ live: 2, liveBytes: 13312, peakBytes: 15872, allocated: 3, freed: 1 })
    process.exit()
    const end = host.costs.since(before)
    expect(end.buffers).toMatchObject({ live: 0, liveBytes: 0, allocated: 3, freed: 3 })
    expect(end.vcpus).toEqual([])
  })

  test('KVM_RUN saves and restores twice, whatever KVM handles itself in between [GFPU-09]', () => {
    const host = testHost()
    // cpuid; cpuid; hlt
    const { vcpu } = realModeVcpu([0x0f, 0xa2, 0x0f, 0xa2, 0xf4], host)
    const before = host.costs.snapshot()
    expect(vcpu.run().reason).toBe('hlt')
    const costs = host.costs.since(before)
    // The first fetch faults in the second stage; then CPUID, CPUID, HLT.
    expect(costs).toMatchObject({ kvmRuns: 1, worldSwitches: 4, kvmRunErrors: 0, vcpuLoads: 1, vcpuPuts: 1 })
    expect(costs.exitsToUser).toEqual({ KVM_EXIT_HLT: 1 })
    expect(costs.xsave.executed).toBe(2)
    expect(costs.xrstor.executed).toBe(2)
    // The host thread's PKRU (8 bytes) is its only component in use, the guest's state is initial: header, header.
    expect(costs.xsave.bytes).toBe(16 + 8 + 16 + 8)
    // PKRU is not restored from images (PERM-41).
    expect(costs.xrstor.bytes).toBe(16 + 16)
  })

  test('tile data costs 8192 bytes more each way', () => {
    const host = testHost()
    const vcpu = amxVcpu(host)
    const image = vcpu.getXsave2()
    image.xstateBv |= 1n << 18n
    vcpu.setXsave(image)
    const before = host.costs.snapshot()
    vcpu.run({ maxInstructions: 1 })
    const costs = host.costs.since(before)
    expect(costs.xrstor.bytes - costs.xrstor.executed * 16).toBe(8192)
    // XFD is 0 for the guest and armed for the host thread.
    expect(costs.msrs.IA32_XFD).toEqual({ reads: 0, writes: 2 })
  })
})
