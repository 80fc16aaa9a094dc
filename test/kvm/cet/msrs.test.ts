import { beforeAll, describe, expect, test } from 'vitest'
import { cpuModel } from '../../../src/isa/cpu-grammar.ts'
import {
  MSR_IA32_INT_SSP_TAB,
  MSR_IA32_PL0_SSP,
  MSR_IA32_PL3_SSP,
  MSR_IA32_S_CET,
  MSR_IA32_U_CET,
  MSR_IA32_VMX_TRUE_ENTRY_CTLS,
  MSR_IA32_VMX_TRUE_EXIT_CTLS,
  MSR_IA32_XSS,
} from '../../../src/isa/msr-index.ts'
import { offersCet } from '../../../src/kvm/cpuid/cet-support.ts'
import { loadKvm } from '../../../src/kvm/module.ts'
import { kernelProfile } from '../../../src/profiles/index.ts'
import type { CpuidEntry2 } from '../../../src/vmm/cpuid-list.ts'
import type { Host } from '../../../src/vmm/modelled/host.ts'
import { KVM_REG_GUEST_SSP, msrReg, type VcpuFd } from '../../../src/vmm/vcpu-fd.ts'
import { testHost } from '../../vmm/hosts.ts'

const SHSTK = 1 << 7
const IBT = 1 << 20
const CET_MSRS = [0x6a0, 0x6a2, 0x6a4, 0x6a5, 0x6a6, 0x6a7, 0x6a8]
const KERNELS = ['linux-6.18', 'linux-6.18.0'] as const

let host: Host
let old: Host
beforeAll(() => {
  host = testHost({ kernel: 'linux-6.18' })
  old = testHost()
})

interface Wanted {
  shstk?: boolean
  ibt?: boolean
}
/** A vCPU with what the host supports, with or without the two features. */
function vcpuOn(on: Host, { shstk = true, ibt = true }: Wanted = {}): VcpuFd {
  const kvm = on.newProcess().openKvm()
  const vcpu = kvm.createVm().createVcpu()
  const without = (e: CpuidEntry2): CpuidEntry2 =>
    e.function === 7 && e.index === 0
      ? { ...e, ecx: shstk ? e.ecx | SHSTK : e.ecx & ~SHSTK, edx: ibt ? e.edx | IBT : e.edx & ~IBT }
      : e
  vcpu.setCpuid2(kvm.getSupportedCpuid().map(without))
  return vcpu
}
const takes = (vcpu: VcpuFd, index: number, data: bigint): boolean => vcpu.setMsrs([{ index, data }]) === 1
const reads = (vcpu: VcpuFd, index: number): bigint | undefined => vcpu.getMsrs([index])[0]?.data

