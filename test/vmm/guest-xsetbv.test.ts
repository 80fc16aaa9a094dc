import { beforeAll, describe, expect, test } from 'vitest'
import { X86_CR4_OSXSAVE } from '../../src/isa/control-registers.ts'
import { cpuidRoom, findCpuid } from '../../src/vmm/cpuid-list.ts'
import type { Host } from '../../src/vmm/modelled/host.ts'
import type { VcpuFd } from '../../src/vmm/vcpu-fd.ts'
import { realModeVcpu, testHost } from './hosts.ts'

const HLT = 0xf4
const XSETBV = [0x0f, 0x01, 0xd1]
const CODE = 0x1000
const HANDLERS = 0x2000
const IDT = 0x3000
const GDT = 0x3800
const TSS = 0x4000
const PAGE_TABLES = 0x8000
const UD = 6
const GP = 13

let host: Host
beforeAll(() => {
  host = testHost()
})

const le32 = (value: number): number[] => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24]
/** mov $lo, %eax; mov $hi, %edx; mov $index, %ecx; xsetbv; then mov $0x55, %al; out %al, $0x80 (or a fault). */
const setXcr = (lo: number, hi = 0, index = 0): number[] => [
  0xb8,
  ...le32(lo),
  0xba,
  ...le32(hi),
  0xb9,
  ...le32(index),
  ...XSETBV,
  0xb0,
  0x55,
  0xe6,
  0x80,
  HLT,
]

/** In 64-bit mode at privilege level `cpl`; every exception handler writes its vector to port 0x80. */
function guest(code: readonly number[], osxsave: boolean, cpl: 0 | 3 = 0): VcpuFd {
  const { vcpu, memory } = realModeVcpu([HLT], host)
  memory.write(CODE, Uint8Array.from(code))
  const descriptor = (access: number) => [0xff, 0xff, 0, 0, 0, access, access & 8 ? 0xaf : 0xcf, 0]
  // Null, code 0, data 0, code 3, data 3.
  memory.write(GDT, Uint8Array.from([...new Array(8).fill(0), ...[0x9b, 0x93, 0xfb, 0xf3].flatMap(descriptor)]))
  for (let vector = 0; vector < 32; vector++) {
    const at = HANDLERS + vector * 16
    memory.write(at, Uint8Array.of(0xb0, vector, 0xe6, 0x80, HLT))
    memory.write(IDT + vector * 16, Uint8Array.of(at & 0xff, at >> 8, 8, 0, 0, 0x8e, 0, 0))
  }
  memory.write(TSS + 4, Uint8Array.from(le32(0x7000)))
  // One page of 2 MiB, for user mode too.
  for (const [table, entry] of [
    [0, PAGE_TABLES + 0x1007],
    [0x1000, PAGE_TABLES + 0x2007],
    [0x2000, 0x87],
  ])
    memory.write(PAGE_TABLES + table, Uint8Array.from(le32(entry)))
  const sregs = vcpu.getSregs()
  const flat = (selector: number, type: number, l: number) => ({
    ...sregs.ds,
    base: 0n,
    limit: 0xffffffff,
    selector: selector | cpl,
    type,
    present: 1,
    dpl: cpl,
    db: 1 - l,
    s: 1,
    g: 1,
    l,
    unusable: 0,
  })
  const data = flat(cpl === 0 ? 0x10 : 0x20, 3, 0)
  vcpu.setSregs({
    ...sregs,
    cr0: 0x80000011n,
    cr3: BigInt(PAGE_TABLES),
    efer: 0x500n,
    cr4: 0x20n | (osxsave ? BigInt(X86_CR4_OSXSAVE) : 0n),
    cs: flat(cpl === 0 ? 8 : 0x18, 11, 1),
    ds: data,
    es: data,
    ss: data,
    fs: data,
    gs: data,
    tr: { ...sregs.tr, base: BigInt(TSS), limit: 0x67, selector: 0x28, type: 11, present: 1, s: 0 },
    gdt: { ...sregs.gdt, base: BigInt(GDT), limit: 39 },
    idt: { ...sregs.idt, base: BigInt(IDT), limit: 511 },
  })
  // IOPL 3, so that OUT works at either level.
  vcpu.setRegs({ ...vcpu.getRegs(), rip: BigInt(CODE), rsp: 0x6000n, rflags: 0x3002n })
  return vcpu
}

/** What the guest wrote to its port: 0x55, or the vector of the exception. */
function outcome(vcpu: VcpuFd): number {
  const exit = vcpu.run()
  if (exit.reason !== 'io') throw new Error(`left with ${exit.reason}`)
  return exit.value
}

describe('XSETBV of a guest', () => {
  test('stores a valid value and goes on [GFPU-44, GFPU-46]', () => {
    const vcpu = guest(setXcr(7), true)
    expect(outcome(vcpu)).toBe(0x55)
    expect(vcpu.getXcr0()).toBe(7n)
    expect(findCpuid(vcpu.getCpuid2(), 0xd, 0)!.ebx).toBe(832)
  })

  test('with CR4.OSXSAVE clear is #UD, at any privilege level [GFPU-44]', () => {
    for (const cpl of [0, 3] as const) {
      const vcpu = guest(setXcr(7), false, cpl)
      expect(outcome(vcpu)).toBe(UD)
      expect(vcpu.getXcr0()).toBe(1n)
    }
  })

  test('outside privilege level 0 is #GP [GFPU-44]', () => {
    const vcpu = guest(setXcr(7), true, 3)
    expect(outcome(vcpu)).toBe(GP)
    expect(vcpu.getXcr0()).toBe(1n)
  })

  test.each([
    ['another register than XCR0', 7, 0, 1],
    ['x87 missing', 6, 0, 0],
    ['AVX without SSE', 5, 0, 0],
    ['a component the guest lacks', 0x60007, 0, 0],
    ['one MPX component', 0xf, 0, 0],
    ['AVX-512 in part', 0x27, 0, 0],
    ['AVX-512 without AVX', 0xe3, 0, 0],
    ['tile configuration without tile data', 0x20007, 0, 0],
    ['a bit of the high half', 7, 1, 0],
  ])('with %s is #GP and changes nothing [GFPU-44, GFPU-45]', (_what, lo, hi, index) => {
    const vcpu = guest(setXcr(lo, hi, index), true)
    expect(outcome(vcpu)).toBe(GP)
    expect(vcpu.getXcr0()).toBe(1n)
  })
})

