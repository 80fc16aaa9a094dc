import { describe, expect, it } from 'vitest'
import { X86_CR4_OSXSAVE, X86_CR4_PKE } from '../../src/isa/control-registers.ts'
import { cpuModel } from '../../src/isa/cpu-grammar.ts'
import { type ProcessorState, processorCpuid } from '../../src/isa/processor-cpuid.ts'

const reset: ProcessorState = { apicId: 0, logicalProcessors: 1, cr4: 0, xcr0: 1, xss: 0, in64BitMode: true }
const spr = cpuModel('SapphireRapids')
const ask = (state: Partial<ProcessorState>, leaf: number, sub = 0, model = spr) =>
  processorCpuid(model, { ...reset, ...state }, leaf, sub)

describe('run-time bits', () => {
  it('OSXSAVE and OSPKE follow CR4 [XSAVE-46]', () => {
    expect((ask({}, 1).ecx >>> 27) & 1).toBe(0)
    expect((ask({ cr4: X86_CR4_OSXSAVE }, 1).ecx >>> 27) & 1).toBe(1)
    expect((ask({}, 7).ecx >>> 4) & 1).toBe(0)
    expect((ask({ cr4: X86_CR4_PKE }, 7).ecx >>> 4) & 1).toBe(1)
    expect(ask({ cr4: X86_CR4_PKE }, 7, 1)).toEqual(spr.cpuid(7, 1))
  })

  it.each([
    [1, 0, 576, 576],
    [7, 0, 832, 832],
    [0x207, 0, 2696, 840],
    [0x2e7, 0, 2696, 2440],
    [0x602e7, 0, 11008, 10752],
    [7, 0x1800, 832, 872],
    [0x602e7, 0x1800, 11008, 10752],
  ])('XCR0 0x%s, XSS 0x%s: 0DH sizes [XSAVE §10]', (xcr0, xss, standard, compacted) => {
    expect(ask({ xcr0, xss }, 0xd, 0)).toMatchObject({ eax: 0x602e7, ebx: standard, ecx: 11008 })
    expect(ask({ xcr0, xss }, 0xd, 1).ebx).toBe(compacted)
  })

  it('SYSCALL is shown to 64-bit code only on Intel', () => {
    expect((ask({ in64BitMode: false }, 0x80000001).edx >>> 11) & 1).toBe(0)
    const genoa = cpuModel('EPYC-Genoa')
    expect((ask({ in64BitMode: false }, 0x80000001, 0, genoa).edx >>> 11) & 1).toBe(1)
  })

  it('repeats what the recorded chips answered under a running kernel', () => {
    const bochs = cpuModel('SapphireRapids-bochs')
    const live = { cr4: X86_CR4_OSXSAVE | X86_CR4_PKE, xcr0: 0x602e7, xss: 0x800 }
    expect(ask(live, 1, 0, bochs)).toEqual({ eax: 0x806f8, ebx: 0x10800, ecx: 0x7ffef3bf, edx: 0xafebfbff })
    expect(ask(live, 7, 0, bochs).ecx).toBe(0x98415ffe)
    expect(ask(live, 0xd, 0, bochs)).toMatchObject({ ebx: 0x2b00 })
    expect(ask(live, 0xd, 1, bochs)).toMatchObject({ eax: 0x1f, ebx: 0x2a00, ecx: 0x1800 })
    expect(ask(live, 0xb, 1, bochs)).toEqual({ eax: 0, ebx: 0, ecx: 1, edx: 0 })
    expect(ask(live, 0x1f, 1, bochs)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 })
    const tcg = cpuModel('qemu-tcg-max')
    expect(ask({ xcr0: 0x21f }, 0xd, 1, tcg)).toMatchObject({ eax: 5, ebx: 0x3c8 })
    expect(ask({}, 1, 0, tcg).ebx).toBe(0x800)
    expect(ask({}, 0x40000000, 0, tcg)).toEqual({ eax: 0x40000001, ebx: 0x54474354, ecx: 0x43544743, edx: 0x47435447 })
    const turin = cpuModel('EPYC-Turin-virtual')
    const twoCpus = { cr4: X86_CR4_OSXSAVE, xcr0: 0xe7, xss: 0x1800, logicalProcessors: 2 }
    expect(ask(twoCpus, 0xd, 1, turin).ebx).toBe(0x9a8)
    expect(ask(twoCpus, 1, 0, turin)).toMatchObject({ ebx: 0x20800, ecx: 0xfffa3203 })
  })
})

describe('topology of one package of single-thread cores', () => {
  it.each([
    [1, 0, 1],
    [2, 1, 2],
    [3, 2, 3],
    [4, 2, 4],
    [16, 4, 16],
    [17, 5, 17],
  ])('%i processors', (logicalProcessors, shift, count) => {
    for (const leaf of [0xb, 0x1f]) {
      expect(ask({ logicalProcessors, apicId: logicalProcessors - 1 }, leaf, 0)).toEqual({
        eax: 0,
        ebx: 1,
        ecx: 0x100,
        edx: logicalProcessors - 1,
      })
      expect(ask({ logicalProcessors }, leaf, 1)).toEqual({ eax: shift, ebx: count, ecx: 0x201, edx: 0 })
      expect(ask({ logicalProcessors }, leaf, 2)).toEqual({ eax: 0, ebx: 0, ecx: 2, edx: 0 })
    }
    const l1 = ask({ logicalProcessors }, 4, 0)
    const l3 = ask({ logicalProcessors }, 4, 3)
    expect((l1.eax >>> 14) & 0xfff).toBe(0)
    expect((l3.eax >>> 14) & 0xfff).toBe((1 << shift) - 1)
    expect(l3.eax >>> 26).toBe((1 << shift) - 1)
    expect(ask({ logicalProcessors }, 4, 4).eax).toBe(0)
  })

  it('two hyper-threads a core: they share first and second level, and ids below the core level', () => {
    const state = { logicalProcessors: 4, threadsPerCore: 2, apicId: 3 }
    for (const leaf of [0xb, 0x1f]) {
      expect(ask(state, leaf, 0)).toEqual({ eax: 1, ebx: 2, ecx: 0x100, edx: 3 })
      expect(ask(state, leaf, 1)).toEqual({ eax: 2, ebx: 4, ecx: 0x201, edx: 3 })
    }
    const [l1, l3] = [ask(state, 4, 0), ask(state, 4, 3)]
    expect([(l1.eax >>> 14) & 0xfff, (l3.eax >>> 14) & 0xfff, l1.eax >>> 26]).toEqual([1, 3, 1])
  })

  it('the initial APIC id is in 1.EBX[31:24]', () => {
    expect(ask({ logicalProcessors: 4, apicId: 3 }, 1).ebx).toBe(0x03040800)
  })

  it('AMD: 80000008H.ECX and 8000001EH', () => {
    const genoa = cpuModel('EPYC-Genoa')
    expect(ask({ logicalProcessors: 4, apicId: 2 }, 0x80000008, 0, genoa).ecx).toBe(0x2003)
    expect(ask({ logicalProcessors: 4, apicId: 2 }, 0x8000001e, 0, genoa)).toMatchObject({ eax: 2, ebx: 2 })
    expect((ask({ logicalProcessors: 4 }, 0x8000001d, 3, genoa).eax >>> 14) & 0xfff).toBe(3)
  })
})
