import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { conversion, FLOAT_OP, FLOAT_UNMASKED, FloatUnit } from '../../../src/machine/float/float-unit.ts'
import {
  EXCEPTION_DE,
  EXCEPTION_IE,
  EXCEPTION_OE,
  EXCEPTION_PE,
  EXCEPTION_UE,
  EXCEPTION_ZE,
  floatFast,
} from '../../../src/machine/float/mxcsr.ts'
import {
  ELEMENT_F16,
  ELEMENT_F32,
  ELEMENT_F64,
  ELEMENT_I16,
  ELEMENT_I32,
  ELEMENT_U16,
} from '../../../src/machine/float/sse-convert.ts'
import { type Mismatch, readGroups, replay } from './sse-vectors.ts'

const vectors = new Uint8Array(readFileSync(new URL('../../fixtures/float/sse-zen4.bin', import.meta.url)))
const groups = readGroups(vectors)
const isApproximation = (name: string) => /^r(cp|sqrt)/.test(name)
/** DPPS and DPPD that end in #XM: this processor's microcode at times also reports exceptions of the steps not done. */
function isOwnAffair(miss: Mismatch): boolean {
  const flags = (text: string) => Number.parseInt(text.split(' ')[1], 16)
  const expected = flags(miss.expected)
  const actual = flags(miss.actual)
  return miss.group.startsWith('dp') && (expected & actual & 0x80) !== 0 && (expected & 7) === (actual & 7)
}

describe('SSE, AVX and AVX-512 results, flags and #XM equal those of hardware', () => {
  const families = new Map<string, typeof groups>()
  for (const group of groups) {
    if (isApproximation(group.name)) continue
    const family = /^k?[a-z]+(?:14|\d*ph|\d*ps)?/.exec(group.name)![0]
    families.set(family, [...(families.get(family) ?? []), group])
  }
  for (const [family, members] of families) {
    it(`${family}: ${members.reduce((sum, g) => sum + g.count, 0)} vectors`, () => {
      for (const group of members) expect(replay(vectors, group, 1000).first.filter((miss) => !isOwnAffair(miss))).toEqual([])
    })
  }
})

describe('approximations', () => {
  const memory = new ArrayBuffer(512)
  const unit = new FloatUnit(memory)
  const f32 = new Float32Array(memory)
  const f64 = new Float64Array(memory)
  const i32 = new Int32Array(memory)

  it('RCPSS gives the bits of Intel processors', () => {
    const rcp = (bits: number) => {
      i32[16] = bits
      expect(unit.f32op(FLOAT_OP.RCP, 64, 64, 128, 0x1f80)).toBe(0)
      return i32[32] >>> 0
    }
    expect(rcp(0x3f800000)).toBe(0x3f7ff000)
    expect(rcp(0x3f801000)).toBe(0x3f7fd000)
    expect(rcp(0x3fffffff)).toBe(0x3f000800)
    expect(rcp(0x00000001)).toBe(0x7f800000)
    expect(rcp(0xff7fffff)).toBe(0x80000000)
  })

  it('RSQRTSS gives the bits of Intel processors', () => {
    const rsqrt = (bits: number) => {
      i32[16] = bits
      expect(unit.f32op(FLOAT_OP.RSQRT, 64, 64, 128, 0x1f80)).toBe(0)
      return i32[32] >>> 0
    }
    expect(rsqrt(0x3f800000)).toBe(0x3f7ff000)
    expect(rsqrt(0x40000000)).toBe(0x3f34f800)
    expect(rsqrt(0xbf800000)).toBe(0xffc00000)
    expect(rsqrt(0x80000000)).toBe(0xff800000)
  })

  it('VRCP14 and VRSQRT14 are within 2^-14, RCPPS and RSQRTPS within 1.5 * 2^-12', () => {
    for (let i = 0; i < 400; i++) {
      const x = 2 ** ((i % 60) - 30) * (1 + ((i * 2654435761) % 65536) / 65536)
      f32[16] = x
      f64[16] = x
      const single = f32[16]
      const bound = (op: number, exact: number, limit: number) => {
        unit.f32op(op, 64, 64, 256, 0x1f80)
        expect(Math.abs(f32[64] / exact - 1)).toBeLessThan(limit)
      }
      bound(FLOAT_OP.RCP, 1 / single, 1.5 / 4096)
      bound(FLOAT_OP.RSQRT, 1 / Math.sqrt(single), 1.5 / 4096)
      bound(FLOAT_OP.RCP14, 1 / single, 2 ** -14)
      bound(FLOAT_OP.RSQRT14, 1 / Math.sqrt(single), 2 ** -14)
      unit.f64op(FLOAT_OP.RCP14, 128, 128, 256, 0x1f80)
      expect(Math.abs(f64[32] * x - 1)).toBeLessThan(2 ** -14)
    }
  })

  it('differ from hardware in the bits of finite results only, never in flags', () => {
    for (const group of groups.filter((g) => isApproximation(g.name))) {
      for (const miss of replay(vectors, group, 1000).first) {
        const single = group.sizes[0] === 4
        const exponent = single ? (Number.parseInt(miss.a, 16) >>> 23) & 0xff : Number(BigInt(`0x${miss.a}`) >> 52n) & 0x7ff
        expect(exponent).not.toBe(single ? 0xff : 0x7ff)
        expect(miss.expected.slice(-2)).toBe(miss.actual.slice(-2))
      }
    }
  })
})

