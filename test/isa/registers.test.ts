import { describe, expect, it } from 'vitest'
import * as cr from '../../src/isa/control-registers.ts'
import { cpuModel, listCpuModels } from '../../src/isa/cpu-grammar.ts'
import { features } from '../../src/isa/cpuid-features.ts'
import * as index from '../../src/isa/msr-index.ts'
import { msrByIndex, msrExists, msrFacts, msrName, msrRanges, msrResetValue, msrWritableMask } from '../../src/isa/msrs.ts'
import { isCanonical, pagingModes } from '../../src/isa/paging.ts'
import { combineFaults, vectorByNumber, vectorHasErrorCode, vectorMnemonic, vectors } from '../../src/isa/vectors.ts'

const spr = cpuModel('SapphireRapids')

describe('exceptions', () => {
  it.each(vectors.map((v) => [v.mnemonic, v] as const))('%s is found by its vector and has a source', (_, v) => {
    expect(vectorByNumber[v.vector]).toBe(v)
    expect(v.source).not.toBe('')
  })

  it('exactly these push an error code (SDM Vol. 3A Table 6-1, APM for 29 and 30)', () => {
    const pushing = [...vectorHasErrorCode.keys()].filter((v) => vectorHasErrorCode[v] === 1)
    expect(pushing).toEqual([8, 10, 11, 12, 13, 14, 17, 21, 29, 30])
  })

  it.each([
    [13, 13, 'double-fault'],
    [0, 11, 'double-fault'],
    [14, 13, 'double-fault'],
    [14, 14, 'double-fault'],
    [13, 14, 'serial'],
    [6, 13, 'serial'],
    [13, 6, 'serial'],
    [8, 13, 'shutdown'],
    [8, 14, 'shutdown'],
    [21, 12, 'double-fault'],
  ] as const)('vector %i, then %i: %s (SDM Table 6-5)', (first, second, result) => {
    expect(combineFaults(first, second)).toBe(result)
  })

  it('names an interrupt by its number', () => {
    expect([vectorMnemonic(13), vectorMnemonic(15), vectorMnemonic(0x80)]).toEqual(['#GP', 'vector 15', 'vector 128'])
  })
})

describe('control registers', () => {
  it('CR4 and EFER rows name known features and disjoint bits', () => {
    for (const table of [cr.cr4Bits, cr.eferBits]) {
      let seen = 0
      for (const bit of table) {
        expect(seen & bit.mask, bit.name).toBe(0)
        seen |= bit.mask
        for (const f of bit.features) expect(features.has(f), f).toBe(true)
      }
    }
  })

  it.each([
    ['SapphireRapids', 'CET', true],
    ['SapphireRapids', 'PKS', true],
    ['SapphireRapids', 'UINTR', false],
    ['SapphireRapids', 'LA57', true],
    ['SapphireRapids', 'VMXE', true],
    ['SapphireRapids', 'LAM_SUP', false],
    ['Skylake-Server', 'CET', false],
    ['Skylake-Server', 'PKE', true],
    ['Skylake-Server', 'LA57', false],
    ['EPYC-Genoa', 'CET', true],
    ['EPYC-Genoa', 'VMXE', false],
    ['qemu-tcg-max', 'UMIP', true],
  ])('%s: CR4.%s is writable: %s', (model, name, writable) => {
    const mask = cr.writableBits(cr.cr4Bits, (f) => cpuModel(model).has(f))
    const bit = cr.cr4Bits.find((b) => b.name === name)!
    expect((mask & bit.mask) !== 0).toBe(writable)
  })

  it('EFER of Intel has SCE, LME, LMA, NX; of AMD also SVME and FFXSR', () => {
    expect(cr.writableBits(cr.eferBits, (f) => spr.has(f))).toBe(0xd01)
    expect(cr.writableBits(cr.eferBits, (f) => cpuModel('EPYC-Genoa').has(f)) & 0x5d01).toBe(0x5d01)
  })

  it('masks are unsigned', () => {
    for (const value of Object.values(cr)) if (typeof value === 'number') expect(value).toBeGreaterThanOrEqual(0)
  })
})

