import { describe, expect, it } from 'vitest'
import { cpuModel, parseCpuSpec } from '../../src/isa/cpu-grammar.ts'
import { amdXstate, intelXstate } from '../../src/isa/cpu-models/xstate-geometry.ts'
import * as x from '../../src/isa/xfeatures.ts'
import {
  compactedOffset,
  compactedPlacement,
  compactedSize,
  standardSize,
  type XstateRow,
  xstateLayout,
} from '../../src/isa/xstate-layout.ts'

const pick = (rows: readonly XstateRow[], mask: number) => xstateLayout(rows.filter((r) => (mask >>> r.nr) & 1))
const spr = pick(intelXstate, 0x79ee7)

describe('component table', () => {
  it.each(x.xfeatures.map((f) => [f.name, f] as const))('%s has its number, mask and source', (_, f) => {
    expect(x.xfeatures[f.nr]).toBe(f)
    expect(f.mask).toBe(2 ** f.nr)
    expect(f.source).not.toBe('')
  })

  it('XFEATURE_ and XFEATURE_MASK_ constants agree', () => {
    const named = Object.entries(x).filter(([k]) => /^XFEATURE_(?!MASK_)/.test(k)) as [string, number][]
    // 0 to 19 are architectural, 20 is invented.
    expect(named).toHaveLength(21)
    for (const [name, nr] of named) {
      const mask = (x as unknown as Record<string, number>)[name.replace('XFEATURE_', 'XFEATURE_MASK_')]
      expect(mask, name).toBe(2 ** nr)
    }
  })

  it('names the components of a mask in number order', () => {
    expect(x.xfeatureNames(0x60205)).toEqual(['FP', 'YMM', 'PKRU', 'XTILE_CFG', 'XTILE_DATA'])
    expect(x.xfeatureNames(0)).toEqual([])
  })

  it.each([
    ['Intel', intelXstate],
    ['AMD', amdXstate],
  ] as const)('%s geometry has the architectural sizes', (_, rows) => {
    for (const r of rows) {
      const known = x.xfeatures[r.nr].size
      if (known !== undefined) expect(r.size, `component ${r.nr}`).toBe(known)
      expect(r.offset === undefined, `component ${r.nr}`).toBe(r.supervisor === true)
    }
  })

  it('user components of one chip do not overlap (APX takes the place of MPX)', () => {
    for (const rows of [intelXstate.filter((r) => r.nr !== 19), intelXstate.filter((r) => r.nr !== 3 && r.nr !== 4), amdXstate]) {
      const user = rows.filter((r) => r.offset !== undefined).sort((a, b) => a.offset! - b.offset!)
      let end = 576
      for (const r of user) {
        expect(r.offset!, `component ${r.nr}`).toBeGreaterThanOrEqual(end)
        if (r.align64) expect(r.offset! % 64).toBe(0)
        end = r.offset! + r.size
      }
    }
  })
})

describe('sizes on Sapphire Rapids, worked examples of PERM §13 [PERM-05, PERM-06]', () => {
  it.each([
    [0x2e7, 2696, 2440],
    [0x202e7, 2816, 2560],
    [0x602e7, 11008, 10752],
    [0x60003, 11008, 8832],
    [0x40003, 11008, 8768],
  ])('mask 0x%s: standard and compacted', (mask, standard, compacted) => {
    expect(standardSize(spr, mask)).toBe(standard)
    expect(compactedSize(spr, mask)).toBe(compacted)
  })

  it.each([
    [0x20ee7, 2560],
    [0x21ee7, 2560],
    [0x60ee7, 10752],
    [0x61ee7, 10752],
    [0xee7, 2464],
    [0x1ee7, 2488],
    [0x61ae7, 10752],
    [0x1ae7, 2480],
  ])('mask with supervisor components 0x%s: compacted size', (mask, size) => {
    expect(compactedSize(spr, mask)).toBe(size)
  })

  it('supervisor components add nothing to the standard size', () => {
    expect(standardSize(spr, 0x1ee7)).toBe(standardSize(spr, 0x2e7))
  })

  it('compacted offsets for 0x61EE7', () => {
    const expected = { 2: 576, 5: 832, 6: 896, 7: 1408, 9: 2432, 10: 2440, 11: 2448, 12: 2464, 17: 2496, 18: 2560 }
    for (const [nr, offset] of Object.entries(expected)) expect(compactedOffset(spr, 0x61ee7, Number(nr))).toBe(offset)
    expect(compactedOffset(spr, 0x61ee7, 3)).toBe(-1)
    expect(compactedOffset(spr, 0x61ee7, 15)).toBe(-1)
  })

  it('XTILE_CFG and XTILE_DATA alone lie at 576 and 640', () => {
    expect(compactedOffset(spr, 0x60003, 17)).toBe(576)
    expect(compactedOffset(spr, 0x60003, 18)).toBe(640)
  })

  it.each([
    [1, 576, 576],
    [7, 832, 832],
    [0x207, 2696, 840],
  ])('XCR0 0x%s, run-time sizes of XSAVE §10', (xcr0, standard, compacted) => {
    expect(standardSize(spr, xcr0)).toBe(standard)
    expect(compactedSize(spr, xcr0)).toBe(compacted)
  })

  it.each([
    [0x1807, 872],
    [0x1a07, 880],
    [0x1ae7, 2480],
  ])('with IA32_XSS = 1800H, mask 0x%s', (mask, size) => {
    expect(compactedSize(spr, mask)).toBe(size)
  })
})

