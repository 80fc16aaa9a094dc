import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { float16ToFloat32Bits } from '../../../src/machine/amx/float-bits.ts'
import { flushedSum, fusedSum } from '../../../src/machine/amx/float32-sum.ts'

const f32 = new Float32Array(1)
const u32 = new Uint32Array(f32.buffer)
function float32(bits: number): number {
  u32[0] = bits
  return f32[0]
}

/** A finite double as integer * 2^-400: exact for everything used here. */
const SCALE = 400
function exact(x: number): bigint {
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, x)
  const bits = view.getBigUint64(0)
  const exponent = Number((bits >> 52n) & 0x7ffn)
  const fraction = (bits & 0xfffffffffffffn) | (exponent === 0 ? 0n : 1n << 52n)
  const shift = Math.max(exponent, 1) - 1075 + SCALE
  const magnitude = shift >= 0 ? fraction << BigInt(shift) : fraction >> BigInt(-shift)
  return bits >> 63n ? -magnitude : magnitude
}

/** Rounds integer * 2^-400 to 24 bits, to nearest even, with unbounded exponent; then flushes and overflows as float32. */
function roundOnce(value: bigint): number {
  const magnitude = value < 0n ? -value : value
  const bits = magnitude.toString(2).length
  const drop = BigInt(Math.max(bits - 24, 0))
  let kept = magnitude >> drop
  const rest = magnitude & ((1n << drop) - 1n)
  const half = drop === 0n ? 1n : 1n << (drop - 1n)
  if (rest > half || (rest === half && drop > 0n && kept & 1n)) kept += 1n
  const exponent = kept.toString(2).length - 1 + Number(drop) - SCALE
  const sign = value < 0n ? -1 : 1
  if (kept === 0n || exponent < -126) return sign * 0
  return exponent > 127 ? sign * Number.POSITIVE_INFINITY : sign * Number(kept) * 2 ** (Number(drop) - SCALE)
}

const bfloat16 = fc.integer({ min: 0, max: 0xffff }).map((h) => ((h & 0x7f80) === 0 ? 0 : float32(h << 16)))
const float16 = fc.integer({ min: 0, max: 0xffff }).map((h) => float32(float16ToFloat32Bits(h)))
const accumulator = fc.integer({ min: 0, max: 0xffffffff }).map((b) => ((b & 0x7f800000) === 0 ? 0 : float32(b)))
const finite = (...values: number[]): boolean => values.every(Number.isFinite)

describe('float32 arithmetic of the dot products', () => {
  test.each([
    ['bfloat16', bfloat16],
    ['float16', float16],
  ] as const)('a product of two %s plus a float32 is rounded once', (_, half) => {
    fc.assert(
      fc.property(half, half, accumulator, (x, y, c) => {
        fc.pre(finite(x, y, c))
        expect(fusedSum(x * y, c)).toBe(withZeroSign(roundOnce(exact(x * y) + exact(c)), x * y + c))
      }),
      { numRuns: 3000 },
    )
  })

  test('products near the addend, where sums cancel and halves are met', () => {
    const significand = fc.integer({ min: 128, max: 255 })
    fc.assert(
      fc.property(
        significand,
        significand,
        fc.integer({ min: -60, max: 60 }),
        fc.integer({ min: 0x800000, max: 0xffffff }),
        (x, y, e, c) => {
          expect(fusedSum(x * y * 2 ** e, -c)).toBe(
            withZeroSign(roundOnce(exact(x * y * 2 ** e) + exact(-c)), x * y * 2 ** e - c),
          )
        },
      ),
      { numRuns: 3000 },
    )
  })

  test('what is tiny after rounding becomes a zero with its sign', () => {
    const least = 2 ** -126
    expect(fusedSum(least, 0)).toBe(least)
    expect(fusedSum(least - 2 ** -151, 0)).toBe(least)
    expect(fusedSum(least - 2 ** -151 - 2 ** -160, 0)).toBe(0)
    expect(fusedSum(-(least - 2 ** -150), 0)).toBe(-0)
    expect(fusedSum(-(2 ** -200), 0)).toBe(-0)
    expect(flushedSum(3 * least, -2.5 * least)).toBe(0)
    expect(flushedSum(-3 * least, 2.5 * least)).toBe(-0)
    expect(flushedSum(-3 * least, 2 * least)).toBe(-least)
  })

  test('signs of zeros, infinities', () => {
    expect(fusedSum(-0, 0)).toBe(0)
    expect(fusedSum(-0, -0)).toBe(-0)
    expect(fusedSum(1, -1)).toBe(0)
    expect(fusedSum(2 ** 200, -(2 ** 127))).toBe(Number.POSITIVE_INFINITY)
    expect(fusedSum(Number.NEGATIVE_INFINITY, 1)).toBe(Number.NEGATIVE_INFINITY)
    expect(fusedSum(Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY)).toBeNaN()
  })

  test('every float16 is converted exactly', () => {
    for (let h = 0; h < 0x7c00; h++) {
      const exponent = h >> 10
      const expected = exponent === 0 ? h * 2 ** -24 : (1024 + (h & 1023)) * 2 ** (exponent - 25)
      expect(float32(float16ToFloat32Bits(h))).toBe(expected)
      expect(float32(float16ToFloat32Bits(h | 0x8000))).toBe(-expected)
    }
    expect(float16ToFloat32Bits(0xfc01) >>> 0).toBe(0xff802000)
  })
})

/** An exact zero has the sign that IEEE 754 gives the sum. */
function withZeroSign(rounded: number, sum: number): number {
  return rounded === 0 && sum === 0 ? sum : rounded
}