/** Nearest-even binary16 of a double, by arithmetic on doubles only. */
function roundToHalf(value: number): number {
  if (Number.isNaN(value) || !Number.isFinite(value) || value === 0) return value
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(value))), -14)
  const ulp = 2 ** (exponent - 10)
  const scaled = value / ulp
  let rounded = Math.round(scaled)
  if (Math.abs(scaled - Math.trunc(scaled)) === 0.5 && rounded % 2 !== 0) rounded--
  const result = rounded * ulp
  return Math.abs(result) > 65504 ? Math.sign(value) * Number.POSITIVE_INFINITY : result === 0 ? value * 0 : result
}

function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 0x3ff
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24)
}

describe('AVX512-FP16', () => {
  const memory = new ArrayBuffer(512)
  const unit = new FloatUnit(memory)
  const u16 = new Uint16Array(memory)
  const i32 = new Int32Array(memory)

  it('arithmetic is that of doubles rounded to half precision', () => {
    let seed = 12345
    const next = () => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
      return seed >>> 16
    }
    for (let i = 0; i < 4000; i++) {
      u16[32] = next()
      u16[64] = next()
      const a = halfToNumber(u16[32])
      const b = halfToNumber(u16[64])
      const check = (op: number, exact: number) => {
        const flags = unit.packed(op, 16, 1, 64, 128, 256, 0x1f80, 1, 0)
        expect(halfToNumber(u16[128])).toBe(roundToHalf(exact))
        if (Number.isFinite(exact)) expect((flags & EXCEPTION_PE) !== 0).toBe(roundToHalf(exact) !== exact)
      }
      check(FLOAT_OP.ADD, a + b)
      check(FLOAT_OP.SUB, a - b)
      check(FLOAT_OP.MUL, a * b)
      if (b !== 0 && Number.isFinite(a / b)) check(FLOAT_OP.DIV, a / b)
      if (a > 0) check(FLOAT_OP.SQRT, Math.sqrt(a))
    }
  })

  it('knows no DAZ and no FTZ', () => {
    u16[32] = 1
    u16[64] = 0x3800 // 0.5
    expect(unit.packed(FLOAT_OP.ADD, 16, 1, 64, 64, 256, 0x9fc0, 1, 0)).toBe(EXCEPTION_DE)
    expect(u16[128]).toBe(2)
    expect(unit.packed(FLOAT_OP.MUL, 16, 1, 64, 128, 256, 0x9fc0, 1, 0)).toBe(EXCEPTION_DE | EXCEPTION_UE | EXCEPTION_PE)
  })

  it('converts to and from integers', () => {
    i32[16] = 70000
    expect(unit.convert(conversion(ELEMENT_I32, ELEMENT_F16), 1, 64, 256, 0x1f80, 1, 0)).toBe(EXCEPTION_OE | EXCEPTION_PE)
    expect(u16[128]).toBe(0x7c00)
    u16[32] = 0xbc00 // -1
    expect(unit.convert(conversion(ELEMENT_F16, ELEMENT_I16), 1, 64, 256, 0x1f80, 1, 0)).toBe(0)
    expect(u16[128]).toBe(0xffff)
    expect(unit.convert(conversion(ELEMENT_F16, ELEMENT_U16), 1, 64, 256, 0x1f80, 1, 0)).toBe(EXCEPTION_IE)
    expect(u16[128]).toBe(0xffff)
    u16[32] = 0x7bff // 65504
    expect(unit.convert(conversion(ELEMENT_F16, ELEMENT_I16), 1, 64, 256, 0x1f80, 1, 0)).toBe(EXCEPTION_IE)
    expect(u16[128]).toBe(0x8000)
  })

  it('raises DE for a denormal 16-bit source unless the conversion is VCVTPH2PS', () => {
    u16[32] = 1
    expect(unit.convert(conversion(ELEMENT_F16, ELEMENT_F64), 1, 64, 256, 0x1fc0, 1, 0)).toBe(EXCEPTION_DE)
    expect(unit.convert(conversion(ELEMENT_F16, ELEMENT_F32, 0x200), 1, 64, 256, 0x1fc0, 1, 0)).toBe(0)
    expect(i32[64]).toBe(0x33800000)
  })
})

