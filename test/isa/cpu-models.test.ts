import { describe, expect, it } from 'vitest'
import { signature } from '../../src/isa/build-cpu-model.ts'
import { cpuModel, listCpuModels } from '../../src/isa/cpu-grammar.ts'
import { cpuModelFacts } from '../../src/isa/cpu-models/index.ts'
import { AMD_EDX_ALIASES, features } from '../../src/isa/cpuid-features.ts'
import { compactedSize, standardSize } from '../../src/isa/xstate-layout.ts'

const names = cpuModelFacts.map((f) => f.name)
const text = (...words: number[]): string =>
  words.map((w) => String.fromCharCode(w & 255, (w >> 8) & 255, (w >> 16) & 255, w >>> 24)).join('')

describe.each(names)('%s', (name) => {
  const model = cpuModel(name)

  it('says where every row comes from, and whether it was read on a real part', () => {
    for (const row of model.rows) expect(row.source, `${row.leaf.toString(16)}.${row.subleaf}`).not.toBe('')
    for (const m of model.facts.msrs) expect(m.source).not.toBe('')
    expect(model.source).not.toBe('')
    if (!model.hasRealDump) expect(model.source).toContain('no CPUID dump')
    expect(listCpuModels().find((m) => m.name === name)).toMatchObject({ source: model.source, hasRealDump: model.hasRealDump })
  })

  it('leaf values are unsigned 32-bit numbers', () => {
    for (const row of model.rows) {
      for (const value of [row.eax, row.ebx, row.ecx, row.edx]) expect(value).toBe(value >>> 0)
    }
  })

  it('vendor, signature and brand leaves agree with the model', () => {
    const leaf0 = model.cpuid(0, 0)
    expect(text(leaf0.ebx, leaf0.edx, leaf0.ecx)).toBe(model.vendor)
    expect(leaf0.eax).toBe(model.maxBasicLeaf)
    expect(model.cpuid(1, 0).eax).toBe(signature(model.family, model.model, model.stepping))
    expect(model.cpuid(0x80000000, 0).eax).toBe(model.maxExtendedLeaf)
    const brand = [2, 3, 4].map((n) => model.cpuid(0x80000000 + n, 0)).map((r) => text(r.eax, r.ebx, r.ecx, r.edx))
    expect(brand.join('').replace(/\0+$/, '')).toBe(model.brand)
  })

  it('has() answers what the leaf bits say, for every feature', () => {
    for (const f of features.values()) {
      if (f.kind !== 'cpuid') continue
      const bit = (model.cpuid(f.leaf, f.subleaf)[f.register] >>> f.bit) & 1
      const inRange = f.leaf <= (f.leaf >= 0x80000000 ? model.maxExtendedLeaf : model.maxBasicLeaf)
      expect(model.has(f.name), f.name).toBe(inRange && bit === 1)
    }
  })

  it('leaf 0DH is consistent with itself and the layout [PERM-04]', () => {
    const sub0 = model.cpuid(0xd, 0)
    const sub1 = model.cpuid(0xd, 1)
    expect(sub0.eax).toBe(model.xcr0Supported)
    expect(sub1.ecx).toBe(model.xssSupported)
    expect(sub0.ecx).toBe(standardSize(model.xstate, model.xcr0Supported))
    expect(sub0.ebx).toBe(576)
    let standard = 576
    for (let nr = 2; nr < 32; nr++) {
      const sub = model.cpuid(0xd, nr)
      const listed = (((model.xcr0Supported | model.xssSupported) >>> nr) & 1) === 1
      expect(sub.eax !== 0, `component ${nr}`).toBe(listed)
      if (!listed) continue
      expect(sub.ecx & 1).toBe((model.xssSupported >>> nr) & 1)
      if (sub.ecx & 1) expect(sub.ebx).toBe(0)
      else standard = Math.max(standard, sub.ebx + sub.eax)
      expect((sub.ecx >> 2) & 1).toBe((model.xstate.xfdMask >>> nr) & 1)
    }
    expect(sub0.ecx).toBe(standard)
    expect(compactedSize(model.xstate, model.xcr0Supported | model.xssSupported)).toBeGreaterThan(576)
  })

  it('XCR0 holds FP and SSE, AVX-512 and tile components in full groups only', () => {
    const x = model.xcr0Supported
    expect(x & 3).toBe(3)
    expect([0, 0xe0]).toContain(x & 0xe0)
    expect([0, 0x18]).toContain(x & 0x18)
    if (!model.facts.syntheticXstate) expect([0, 0x60000]).toContain(x & 0x60000)
  })

  it('AMX leaves are there exactly with AMX', () => {
    const palette = model.cpuid(0x1d, 1)
    if (model.has('amx-tile')) {
      expect(palette).toMatchObject({ eax: 0x04002000, ebx: 0x00080040, ecx: 16 })
      expect(model.cpuid(0x1e, 0).ebx).toBe((64 << 8) | 16)
    } else if (model.maxBasicLeaf >= 0x1d) {
      expect(palette).toMatchObject({ eax: 0, ebx: 0 })
    }
  })

  it('leaf 4 or 8000001DH ends with type 0 [LUX-06]', () => {
    const leaf = model.vendor === 'GenuineIntel' ? 4 : 0x8000001d
    let sub = 0
    while (sub < 8 && (model.cpuid(leaf, sub).eax & 31) !== 0) sub++
    expect(sub).toBeLessThan(8)
  })

  it('run-time bits are clear', () => {
    expect(model.has('osxsave')).toBe(false)
    expect(model.has('ospke')).toBe(false)
    expect(model.cpuid(1, 0).ebx >>> 24).toBe(0)
  })

  it('address widths match leaf 80000008H', () => {
    const eax = model.cpuid(0x80000008, 0).eax
    expect([eax & 0xff, (eax >> 8) & 0xff]).toEqual([model.maxPhysAddr, model.linearAddrBits])
    expect(model.linearAddrBits).toBe(model.has('la57') ? 57 : 48)
  })

  if (model.vendor === 'AuthenticAMD') {
    it('80000001H.EDX repeats the bits of 1.EDX', () => {
      expect(model.cpuid(0x80000001, 0).edx & AMD_EDX_ALIASES).toBe(model.cpuid(1, 0).edx & AMD_EDX_ALIASES)
    })
  }

  it('states its clock', () => {
    expect(model.tscKhz).toBeGreaterThan(0)
    expect(Number.isInteger(model.instructionsPerMicrosecond)).toBe(true)
    const { eax, ebx, ecx } = model.cpuid(0x15, 0)
    if (model.maxBasicLeaf >= 0x15 && eax !== 0) expect((ecx * ebx) / eax).toBe(model.tscKhz * 1000)
  })
})

