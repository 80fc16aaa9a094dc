import { describe, expect, test } from 'vitest'
import { MSR_IA32_INT_SSP_TAB, MSR_IA32_PL0_SSP, MSR_IA32_S_CET, MSR_IA32_U_CET } from '../../src/isa/msr-index.ts'
import type { Host } from '../../src/vmm/modelled/host.ts'
import type { ProcessMemory } from '../../src/vmm/process-memory.ts'
import { obstacles } from '../../src/vmm/small-vmm/obstacles.ts'
import { restoreVcpu } from '../../src/vmm/small-vmm/restore.ts'
import { saveVcpu } from '../../src/vmm/small-vmm/save.ts'
import { KVM_REG_GUEST_SSP, type VcpuFd } from '../../src/vmm/vcpu-fd.ts'
import { testHost } from './hosts.ts'

const CODE = 0x6000
const CR0 = 0x80050033n
/** PAE, OSFXSR, OSXMMEXCPT. */
const CR4 = 0x620n
const CET = 1n << 23n
/** A second mapping of the same 2 MiB, not writable and dirty: shadow-stack pages. */
const SHADOW = 0x200000
const TOKEN = SHADOW + 0x8ff8
const HLT = 0xf4
const RET = 0xc3
const OUT = [0xe6, 0x80]
const MOV_CR0_RBX = [0x0f, 0x22, 0xc3]
const MOV_CR4_RAX = [0x0f, 0x22, 0xe0]
const SETSSBSY = [0xf3, 0x0f, 0x01, 0xe8]
const le32 = (value: number): number[] => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24]
const wrmsr = (index: number, low: number): number[] => [0xb9, ...le32(index), 0xb8, ...le32(low), 0x31, 0xd2, 0x0f, 0x30]

function machine(
  cpu = 'SapphireRapids',
  kernel = 'linux-6.18',
  withIbt = true,
): { host: Host; vcpu: VcpuFd; memory: ProcessMemory } {
  const host = testHost({ cpu, kernel })
  const process = host.newProcess()
  const kvm = process.openKvm()
  const vm = kvm.createVm()
  const memory = process.allocate(0x10000)
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory })
  const vcpu = vm.createVcpu()
  const cpuid = kvm.getSupportedCpuid()
  vcpu.setCpuid2(cpuid.map((e) => (e.function === 7 && e.index === 0 && !withIbt ? { ...e, edx: e.edx & ~(1 << 20) } : e)))
  return { host, vcpu, memory }
}

/** In 64-bit mode at CPL 0. */
function booted(code: readonly number[], regs: { rax?: bigint; rbx?: bigint } = {}, withIbt = true, cpu = 'SapphireRapids') {
  const { host, vcpu, memory } = machine(cpu, 'linux-6.18', withIbt)
  const entry = (at: number, value: number) => memory.write(at, new Uint8Array(BigUint64Array.of(BigInt(value)).buffer))
  entry(0x1000, 0x2003)
  entry(0x2000, 0x3003)
  entry(0x3000, 0x83)
  entry(0x3008, 0xc1)
  entry(TOKEN - SHADOW, TOKEN)
  memory.write(CODE, Uint8Array.from(code))
  const sregs = vcpu.getSregs()
  const segment = { ...sregs.cs, base: 0n, limit: 0xffffffff, g: 1, db: 0, l: 0, type: 3 }
  vcpu.setSregs({
    ...sregs,
    cr0: CR0,
    cr3: 0x1000n,
    cr4: CR4,
    efer: 0x500n,
    cs: { ...segment, selector: 8, l: 1, type: 11 },
    ss: { ...segment, selector: 16 },
    ds: { ...segment, selector: 16 },
  })
  vcpu.setRegs({ ...vcpu.getRegs(), rip: BigInt(CODE), rsp: 0x5000n, rax: 0n, rbx: 0n, ...regs })
  return { host, vcpu, memory }
}

describe('CR4.CET and CR0.WP of a guest', () => {
  const WITHOUT_WP = CR0 & ~0x10000n

  test('CET goes on with WP; then WP cannot go, example E7 [CET-06, CET-07]', () => {
    const { vcpu } = booted([...MOV_CR4_RAX, ...OUT, ...MOV_CR0_RBX, HLT], { rax: CR4 | CET, rbx: WITHOUT_WP })
    expect(vcpu.run().reason).toBe('io')
    expect(vcpu.getSregs().cr4).toBe(CR4 | CET)
    expect(vcpu.run().reason).toBe('shutdown')
  })

  test('without WP, CET cannot go on, example E7 [CET-06, CET-07]', () => {
    const { vcpu } = booted([...MOV_CR0_RBX, ...OUT, ...MOV_CR4_RAX, HLT], { rax: CR4 | CET, rbx: WITHOUT_WP })
    expect(vcpu.run().reason).toBe('io')
    expect(vcpu.run().reason).toBe('shutdown')
  })

  test('KVM_SET_SREGS takes CET without WP, and the VM entry fails [CET-07]', () => {
    const { vcpu } = booted([HLT])
    vcpu.setSregs({ ...vcpu.getSregs(), cr0: WITHOUT_WP, cr4: CR4 | CET })
    expect(vcpu.run().reason).toBe('fail-entry')
  })
})

