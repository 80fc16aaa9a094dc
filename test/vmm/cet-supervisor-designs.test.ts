import { describe, expect, test } from 'vitest'
import type { CostSnapshot } from '../../src/linux/costs.ts'
import { findCpuid } from '../../src/vmm/cpuid-list.ts'
import type { Host } from '../../src/vmm/modelled/host.ts'
import type { VcpuFd } from '../../src/vmm/vcpu-fd.ts'
import { testHost } from './hosts.ts'

/** Who keeps IA32_PL0_SSP..PL2_SSP of guests: the three designs of CET §5. */
const K = 'proposal:cet-s-kernel-wide'
const M = 'proposal:cet-s-kvm-managed'
const M_LAZY = 'proposal:cet-s-kvm-managed-lazy'
const G = 'linux-6.18'
/** XCR0 0x207, CET, no PASID: CET §7 E1. */
const CLIENT = 'SapphireRapids,-avx512f,-amx-tile,-enqcmd,-arch-lbr'
const PL0_SSP = 0x6a4
const [PL1_SSP, PL2_SSP] = [PL0_SSP + 1, PL0_SSP + 2]
/** CET §7 E5. */
const POINTER = 0xffffc90000000ff8n

function vcpuWithShstk(kernel: string, cpu = CLIENT): { host: Host; vcpu: VcpuFd; run: () => void } {
  const host = testHost({ kernel, cpu })
  const process = host.newProcess()
  const kvm = process.openKvm()
  const vm = kvm.createVm()
  const memory = process.allocate(0x10000)
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory })
  // cpuid; cpuid; hlt
  memory.write(0, Uint8Array.of(0x0f, 0xa2, 0x0f, 0xa2, 0xf4))
  const vcpu = vm.createVcpu()
  const cpuid = kvm.getSupportedCpuid()
  findCpuid(cpuid, 7, 0)!.ecx |= 1 << 7
  vcpu.setCpuid2(cpuid)
  const sregs = vcpu.getSregs()
  vcpu.setSregs({ ...sregs, cs: { ...sregs.cs, base: 0n, selector: 0 } })
  const run = (): void => {
    vcpu.setRegs({ ...vcpu.getRegs(), rip: 0n })
    expect(vcpu.run().reason).toBe('hlt')
  }
  return { host, vcpu, run }
}

const sspAccesses = ({ msrs }: CostSnapshot): [number, number] => {
  const rows = [msrs.IA32_PL0_SSP, msrs.IA32_PL1_SSP, msrs.IA32_PL2_SSP]
  return [rows.reduce((n, r) => n + r.reads, 0), rows.reduce((n, r) => n + r.writes, 0)]
}

describe('bytes', () => {
  test.each([
    ['K', K, CLIENT, 880, 880, 0],
    ['M', M, CLIENT, 856, 856, 24],
    ['G', G, CLIENT, 856, 880, 0],
    ['K', K, 'SapphireRapids', 2560, 2560, 0],
    ['M', M, 'SapphireRapids', 2560, 2560, 24],
    ['G', G, 'SapphireRapids', 2560, 2560, 0],
  ] as const)(
    '%s, %s on %s: %i a thread, %i an image, %i by hand [CET-42, CET-45, CET-46]',
    (_, kernel, cpu, thread, image, byHand) => {
      const { host } = vcpuWithShstk(kernel, cpu)
      const costs = host.costs.snapshot()
      expect(costs.tasks[0].embedded).toBe(thread)
      expect(costs.vcpus[0]).toMatchObject({ image, byHand })
    },
  )

  test.each([
    [K, 10_064 * 24],
    [M, 64 * 24],
    [G, 64 * 24],
  ] as const)(
    '%s: 10,000 threads and 64 vCPUs of a client cost %i bytes more, by what one of each costs [CET-45]',
    (kernel, extra) => {
      const { host } = vcpuWithShstk(kernel)
      const { tasks, vcpus } = host.costs.snapshot()
      // 856 bytes is what there would be without CET_S at all.
      expect(10_000 * (tasks[0].embedded - 856) + 64 * (vcpus[0].image - 856 + vcpus[0].byHand)).toBe(extra)
    },
  )
})

describe('XCOMP_BV on Sapphire Rapids', () => {
  const xcompBv = (host: Host, image: number): number => host.kernel.machine.mem.u32[(image + 520) >>> 2]
  test.each([
    [K, 0x21ee7],
    [M, 0x20ee7],
    [G, 0x20ee7],
  ] as const)('%s: thread %i [CET-42]', (kernel, thread) => {
    const { host, run } = vcpuWithShstk(kernel, 'SapphireRapids')
    run()
    const [task] = host.kernel.tasks.values()
    expect(xcompBv(host, task.fpu.embedded.image)).toBe(thread)
    expect(task.fpu.embedded.xstateBv & 0x1000).toBe(0)
  })
  test.each([
    [K, 0x21ee7, 0x61ee7],
    [M, 0x20ee7, 0x60ee7],
    [G, 0x21ee7, 0x61ee7],
  ] as const)('%s: vCPU %i, with AMX %i [CET-42]', (kernel, plain, amx) => {
    const { xstate } = testHost({ kernel }).kernel
    expect(xstate.guestDefault).toBe(plain)
    expect(xstate.guestDefault | xstate.dynamic).toBe(amx)
  })
})