describe('sizes elsewhere [PERM §13]', () => {
  it('Zen 4: standard 2440; compacted with CET_U 2456, with CET_S 2480', () => {
    const zen4 = cpuModel('EPYC-Genoa').xstate
    expect(standardSize(zen4, 0x2e7)).toBe(2440)
    expect(compactedSize(zen4, 0x2e7)).toBe(2440)
    expect(compactedSize(zen4, 0xae7)).toBe(2456)
    expect(compactedSize(zen4, 0x1ae7)).toBe(2480)
  })

  it('AVX and PKRU client: standard 2696, compacted 840, 856, 880', () => {
    const client = pick(intelXstate, 0x1a04)
    expect([standardSize(client, 0x207), compactedSize(client, 0x207)]).toEqual([2696, 840])
    expect([compactedSize(client, 0xa07), compactedSize(client, 0x1a07)]).toEqual([856, 880])
  })

  it('Skylake-SP with MPX: standard 2696, compacted 2568', () => {
    const skylake = parseCpuSpec('Skylake-Server,+mpx').xstate
    expect([standardSize(skylake, 0x2ff), compactedSize(skylake, 0x2ff)]).toEqual([2696, 2568])
  })

  it('two dynamic components without alignment: the numbers of PERM-60', () => {
    const synthetic = xstateLayout([
      { nr: 2, size: 256, offset: 576 },
      { nr: 9, size: 8, offset: 832 },
      { nr: 11, size: 16, supervisor: true },
      { nr: 18, size: 8192, offset: 840 },
      { nr: 20, size: 256, offset: 9032 },
    ])
    expect(compactedSize(synthetic, 0xa07)).toBe(856)
    expect(compactedSize(synthetic, 0x40a07)).toBe(9048)
    expect(compactedSize(synthetic, 0x140207)).toBe(9288)
    expect(compactedSize(synthetic, 0x140a07)).toBe(9304)
  })

  it('the highest-numbered component need not be the last one: APX at 960 [PERM-08]', () => {
    const apx = pick(intelXstate, 0x80204)
    expect(standardSize(apx, 0x80207)).toBe(2696)
    expect(standardSize(apx, 0x80007)).toBe(1088)
  })
})

describe('placement', () => {
  it('is remembered once per XCOMP_BV and ignores bits without a component', () => {
    expect(compactedPlacement(spr, 0x2e7)).toBe(compactedPlacement(spr, 0x2e7))
    expect(compactedPlacement(spr, 0x802002e7)).toBe(compactedPlacement(spr, 0x2e7))
  })

  it('never lets two components overlap, for every mask of the user components', () => {
    for (let bits = 0; bits < 256; bits++) {
      const mask = [2, 5, 6, 7, 9, 11, 17, 18].reduce((m, nr, i) => ((bits >> i) & 1 ? m | (1 << nr) : m), 3)
      let end = 576
      for (const c of spr.components) {
        const offset = compactedOffset(spr, mask, c.nr)
        if (((mask >>> c.nr) & 1) === 0) expect(offset).toBe(-1)
        else {
          expect(offset).toBe(c.align64 ? Math.ceil(end / 64) * 64 : end)
          end = offset + c.size
        }
      }
      expect(compactedSize(spr, mask)).toBe(end)
    }
  })
})