test('the guest sets an IBT bit without IBT in its CPUID: hardware alone checks it, the host may not, example E3 [CET-14]', () => {
  const { vcpu } = booted([...wrmsr(MSR_IA32_U_CET, 4), HLT], {}, false)
  expect(vcpu.run().reason).toBe('hlt')
  expect(vcpu.readMsr(MSR_IA32_U_CET)).toBe(4n)
  expect(vcpu.setMsrs([{ index: MSR_IA32_U_CET, data: 4n }])).toBe(0)
})

/** Turns supervisor shadow stacks on, calls a function that does OUT, returns from it, HLT. */
const withShadowStack = [
  ...MOV_CR4_RAX,
  ...wrmsr(MSR_IA32_PL0_SSP, TOKEN),
  ...wrmsr(MSR_IA32_U_CET, 1),
  ...wrmsr(MSR_IA32_S_CET, 1),
  ...SETSSBSY,
  0xe8,
  ...le32(1), // call over the hlt
  HLT,
  ...OUT,
  RET,
]

describe('a guest with supervisor shadow stacks', () => {
  const atCheckpoint = (cpu?: string) => {
    const guest = booted(withShadowStack, { rax: CR4 | CET }, true, cpu)
    expect(guest.vcpu.run().reason).toBe('io')
    guest.vcpu.completeExit()
    return guest
  }

  test('is saved inside a call, goes on on Granite Rapids and returns [CET-15, CET-16, CET-17, CET-26]', () => {
    const { vcpu, memory } = atCheckpoint()
    const state = saveVcpu(vcpu)
    expect(state.guestSsp).toBe(BigInt(TOKEN - 8))
    const other = machine('GraniteRapids')
    other.memory.write(0, memory.bytes(0, 0x10000))
    expect(obstacles(other.vcpu.vm.kvm, state).filter(({ rule }) => rule === 'CET-27')).toEqual([])
    restoreVcpu(other.vcpu, state)
    expect(other.vcpu.readMsr(MSR_IA32_U_CET)).toBe(1n)
    expect(other.vcpu.readMsr(MSR_IA32_PL0_SSP)).toBe(BigInt(TOKEN))
    expect(other.vcpu.run().reason).toBe('hlt')
    expect(other.vcpu.getOneReg(KVM_REG_GUEST_SSP)).toBe(BigInt(TOKEN))
  })

  test('dies of a return address that is not the one on the shadow stack [CET-15]', () => {
    const { vcpu, memory } = atCheckpoint()
    memory.write(TOKEN - 8 - SHADOW, Uint8Array.of(0))
    expect(vcpu.run().reason).toBe('shutdown')
  })

  test('leaves the host’s own settings, stack pointer and table as they were when the module was loaded [CET-31]', () => {
    const { host, vcpu } = atCheckpoint()
    expect([vcpu.readMsr(MSR_IA32_S_CET), vcpu.getOneReg(KVM_REG_GUEST_SSP)]).toEqual([1n, BigInt(TOKEN - 8)])
    const { processor } = host.kernel.cpus[0]
    for (const index of [MSR_IA32_S_CET, MSR_IA32_INT_SSP_TAB, MSR_IA32_PL0_SSP]) expect(processor.rdmsr(index)).toBe(0n)
  })

  test('on AMD too, between two processors of one kind; there is no SMM in the model to keep SSP across [CET-35]', () => {
    const { vcpu, memory } = atCheckpoint('EPYC-Turin-virtual')
    const state = saveVcpu(vcpu)
    expect(state.guestSsp).toBe(BigInt(TOKEN - 8))
    const other = machine('EPYC-Turin-virtual')
    other.memory.write(0, memory.bytes(0, 0x10000))
    restoreVcpu(other.vcpu, state)
    expect(other.vcpu.run().reason).toBe('hlt')
    expect(other.vcpu.getOneReg(KVM_REG_GUEST_SSP)).toBe(BigInt(TOKEN))
  })

  test('on 6.12 what is in the way is named [CET-27]', () => {
    const state = saveVcpu(atCheckpoint().vcpu)
    const [first] = obstacles(machine('SapphireRapids', 'linux-6.12').vcpu.vm.kvm, state).filter(({ rule }) => rule === 'CET-27')
    expect(first.because).toMatch(/MSR_IA32_S_CET = 0x1.*SSP = 0x208ff0, CR4\.CET is set/)
  })
})