describe('M: KVM moves the registers by hand', () => {
  test('3 WRMSR at the first VM entry, 3 RDMSR and 1 WRMSR at the put, nothing for exits in between [CET-40]', () => {
    const { host, run } = vcpuWithShstk(M)
    run()
    const before = host.costs.snapshot()
    run()
    const costs = host.costs.since(before)
    expect(costs.worldSwitches).toBe(3)
    expect(sspAccesses(costs)).toEqual([3, 4])
  })

  test('a KVM_RUN that does not enter the guest moves nothing [CET-40]', () => {
    const { host, vcpu } = vcpuWithShstk(M)
    const before = host.costs.snapshot()
    vcpu.completeExit()
    expect(sspAccesses(host.costs.since(before))).toEqual([0, 0])
  })

  test('values go into the registers and come back; PL0_SSP of the host is 0 afterwards, PL1 and PL2 are left [CET-40, CET-43]', () => {
    const { host, vcpu, run } = vcpuWithShstk(M)
    for (const [i, msr] of [PL0_SSP, PL1_SSP, PL2_SSP].entries()) vcpu.writeMsr(msr, POINTER + BigInt(i * 8))
    run()
    const [processor] = host.machine.processors
    expect([PL0_SSP, PL1_SSP, PL2_SSP].map((msr) => processor.rdmsr(msr))).toEqual([0n, POINTER + 8n, POINTER + 16n])
    expect([PL0_SSP, PL1_SSP, PL2_SSP].map((msr) => vcpu.readMsr(msr))).toEqual([POINTER, POINTER + 8n, POINTER + 16n])
  })

  test('with the optimization nothing moves before a register is used [CET-41]', () => {
    const { host, vcpu, run } = vcpuWithShstk(M_LAZY)
    vcpu.writeMsr(PL0_SSP, 0n)
    const before = host.costs.snapshot()
    run()
    expect(sspAccesses(host.costs.since(before))).toEqual([0, 0])
    vcpu.writeMsr(PL1_SSP, POINTER)
    const used = host.costs.snapshot()
    run()
    expect(sspAccesses(host.costs.since(used))).toEqual([3, 4])
    expect(vcpu.readMsr(PL1_SSP)).toBe(POINTER)
  })

  test('a guest without SHSTK costs nothing and has no such register [CET-40]', () => {
    const { host, vcpu, run } = vcpuWithShstk(M)
    const cpuid = vcpu.getCpuid2()
    findCpuid(cpuid, 7, 0)!.ecx &= ~(1 << 7)
    vcpu.setCpuid2(cpuid)
    const before = host.costs.snapshot()
    run()
    expect(sspAccesses(host.costs.since(before))).toEqual([0, 0])
    // Listed for saving, so it reads 0 and takes nothing else (XSAVE-56).
    expect(vcpu.getMsrs([PL0_SSP])).toEqual([{ index: PL0_SSP, data: 0n }])
    expect(vcpu.setMsrs([{ index: PL0_SSP, data: 8n }])).toBe(0)
  })
})

describe.each([
  ['K', K],
  ['G', G],
])('%s: the image holds them', (_, kernel) => {
  test('no MSR is accessed for a switch; XSAVES and XRSTORS move 24 bytes, when they are in use [CET-42, CET-43, CET-44]', () => {
    const { host, vcpu, run } = vcpuWithShstk(kernel)
    run()
    const before = host.costs.snapshot()
    run()
    const idle = host.costs.since(before)
    vcpu.writeMsr(PL0_SSP, POINTER)
    const armed = host.costs.snapshot()
    run()
    const used = host.costs.since(armed)
    expect(sspAccesses(used)).toEqual([0, 0])
    expect(used.xsave.bytes - idle.xsave.bytes).toBe(24)
    expect(used.xrstor.bytes - idle.xrstor.bytes).toBe(24)
  })

  test('restoring the thread puts PL0_SSP to 0 on the processor; KVM_GET_MSRS finds it in the image [CET-13, CET-43]', () => {
    const { host, vcpu, run } = vcpuWithShstk(kernel)
    vcpu.writeMsr(PL0_SSP, POINTER)
    run()
    expect(host.machine.processors[0].rdmsr(PL0_SSP)).toBe(0n)
    expect(vcpu.readMsr(PL0_SSP)).toBe(POINTER)
  })
})

test('without XSAVES no design exists: SHSTK in the CPUID of a guest brings no register [CET-47]', () => {
  for (const kernel of [K, M, G]) {
    const { vcpu } = vcpuWithShstk(kernel, `${CLIENT},-xsaves`)
    expect(vcpu.getMsrs([PL0_SSP])).toEqual([])
  }
})