describe('packed operations', () => {
  const memory = new ArrayBuffer(512)
  const unit = new FloatUnit(memory)
  const f32 = new Float32Array(memory)
  const f64 = new Float64Array(memory)
  const u32 = new Uint32Array(memory)

  it('leave lanes outside the mask alone, with their exceptions', () => {
    f32.set([1, 2, 3, 4], 16)
    f32.set([0, 1, 0, 2], 32)
    f32.set([9, 9, 9, 9], 64)
    expect(unit.packed(FLOAT_OP.DIV, 32, 4, 64, 128, 256, 0x1f80, 0b1010, 0)).toBe(0)
    expect(Array.from(f32.subarray(64, 68))).toEqual([9, 2, 9, 2])
  })

  it('write nothing when an exception is unmasked and then report pre-computation exceptions only', () => {
    f32.set([1, 1e38, 3, 4], 16)
    f32.set([0, 0.01, 7, 2], 32)
    f32.set([9, 9, 9, 9], 64)
    expect(unit.packed(FLOAT_OP.DIV, 32, 4, 64, 128, 256, 0x1d80, 15, 0)).toBe(EXCEPTION_ZE | FLOAT_UNMASKED)
    expect(unit.packed(FLOAT_OP.DIV, 32, 4, 64, 128, 256, 0x1b80, 14, 0)).toBe(EXCEPTION_OE | EXCEPTION_PE | FLOAT_UNMASKED)
    expect(Array.from(f32.subarray(64, 68))).toEqual([9, 9, 9, 9])
  })

  it('may write over their operands, also when elements grow', () => {
    f32.set([1, 2, 3, 4], 16)
    expect(unit.packed(FLOAT_OP.ADD, 32, 4, 64, 64, 64, 0x1f80, 15, 0)).toBe(0)
    expect(Array.from(f32.subarray(16, 20))).toEqual([2, 4, 6, 8])
    expect(unit.convert(conversion(ELEMENT_F32, ELEMENT_F64), 4, 64, 64, 0x1f80, 15, 0)).toBe(0)
    expect(Array.from(f64.subarray(8, 12))).toEqual([2, 4, 6, 8])
  })

  it('compare into a mask with zeros for unselected lanes', () => {
    f64.set([1, 2, 3, Number.NaN], 8)
    f64.set([2, 2, 2, 2], 16)
    expect(unit.compareToMask(2, 64, 4, 64, 128, 256, 0x1f80, 0b1101)).toBe(EXCEPTION_IE)
    expect(u32[64]).toBe(0b0001)
  })

  it('carry NaN payloads unchanged', () => {
    u32.set([0xdeadbeef, 0x7ff80001, 0, 0], 16)
    f64[16] = 1
    expect(unit.f64op(FLOAT_OP.MUL, 128, 64, 256, 0x1f80)).toBe(0)
    expect([u32[64], u32[65]]).toEqual([0xdeadbeef, 0x7ff80001])
    u32.set([0x12345678, 0x7ff00001], 16)
    expect(unit.f64op(FLOAT_OP.MAX, 128, 64, 256, 0x1f80)).toBe(EXCEPTION_IE)
    expect([u32[64], u32[65]]).toEqual([0x12345678, 0x7ff00001])
  })
})

describe('FLOAT_FAST', () => {
  it('is 1 only with nearest rounding, all masks, no DAZ, no FTZ and PE set', () => {
    expect(floatFast(0x1fa0)).toBe(1)
    expect(floatFast(0x1fbf)).toBe(1)
    for (const mxcsr of [0x1f80, 0x3fa0, 0x5fa0, 0x1fe0, 0x9fa0, 0x1fa0 & ~0x80, 0x1fa0 & ~0x1000])
      expect(floatFast(mxcsr)).toBe(0)
  })
})
