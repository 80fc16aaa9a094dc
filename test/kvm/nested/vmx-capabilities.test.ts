import { describe, expect, test } from 'vitest'
import { cpuModel } from '../../../src/isa/cpu-grammar.ts'
import type { CpuModel } from '../../../src/isa/cpu-model.ts'
import { UserError } from '../../../src/isa/user-error.ts'
import { type CpuidEntry, KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../../../src/kvm/cpuid/entries.ts'
import { nestedVmxMsrs, readVmxMsr, writeVmxMsr } from '../../../src/kvm/nested/vmx-capabilities.ts'
import type { Vcpu } from '../../../src/kvm/vcpu/vcpu.ts'
import { readRecording } from '../recording.ts'

const bochs = readRecording('linux-6.12-bochs-spr')
const model = cpuModel('SapphireRapids-bochs')
const own = nestedVmxMsrs(model)

describe('VMX capability MSRs of KVM with nested=1', () => {
  test('are those recorded on /dev/kvm', () => {
    const recorded = bochs
      .get('kvm.msr_lists')!
      .calls.filter(({ call, args }) => call === 'KVM_GET_MSRS' && /^0x4(8.|9[01])$/.test(args[1]))
      .map(({ args, value }) => [Number(args[1]), BigInt(value)])
    expect(recorded).toHaveLength(18)
    expect([...own].sort(([a], [b]) => a - b)).toEqual(recorded)
  })

  test('give on nothing but what KVM knows, however much the processor has', () => {
    const everything: CpuModel = {
      ...model,
      msrs: new Map([...model.msrs.keys()].map((index) => [index, 0xffff_ffff_ffff_ffffn])),
    }
    const msrs = nestedVmxMsrs(everything)
    expect(msrs.get(0x48d)).toBe(0xff_0000_0016n)
    expect(msrs.get(0x48b)! >> 32n).toBe(0x0613_7bffn)
    expect(msrs.get(0x48f)! >> 32n).toBe(0xff_ffffn) // with MPX: clear BNDCFGS
    expect(msrs.get(0x485)).toBe(0x2000_0165n)
    expect(msrs.get(0x491)).toBe(1n)
  })

  test('are refused for a processor whose own nobody stated', () => {
    expect(() => nestedVmxMsrs(cpuModel('SapphireRapids'))).toThrow(UserError)
  })
})

describe('the copy of a vCPU', () => {
  const leaf = (fn: number, ecx: number, edx = 0, ebx = 0): CpuidEntry => ({
    function: fn,
    index: 0,
    flags: fn === 7 ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
    eax: 0,
    ebx,
    ecx,
    edx,
  })
  const VMX = 1 << 5
  const vcpu = (...cpuid: CpuidEntry[]): Vcpu =>
    ({
      cpuid,
      msrs: { vmxCapabilities: new Map() },
      vm: { kvm: { nestedVmx: own, caps: { has: () => true } } },
    }) as unknown as Vcpu
  const INVALID = 1

  test('is there only when its CPUID has VMX [recorded: kvm.msr..0x480]', () => {
    expect(readVmxMsr(vcpu(), 0x480)).toBe(INVALID)
    expect(readVmxMsr(vcpu(leaf(1, VMX)), 0x480)).toBe(0xd8_1000_11e5_7ed0n)
  })

  test('allows in CR4 what the guest has features for', () => {
    const PCE = 0x100n
    expect(readVmxMsr(vcpu(leaf(1, VMX)), 0x489)).toBe(PCE | 0x2000n)
    expect(readVmxMsr(vcpu(leaf(1, VMX | (1 << 26), 1 << 6), leaf(7, 1 << 3, 0, 1 << 7)), 0x489)).toBe(PCE | 0x54_2020n)
  })

  test('can be cut down by user space, not widened, and not written by the guest [recorded: kvm.msr.PC.0x48b]', () => {
    const v = vcpu(leaf(1, VMX))
    expect(writeVmxMsr(v, 0x48b, 0x2_0000_0000n, false)).toBe(INVALID)
    expect(writeVmxMsr(v, 0x48b, 0x7fff_0000_0000n, true)).toBe(INVALID)
    expect(writeVmxMsr(v, 0x48b, 0x2_0000_0002n, true)).toBe(0)
    expect(readVmxMsr(v, 0x48b)).toBe(0x2_0000_0002n)
  })

  test.each([
    ['revision', 0x480, 0xd8_1000_11e5_7ed1n],
    ['32-bit addresses only', 0x480, 0xd9_1000_11e5_7ed0n],
    ['smaller VMCS', 0x480, 0xd8_0800_11e5_7ed0n],
    ['must-be-1 bit off', 0x48d, 0xff_0000_0014n],
    ['timer rate', 0x485, 0x2000_0164n],
    ['fixed-to-1 mask', 0x489, 0n],
    ['plain controls', 0x481, 0xff_0000_0016n],
    ['CR0 bits fixed to 1 taken away', 0x486, 0x20n],
    ['unknown EPT capability', 0x48c, 1n << 63n],
  ])('refuses: %s', (_, index, value) => {
    expect(writeVmxMsr(vcpu(leaf(1, VMX)), index, value, true)).toBe(INVALID)
  })
})
