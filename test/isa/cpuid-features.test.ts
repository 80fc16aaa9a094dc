import { describe, expect, it } from 'vitest'
import { cpuidWords, featureAliases, features, findFeature, msrWords, runtimeFeatures } from '../../src/isa/cpuid-features.ts'
import { basesOf, featureDependencies, withDependents } from '../../src/isa/feature-dependencies.ts'
import { gatedComponents, xstateGates } from '../../src/isa/xstate-gates.ts'

describe('feature table', () => {
  it('names each bit of a register at most once', () => {
    for (const [word, w] of Object.entries({ ...cpuidWords, ...msrWords })) {
      const bits = [...Object.values(w.bits), ...Object.values('more' in w ? w.more : {})] as number[]
      expect(new Set(bits).size, word).toBe(bits.length)
      for (const bit of bits) expect(bit).toBeLessThan('msr' in w ? 64 : 32)
      expect(w.source, word).not.toBe('')
    }
  })

  it('describes no register twice', () => {
    const keys = Object.values(cpuidWords).map((w) => `${w.leaf}.${w.subleaf}.${w.register}`)
    expect(new Set(keys).size).toBe(keys.length)
  })

  // Positions read in the manual, independently of the table's order.
  it.each([
    ['vmx', 1, 0, 'ecx', 5],
    ['xsave', 1, 0, 'ecx', 26],
    ['hypervisor', 1, 0, 'ecx', 31],
    ['sse2', 1, 0, 'edx', 26],
    ['avx2', 7, 0, 'ebx', 5],
    ['avx512f', 7, 0, 'ebx', 16],
    ['avx512vl', 7, 0, 'ebx', 31],
    ['pku', 7, 0, 'ecx', 3],
    ['shstk', 7, 0, 'ecx', 7],
    ['la57', 7, 0, 'ecx', 16],
    ['bus-lock-detect', 7, 0, 'ecx', 24],
    ['pks', 7, 0, 'ecx', 31],
    ['ibt', 7, 0, 'edx', 20],
    ['amx-bf16', 7, 0, 'edx', 22],
    ['amx-tile', 7, 0, 'edx', 24],
    ['amx-int8', 7, 0, 'edx', 25],
    ['core-capability', 7, 0, 'edx', 30],
    ['amx-fp16', 7, 1, 'eax', 21],
    ['amx-complex', 7, 1, 'edx', 8],
    ['cet-sss', 7, 1, 'edx', 18],
    ['xfd', 0xd, 1, 'eax', 4],
    ['svm', 0x80000001, 0, 'ecx', 2],
    ['lm', 0x80000001, 0, 'edx', 29],
    ['wbnoinvd', 0x80000008, 0, 'ebx', 9],
    ['npt', 0x8000000a, 0, 'edx', 0],
    ['null-sel-clr-base', 0x80000021, 0, 'eax', 6],
  ] as const)('%s is CPUID.(%i,%i).%s bit %i', (name, leaf, subleaf, register, bit) => {
    expect(features.get(name)).toMatchObject({ kind: 'cpuid', leaf, subleaf, register, bit })
  })

  it('finds a feature by alias and with _ for -', () => {
    expect(findFeature('amx_tile')?.name).toBe('amx-tile')
    expect(findFeature('sse4_1')?.name).toBe('sse4.1')
    expect(findFeature('sse3')?.name).toBe('pni')
    for (const [alias, name] of Object.entries(featureAliases)) expect(findFeature(alias)?.name).toBe(name)
    expect(findFeature('constructor')).toBeUndefined()
    expect(findFeature('toString')).toBeUndefined()
  })

  it('knows the bits that CR4 answers', () => {
    for (const name of runtimeFeatures) expect(features.has(name)).toBe(true)
  })
})

describe('dependencies', () => {
  it('every name in a rule is a feature', () => {
    for (const d of featureDependencies) for (const n of [d.base, ...d.dependents]) expect(features.has(n), n).toBe(true)
    for (const g of xstateGates) for (const n of g.features) expect(features.has(n), n).toBe(true)
  })

  it('without XSAVE there is no AVX, AVX-512, PKU or AMX', () => {
    const gone = withDependents(['xsave'])
    for (const n of ['avx', 'fma', 'avx2', 'avx512f', 'avx512-fp16', 'pku', 'amx-tile', 'amx-int8', 'xfd', 'xsaves'] as const) {
      expect(gone.has(n), n).toBe(true)
    }
    expect(gone.has('sse2')).toBe(false)
  })

  it('bases are the inverse of dependents', () => {
    for (const d of featureDependencies) for (const n of d.dependents) expect(basesOf(n)).toContain(d.base)
  })

  it.each([
    ['avx', 0x4],
    ['mpx', 0x18],
    ['avx512f', 0xe0],
    ['pku', 0x200],
    ['enqcmd', 0x400],
    ['shstk', 0x1800],
    ['ibt', 0x1800],
    ['arch-lbr', 0x8000],
    ['amx-tile', 0x60000],
    ['apx', 0x80000],
  ] as const)('%s brings components 0x%s', (name, mask) => {
    expect(gatedComponents((f) => f === name || f === 'xsave')).toBe(mask)
    expect(gatedComponents((f) => f === name)).toBe(0)
  })
})