describe('what KVM offers', () => {
  const leaf = (on: Host, fn: number, index: number) =>
    on
      .newProcess()
      .openKvm()
      .getSupportedCpuid()
      .find((e) => e.function === fn && e.index === index)

  test.each(KERNELS)(
    '%s: SHSTK, IBT, both components in 0xD.1 and their subleaves [CET-01, CET-05, CET-20, CET-21, XSAVE-42, XSAVE-43, XSAVE-47, GFPU-07]',
    (kernel) => {
      const on = testHost({ kernel })
      expect(leaf(on, 7, 0)!.ecx & SHSTK).toBe(SHSTK)
      expect(leaf(on, 7, 0)!.edx & IBT).toBe(IBT)
      expect(leaf(on, 0xd, 1)).toMatchObject({ ecx: 0x1800, edx: 0 })
      expect(leaf(on, 0xd, 11)).toMatchObject({ eax: 16, ebx: 0, ecx: 1, edx: 0 })
      expect(leaf(on, 0xd, 12)).toMatchObject({ eax: 24, ebx: 0, ecx: 1, edx: 0 })
    },
  )

  test('6.12 on the same processor offers none of it [CET-27, XSAVE-42, XSAVE-43, XSAVE-47, GFPU-07]', () => {
    expect(leaf(old, 7, 0)!.ecx & SHSTK).toBe(0)
    expect(leaf(old, 7, 0)!.edx & IBT).toBe(0)
    expect(leaf(old, 0xd, 1)).toMatchObject({ ecx: 0 })
    expect(leaf(old, 0xd, 11)).toBeUndefined()
    expect(leaf(old, 0xd, 12)).toBeUndefined()
    expect(
      old
        .newProcess()
        .openKvm()
        .getMsrIndexList()
        .filter((index) => CET_MSRS.includes(index)),
    ).toEqual([])
  })

  test('the MSRs of the features and IA32_XSS are listed for saving [CET-16]', () => {
    const list = host.newProcess().openKvm().getMsrIndexList()
    expect([MSR_IA32_XSS, ...CET_MSRS].filter((index) => !list.includes(index))).toEqual([])
  })

  test('without SHSTK and IBT on the processor the components go too; without XSAVES nothing is left [CET-20, CET-21, CET-47]', () => {
    for (const cpu of ['SapphireRapids,-shstk,-ibt', 'SapphireRapids,-xsaves', 'Skylake-Server']) {
      const on = testHost({ kernel: 'linux-6.18', cpu })
      expect(leaf(on, 7, 0)!.ecx & SHSTK, cpu).toBe(0)
      expect(leaf(on, 7, 0)!.edx & IBT, cpu).toBe(0)
      expect(leaf(on, 0xd, 1)!.ecx, cpu).toBe(0)
      const list = on.newProcess().openKvm().getMsrIndexList()
      expect(
        list.filter((index) => [MSR_IA32_XSS, ...CET_MSRS].includes(index)),
        cpu,
      ).toEqual([])
    }
  })

  test('the module does not load on a host with supervisor shadow stacks of its own [CET-23]', () => {
    for (const [kernel, loads] of [
      ['linux-6.18', false],
      ['linux-6.12', true],
    ] as const) {
      const on = testHost({ kernel })
      on.machine.processors[0].wrmsr(MSR_IA32_S_CET, 1n)
      const load = () => loadKvm(on.kernel, on.machine)
      if (loads) expect(load).not.toThrow()
      else expect(load).toThrow(/loading kvm_intel .*CET-23/)
    }
  })

  test('a processor with only one of the two VMX controls that switch CET has none [CET-32, CET-21]', () => {
    const model = cpuModel('SapphireRapids')
    const profile = kernelProfile('linux-6.18')
    const bits = { entry: 1n << 52n, exit: 1n << 60n }
    const offers = (entry: bigint, exit: bigint): boolean => {
      const msrs = new Map(model.msrs).set(MSR_IA32_VMX_TRUE_ENTRY_CTLS, entry).set(MSR_IA32_VMX_TRUE_EXIT_CTLS, exit)
      return offersCet({ ...model, msrs }, profile, 0x9c00)
    }
    expect(offers(bits.entry, bits.exit)).toBe(true)
    expect(offers(bits.entry, 0n)).toBe(false)
    expect(offers(0n, bits.exit)).toBe(false)
  })

  test('SHSTK in leaf 7 without components in 0xD.1, and the reverse, are accepted [CET-22]', () => {
    const kvm = host.newProcess().openKvm()
    for (const [ecx7, ecxD1] of [
      [SHSTK, 0],
      [0, 0x1800],
    ]) {
      const vcpu = kvm.createVm().createVcpu()
      vcpu.setCpuid2([
        { function: 7, index: 0, flags: 1, eax: 0, ebx: 0, ecx: ecx7, edx: 0 },
        { function: 0xd, index: 1, flags: 1, eax: 0xf, ebx: 0, ecx: ecxD1, edx: 0 },
      ])
      expect(vcpu.getRegList()).toHaveLength(ecx7 === 0 ? 0 : 1)
    }
  })
})