describe('what makes the models different', () => {
  it.each([
    ['GraniteRapids', 0x602e7, 0x9c00, 11008],
    ['SapphireRapids', 0x602e7, 0x9c00, 11008],
    ['Icelake-Server', 0x2e7, 0, 2696],
    ['Cascadelake-Server', 0x2e7, 0, 2696],
    ['Skylake-Server', 0x2e7, 0, 2696],
    ['EPYC-Turin', 0x2e7, 0x1800, 2440],
    ['EPYC-Genoa', 0x2e7, 0x1800, 2440],
    ['EPYC-Milan', 0x207, 0x1800, 2440],
    ['SapphireRapids-bochs', 0x602e7, 0x1800, 11008],
    ['qemu-tcg-max', 0x21f, 0, 2696],
    ['EPYC-Turin-virtual', 0xe7, 0x1800, 2432],
  ])('%s: XCR0, XSS and standard size', (name, xcr0, xss, size) => {
    const m = cpuModel(name)
    expect([m.xcr0Supported, m.xssSupported, m.cpuid(0xd, 0).ecx]).toEqual([xcr0, xss, size])
  })

  it('the bare-metal models are not hypervisor guests and have virtualization', () => {
    for (const name of names.slice(0, 8)) {
      expect(cpuModel(name).has('hypervisor'), name).toBe(false)
      expect(cpuModel(name).has(cpuModel(name).vendor === 'GenuineIntel' ? 'vmx' : 'svm'), name).toBe(true)
    }
  })

  it('split-lock detection by enumeration on Sapphire Rapids, by model on Ice Lake, nowhere before [SLD-10]', () => {
    expect(cpuModel('SapphireRapids').msrs.get(0xcf)).toBe(0x20n)
    expect(cpuModel('SapphireRapids').splitLockDetect).toBe(true)
    expect(cpuModel('Icelake-Server').has('core-capability')).toBe(false)
    expect(cpuModel('Icelake-Server').splitLockDetect).toBe(true)
    expect(cpuModel('Skylake-Server').splitLockDetect).toBe(false)
    expect(cpuModel('EPYC-Genoa').splitLockDetect).toBe(false)
  })

  it('only Granite Rapids has AMX-FP16 and AVX10; none has AMX-COMPLEX', () => {
    expect(names.filter((n) => cpuModel(n).has('amx-fp16'))).toEqual(['GraniteRapids'])
    expect(names.filter((n) => cpuModel(n).has('avx10'))).toEqual(['GraniteRapids'])
    expect(names.filter((n) => cpuModel(n).has('amx-complex'))).toEqual([])
  })

  it('an out-of-range leaf gives the highest basic leaf on Intel, zeros on AMD', () => {
    const gnr = cpuModel('GraniteRapids')
    expect(gnr.cpuid(0x40000000, 0)).toEqual(gnr.cpuid(0x24, 0))
    expect(gnr.cpuid(0x24, 0).ebx).toBe(0x00070001)
    expect(cpuModel('EPYC-Genoa').cpuid(0x40000000, 0)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 })
  })

  it('a leaf without subleaves ignores ECX, one with them answers zero beyond', () => {
    const spr = cpuModel('SapphireRapids')
    expect(spr.cpuid(1, 77)).toEqual(spr.cpuid(1, 0))
    expect(spr.cpuid(7, 3)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 })
    expect(spr.cpuid(0xd, 63)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 })
  })
})