describe('model-specific registers', () => {
  it('indices and names are unique, features known, sources given', () => {
    expect(new Set(Object.values(index)).size).toBe(Object.values(index).length)
    expect(msrByIndex.size).toBe(msrFacts.length)
    for (const m of msrFacts) {
      expect(msrName(m.index)).toBe(m.name)
      expect(m.source).not.toBe('')
      for (const f of [...m.features, ...m.writable.flatMap((w) => w.features ?? [])]) expect(features.has(f), f).toBe(true)
      if (m.access === 'ro') expect(m.writable).toEqual([])
    }
    for (const r of msrRanges) for (const f of r.features) expect(features.has(f)).toBe(true)
    expect(msrName(0x12345)).toBe('MSR 0x12345')
  })

  it.each([
    ['MSR_IA32_XFD', 'SapphireRapids', true],
    ['MSR_IA32_XFD', 'Icelake-Server', false],
    ['MSR_IA32_CORE_CAPS', 'SapphireRapids', true],
    ['MSR_IA32_CORE_CAPS', 'Icelake-Server', false],
    ['MSR_TEST_CTRL', 'Icelake-Server', true],
    ['MSR_TEST_CTRL', 'Skylake-Server', false],
    ['MSR_IA32_U_CET', 'EPYC-Genoa', true],
    ['MSR_IA32_U_CET', 'Skylake-Server', false],
    ['MSR_IA32_XSS', 'qemu-tcg-max', false],
    ['MSR_K7_HWCR', 'SapphireRapids', false],
    ['MSR_LSTAR', 'SapphireRapids', true],
    ['MSR_IA32_PASID', 'SapphireRapids', true],
    ['MSR_IA32_PASID', 'SapphireRapids-bochs', false],
  ] as const)('%s exists on %s: %s', (name, model, exists) => {
    expect(msrExists(msrFacts.find((m) => m.name === name)!, cpuModel(model))).toBe(exists)
  })

  it('XFD takes bit 18, XSS the supervisor components, PKRS 32 bits', () => {
    const mask = (i: number) => msrWritableMask(msrByIndex.get(i)!, spr)
    expect(mask(index.MSR_IA32_XFD)).toBe(0x40000n)
    expect(mask(index.MSR_IA32_XSS)).toBe(0x9c00n)
    expect(mask(index.MSR_IA32_PKRS)).toBe(0xffffffffn)
    expect(mask(index.MSR_IA32_U_CET)).toBe(0xffff_ffff_ffff_fc3fn)
    expect(mask(index.MSR_IA32_ARCH_CAPABILITIES)).toBe(0n)
  })

  it('every stated MSR of every model is one the table knows', () => {
    for (const { name } of listCpuModels()) {
      for (const i of cpuModel(name).msrs.keys()) expect(msrByIndex.has(i), `${name} ${i.toString(16)}`).toBe(true)
    }
  })

  it('reset values: the model first, else the register', () => {
    expect(msrResetValue(msrByIndex.get(index.MSR_IA32_CORE_CAPS)!, spr)).toBe(0x20n)
    expect(msrResetValue(msrByIndex.get(index.MSR_IA32_CR_PAT)!, spr)).toBe(0x0007040600070406n)
  })
})

describe('paging', () => {
  it('modes cover their linear addresses', () => {
    for (const m of pagingModes) {
      expect(m.indexBits).toHaveLength(m.levels)
      expect(m.indexBits.reduce((a, b) => a + b, 12)).toBe(m.linearBits)
    }
  })

  it.each([
    [0x00007fff, 48, true],
    [0x00008000, 48, false],
    [0xffff8000, 48, true],
    [0xffff7fff, 48, false],
    [0x00ffffff, 57, true],
    [0x01000000, 57, false],
    [0xff000000, 57, true],
    [0xfeffffff, 57, false],
  ])('upper half 0x%s is canonical with %i bits: %s', (hi, bits, canonical) => {
    expect(isCanonical(hi, bits)).toBe(canonical)
    expect(isCanonical(hi | 0, bits)).toBe(canonical)
  })
})