describe('values of the MSRs, set by the host', () => {
  test('SHSTK without IBT, example E3 [CET-10, CET-11]', () => {
    const vcpu = vcpuOn(host, { ibt: false })
    for (const [index, value, ok] of [
      [MSR_IA32_U_CET, 0x3n, true],
      [MSR_IA32_U_CET, 0x4n, false],
      [MSR_IA32_U_CET, 0x40n, false],
      [MSR_IA32_PL3_SSP, 0x7fff00000004n, true],
      [MSR_IA32_PL3_SSP, 0x7fff00000002n, false],
      [MSR_IA32_INT_SSP_TAB, 0xffff888000000001n, true],
    ] as const) {
      const before = reads(vcpu, index)
      expect(takes(vcpu, index, value), `${index.toString(16)} ${value.toString(16)}`).toBe(ok)
      expect(reads(vcpu, index)).toBe(ok ? value : before)
    }
  })

  test('with IBT: the base is aligned to pages, SUPPRESS and TRACKER exclude each other, example E3 [CET-10]', () => {
    const vcpu = vcpuOn(host)
    for (const index of [MSR_IA32_U_CET, MSR_IA32_S_CET]) {
      expect(takes(vcpu, index, 0x1004n)).toBe(false)
      expect(takes(vcpu, index, 0xc04n)).toBe(false)
      expect(takes(vcpu, index, 0x4004n)).toBe(true)
      expect(takes(vcpu, index, 0x804n)).toBe(true)
      expect(reads(vcpu, index)).toBe(0x804n)
    }
  })

  test('IBT alone: no shadow-stack bits, no shadow-stack pointers [CET-22]', () => {
    const vcpu = vcpuOn(host, { shstk: false })
    expect(takes(vcpu, MSR_IA32_U_CET, 1n)).toBe(false)
    expect(takes(vcpu, MSR_IA32_U_CET, 4n)).toBe(true)
    expect(takes(vcpu, MSR_IA32_PL0_SSP, 8n)).toBe(false)
    expect(vcpu.getRegList()).toEqual([])
  })

  test('pointers are canonical by the width of the host, 57 bits, and keep all 64 without long mode [CET-10, CET-12]', () => {
    const vcpu = vcpuOn(host)
    expect(takes(vcpu, MSR_IA32_PL0_SSP, 0x00ff_0000_0000_0000n)).toBe(true)
    expect(takes(vcpu, MSR_IA32_PL0_SSP, 0x0100_0000_0000_0000n)).toBe(false)
    const kvm = host.newProcess().openKvm()
    const short = kvm.createVm().createVcpu()
    short.setCpuid2([{ function: 7, index: 0, flags: 1, eax: 0, ebx: 0, ecx: SHSTK, edx: 0 }])
    expect(takes(short, MSR_IA32_PL3_SSP, 0x7fff_0000_0000n)).toBe(true)
    expect(reads(short, MSR_IA32_PL3_SSP)).toBe(0x7fff_0000_0000n)
    expect(takes(short, MSR_IA32_INT_SSP_TAB, 0x1000n)).toBe(false)
  })

  test('a guest without CET: they read 0 and take 0, because KVM lists them, example E4 [XSAVE-56]', () => {
    const vcpu = vcpuOn(host, { shstk: false, ibt: false })
    for (const index of CET_MSRS) {
      expect(reads(vcpu, index)).toBe(0n)
      expect(takes(vcpu, index, 0n)).toBe(true)
      expect(takes(vcpu, index, 1n)).toBe(false)
    }
  })

  test('6.12: they do not exist, not even for 0 and with the bits in CPUID by hand [CET-27]', () => {
    const vcpu = vcpuOn(old, { shstk: true, ibt: true })
    for (const index of CET_MSRS) {
      expect(reads(vcpu, index)).toBeUndefined()
      expect(takes(vcpu, index, 0n)).toBe(false)
    }
    const sregs = vcpu.getSregs()
    expect(() => vcpu.setSregs({ ...sregs, cr4: sregs.cr4 | (1n << 23n) })).toThrow(/EINVAL/)
  })

  test('PL0_SSP is read and written in the registers; the host image is back afterwards, example E5 [CET-13, CET-43, GFPU-09]', () => {
    const vcpu = vcpuOn(host)
    expect(takes(vcpu, MSR_IA32_PL0_SSP, 0xffffc90000000ff8n)).toBe(true)
    expect(host.kernel.cpus.map(({ processor }) => processor.rdmsr(MSR_IA32_PL0_SSP))).toEqual([0n, 0n])
    expect(reads(vcpu, MSR_IA32_PL0_SSP)).toBe(0xffffc90000000ff8n)
    expect(host.kernel.cpus.map(({ processor }) => processor.rdmsr(MSR_IA32_PL0_SSP))).toEqual([0n, 0n])
    const { xsave, xrstor } = host.costs.snapshot()
    expect(vcpu.getMsrs([MSR_IA32_U_CET, MSR_IA32_PL0_SSP, MSR_IA32_PL3_SSP])).toHaveLength(3)
    const after = host.costs.snapshot()
    expect(after.xrstor.executed - xrstor.executed).toBe(2) // in and out, once for the list
    expect(after.xsave.executed - xsave.executed).toBeGreaterThanOrEqual(1)
  })
})

