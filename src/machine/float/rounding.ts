import { ROUND_DOWN, ROUND_NEAREST, ROUND_UP } from './mxcsr.ts'
import type { Wide } from './wide.ts'

/** What the last rounding did: bit 0 inexact, bit 1 the magnitude was rounded up. */
export const ROUNDED_INEXACT = 1
export const ROUNDED_UP = 2

/** The bits of `z` below its `precision` leading positions, as a word: half an ulp is 0x80000000, anything below is jammed. */
function discarded(z: Wide, precision: number): number {
  if (precision === 64) return z.rest
  const below = 64 - precision
  if (below < 32) return (z.lo << (32 - below)) | (z.rest !== 0 ? 1 : 0)
  if (below === 32) return z.lo | (z.rest !== 0 ? 1 : 0)
  return (z.hi << (64 - below)) | ((z.lo | z.rest) !== 0 ? 1 : 0)
}

/** True when discarding `word` below an odd or even last place must add one there. */
function roundsUp(word: number, odd: number, sign: number, mode: number): boolean {
  if (word === 0) return false
  if (mode === ROUND_NEAREST) return word < 0 && (word !== (0x80000000 | 0) || odd !== 0)
  return mode === (sign !== 0 ? ROUND_DOWN : ROUND_UP)
}

/**
 * Rounds the significand of `z` to its `precision` leading bit positions (1..64) and clears the rest. A carry out of the
 * top leaves 1.0 and the next exponent. `z` need not be normalized: leading zeros count as positions (denormals, integers).
 */
export function roundSignificand(z: Wide, precision: number, mode: number): number {
  const word = discarded(z, precision)
  const below = 64 - precision
  let { hi, lo } = z
  let odd = 0
  if (below < 32) {
    odd = (lo >>> below) & 1
    lo &= -1 << below
  } else {
    odd = (hi >>> (below - 32)) & 1
    lo = 0
    hi &= -1 << (below - 32)
  }
  const up = roundsUp(word, odd, z.sign, mode)
  if (up) {
    const sumLo = below < 32 ? (lo >>> 0) + 2 ** below : 0
    const sumHi = (hi >>> 0) + (below >= 32 ? 2 ** (below - 32) : sumLo > 0xffffffff ? 1 : 0)
    lo = sumLo | 0
    hi = sumHi | 0
    if (sumHi > 0xffffffff) {
      hi = 0x80000000 | 0
      z.exp++
    }
  }
  z.hi = hi
  z.lo = lo
  z.rest = 0
  return (word !== 0 ? ROUNDED_INEXACT : 0) | (up ? ROUNDED_UP : 0)
}

/** True when rounding the normalized `z` to `precision` bits would carry into the next exponent. */
export function roundingCarries(z: Wide, precision: number, mode: number): boolean {
  const below = 64 - precision
  const allOnes = below < 32 ? z.hi === -1 && z.lo >> below === -1 : z.hi >> (below - 32) === -1
  return allOnes && roundsUp(discarded(z, precision), 1, z.sign, mode)
}

/**
 * Rounds `z` to an integer: afterwards hi:lo is its magnitude. Only for exponents up to 63; a carry out of 64 bits leaves
 * hi:lo = 2^63 with `exp` one larger, as roundSignificand does, so callers bound the exponent first.
 */
export function roundToInteger(z: Wide, mode: number): number {
  z.shiftRight(63 - z.exp)
  z.exp = 63
  return roundSignificand(z, 64, mode)
}