describe('KVM_SET_CPUID', () => {
  test('has no subleaves: the first entry of leaf 0xD answers for each [XSAVE-53]', () => {
    // mov $0xd, %eax; mov $1, %ecx; cpuid; out %eax, $0x80; hlt
    const code = [0x66, 0xb8, 0xd, 0, 0, 0, 0x66, 0xb9, 1, 0, 0, 0, 0x0f, 0xa2, 0x66, 0xe7, 0x80, HLT]
    const { vcpu } = realModeVcpu(code, host)
    const bytes = new Uint8Array(8 + 3 * 24)
    const view = new DataView(bytes.buffer)
    view.setUint32(0, 3, true)
    // function, eax, ebx, ecx, edx
    const rows = [
      [0, 0xd, 0, 0, 0],
      [0xd, 0x207, 0, 0, 0],
      [0xd, 0x1f, 0, 0, 0],
    ]
    rows.forEach((row, i) => {
      row.forEach((value, word) => {
        view.setUint32(8 + i * 24 + word * 4, value, true)
      })
    })
    expect(vcpu.vm.kvm.process.ioctlTakes(vcpu.fd, 'KVM_SET_CPUID', bytes)).toBe(0)
    expect(vcpu.run()).toMatchObject({ reason: 'io', value: 0x207 })
    // So KVM takes it for 0xD.1 as well, which has XSAVEC by bit 1, and its EBX becomes the compacted size.
    vcpu.setXcr0(0x207n)
    const list = vcpu.getCpuid2()
    expect(list.map(({ index, flags }) => [index, flags])).toEqual([
      [0, 0],
      [0, 0],
      [0, 0],
    ])
    expect(findCpuid(list, 0xd, 1)).toMatchObject({ eax: 0x207, ebx: 840 })
  })

  test('lists of more than 256 entries are E2BIG, odd address widths EINVAL, unreadable ones EFAULT [XSAVE-48]', () => {
    const { vcpu } = realModeVcpu([HLT], host)
    const { process } = vcpu.vm.kvm
    const before = vcpu.getCpuid2()
    expect(process.tryIoctlBytes(vcpu.fd, 'KVM_SET_CPUID2', cpuidRoom(257))).toBe(-7)
    expect(process.tryIoctl(vcpu.fd, 'KVM_SET_CPUID2', 0)).toBe(-14)
    for (const width of [47, 49, 52, 64])
      expect(() =>
        vcpu.setCpuid2([{ function: 0x80000008, index: 0, flags: 0, eax: 46 | (width << 8), ebx: 0, ecx: 0, edx: 0 }]),
      ).toThrow(/EINVAL.*XSAVE-48/)
    expect(vcpu.getCpuid2()).toEqual(before)
    // All of this is taken as given: nothing else about extended state is checked.
    const odd = [
      { function: 0xd, index: 0, flags: 1, eax: 0x20a06, ebx: 1, ecx: 2, edx: 0xffff0000 },
      { function: 0xd, index: 1, flags: 1, eax: 0, ebx: 3, ecx: 0x1800, edx: 0 },
      { function: 7, index: 0, flags: 1, eax: 0, ebx: 0, ecx: 1 << 7, edx: 1 << 20 },
      { function: 0xd, index: 0, flags: 1, eax: 3, ebx: 1, ecx: 2, edx: 0 },
      { function: 0x80000008, index: 0, flags: 0, eax: 52 | (57 << 8), ebx: 0, ecx: 0, edx: 0 },
    ]
    vcpu.setCpuid2(odd)
    expect(vcpu.getCpuid2().map(({ eax, ecx, edx }) => [eax, ecx, edx])).toEqual(odd.map(({ eax, ecx, edx }) => [eax, ecx, edx]))
  })

  test('what a guest has of XSAVE comes from 0xD.1.EAX: without XSAVEC its EBX stays, without XFD its MSR is #GP [XSAVE-54, GFPU-26]', () => {
    // mov $0x1c4, %ecx; rdmsr; mov $0x55, %al; out %al, $0x80
    const vcpu = guest([0xb9, ...le32(0x1c4), 0x0f, 0x32, 0xb0, 0x55, 0xe6, 0x80, HLT], false)
    const list = vcpu.getCpuid2()
    const edit = (eax: number) =>
      vcpu.setCpuid2(list.map((e) => (e.function === 0xd && e.index === 1 ? { ...e, eax, ebx: 77 } : e)))
    edit(0x1f)
    expect(findCpuid(vcpu.getCpuid2(), 0xd, 1)!.ebx).toBe(576)
    edit(0x05)
    expect(findCpuid(vcpu.getCpuid2(), 0xd, 1)!.ebx).toBe(77)
    expect(outcome(vcpu)).toBe(GP)
  })
})