describe('IA32_XSS', () => {
  test('takes what 0xD.1 of the guest has, and 0xD.1.EBX counts it, example E6 [CET-04, XSAVE-50, XSAVE-55]', () => {
    const vcpu = vcpuOn(host)
    const size = () => vcpu.getCpuid2().find((e) => e.function === 0xd && e.index === 1)!.ebx
    vcpu.setXcr0(0x207n)
    const sizes = [0n, 0x800n, 0x1800n].map((xss) => {
      expect(takes(vcpu, MSR_IA32_XSS, xss)).toBe(true)
      return size()
    })
    expect(sizes).toEqual([840, 856, 880])
    expect(takes(vcpu, MSR_IA32_XSS, 0x8000n)).toBe(false)
    expect(takes(vcpu, MSR_IA32_XSS, 0x100n)).toBe(false)
    expect(reads(vcpu, MSR_IA32_XSS)).toBe(0x1800n)
  })

  test('6.12 takes 0 only, example E6 [XSAVE-55, CET-27]', () => {
    const vcpu = vcpuOn(old)
    expect(takes(vcpu, MSR_IA32_XSS, 0n)).toBe(true)
    for (const value of [0x100n, 0x800n, 0x1800n]) expect(takes(vcpu, MSR_IA32_XSS, value)).toBe(false)
  })
})

describe('registers by id', () => {
  test('GUEST_SSP is apart from PL3_SSP, MSRs have ids of type 2 [CET-17, CET-19]', () => {
    const vcpu = vcpuOn(host)
    expect(vcpu.getRegList()).toEqual([0x2030000300000000n])
    vcpu.setOneReg(KVM_REG_GUEST_SSP, 0x7fff00001000n)
    vcpu.setOneReg(0x20300002000006a7n, 0x7fff00002000n)
    expect(vcpu.getOneReg(KVM_REG_GUEST_SSP)).toBe(0x7fff00001000n)
    expect(reads(vcpu, MSR_IA32_PL3_SSP)).toBe(0x7fff00002000n)
  })

  test.each([
    ['another architecture', 0x3030000300000000n],
    ['a reserved byte', 0x2030010300000000n],
    ['a reserved nibble', 0x2031000300000000n],
    ['type 1', 0x2030000100000000n],
    ['32 bits', 0x2020000300000000n],
    ['KVM register 1', 0x2030000300000001n],
    ['an MSR that is none', 0x2030000200012345n],
  ])('%s is EINVAL [CET-18]', (_what, id) => {
    const vcpu = vcpuOn(host)
    expect(() => vcpu.getOneReg(id)).toThrow(/EINVAL/)
    expect(() => vcpu.setOneReg(id, 0n)).toThrow(/EINVAL/)
  })

  test('GUEST_SSP needs SHSTK, alignment and a canonical address [CET-18]', () => {
    const vcpu = vcpuOn(host)
    for (const bad of [2n, 0x0100_0000_0000_0000n]) expect(() => vcpu.setOneReg(KVM_REG_GUEST_SSP, bad)).toThrow(/EINVAL/)
    const without = vcpuOn(host, { shstk: false })
    expect(() => without.getOneReg(KVM_REG_GUEST_SSP)).toThrow(/EINVAL/)
    expect(without.getRegList()).toEqual([])
  })

  test('6.12 has none of the three calls [CET-17]', () => {
    const vcpu = vcpuOn(old)
    expect(() => vcpu.getOneReg(msrReg(0x10))).toThrow(/EINVAL/)
    expect(() => vcpu.getRegList()).toThrow(/EINVAL/)
  })
})
