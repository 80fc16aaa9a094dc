/**
 * Conversions between floating-point formats and integers on one lane (CVT*, CVTT*, ROUND*, VRNDSCALE*, VREDUCE*).
 */

import {
  F16,
  F32,
  F64,
  type Format,
  INTEGER_BIT,
  KIND_INFINITY,
  KIND_QNAN,
  KIND_ZERO,
  normalizeInto,
  type Unpacked,
} from './format.ts'
import type { Lane } from './lane.ts'
import { EXCEPTION_IE, EXCEPTION_PE, EXCEPTION_UE, ROUND_DOWN, ROUND_TO_ZERO } from './mxcsr.ts'
import { ROUNDED_INEXACT, roundToInteger } from './rounding.ts'
import type { Wide } from './wide.ts'

/** Element types of a conversion. */
export const ELEMENT_F16 = 0
export const ELEMENT_F32 = 1
export const ELEMENT_F64 = 2
export const ELEMENT_I16 = 3
export const ELEMENT_U16 = 4
export const ELEMENT_I32 = 5
export const ELEMENT_U32 = 6
export const ELEMENT_I64 = 7
export const ELEMENT_U64 = 8

export const ELEMENT_BITS = [16, 32, 64, 16, 16, 32, 32, 64, 64]
const FORMATS = [F16, F32, F64]

/** Converts the element hi:lo. `truncate`: CVTT*. `ignoreDenormal`: no DE (VCVTPH2PS). DAZ does not reach 16-bit sources. */
export function laneConvert(
  lane: Lane,
  from: number,
  to: number,
  hi: number,
  lo: number,
  truncate: boolean,
  ignoreDenormal: boolean,
) {
  if (from > ELEMENT_F64) return fromInteger(lane, from, FORMATS[to], hi, lo)
  lane.setA(FORMATS[from], hi, lo)
  if (to > ELEMENT_F64) return toInteger(lane, to, truncate ? ROUND_TO_ZERO : lane.rounding)
  const { a, z } = lane
  const format = FORMATS[to]
  if (a.kind >= KIND_QNAN) return lane.deliverNaN(format, a)
  if (a.kind === KIND_ZERO) return lane.deliverZero(format, a.sign)
  if (a.kind === KIND_INFINITY) return lane.deliverInfinity(format, a.sign)
  if (!ignoreDenormal) lane.noteDenormal(a)
  z.setFrom(a)
  lane.deliverRounded(format)
}

function fromInteger(lane: Lane, from: number, format: Format, hi: number, lo: number) {
  const bits = ELEMENT_BITS[from]
  const isSigned = from === ELEMENT_I16 || from === ELEMENT_I32 || from === ELEMENT_I64
  if (bits === 16) lo = isSigned ? (lo << 16) >> 16 : lo & 0xffff
  if (bits !== 64) hi = isSigned ? lo >> 31 : 0
  const sign = isSigned && hi < 0 ? 1 : 0
  if (sign !== 0) {
    lo = -lo | 0
    hi = (~hi + (lo === 0 ? 1 : 0)) | 0
  }
  if ((hi | lo) === 0) return lane.deliverZero(format, 0)
  normalizeInto(lane.a, 63, hi, lo)
  lane.z.set(sign, lane.a.exp, lane.a.hi, lane.a.lo)
  lane.deliverRounded(format)
}

/** Out of range, infinite and NaN values give the integer indefinite: 80…0, or for unsigned results FF…F. */
function toInteger(lane: Lane, to: number, mode: number): void {
  const { a, z } = lane
  const bits = ELEMENT_BITS[to]
  const isSigned = to === ELEMENT_I16 || to === ELEMENT_I32 || to === ELEMENT_I64
  if (a.kind === KIND_ZERO) {
    lane.hi = lane.lo = 0
    return
  }
  if (a.kind < KIND_INFINITY && a.exp < 64) {
    z.setFrom(a)
    const rounded = roundToInteger(z, mode)
    if (z.exp === 63 && integerFits(z, bits, isSigned)) {
      if ((rounded & ROUNDED_INEXACT) !== 0) lane.flags |= EXCEPTION_PE
      lane.lo = a.sign !== 0 ? -z.lo | 0 : z.lo
      lane.hi = a.sign !== 0 ? (~z.hi + (z.lo === 0 ? 1 : 0)) | 0 : z.hi
      return
    }
  }
  lane.flags |= EXCEPTION_IE
  lane.lo = isSigned ? (bits === 64 ? 0 : (-1 << (bits - 1)) | 0) : -1
  lane.hi = isSigned ? 0x80000000 | 0 : -1
}

/** True when the integer magnitude in `z` with its sign is one of `bits` bits. */
export function integerFits(z: Wide, bits: number, isSigned: boolean): boolean {
  if ((z.hi | z.lo) === 0) return true
  if (z.sign !== 0 && !isSigned) return false
  const hi = z.hi >>> 0
  const lo = z.lo >>> 0
  if (bits === 64) return !isSigned || hi < 0x80000000 || (z.sign !== 0 && hi === 0x80000000 && lo === 0)
  if (hi !== 0) return false
  return lo < 2 ** (isSigned ? bits - 1 : bits) || (isSigned && z.sign !== 0 && lo === 2 ** (bits - 1))
}

/**
 * Rounds the finite non-zero `a` to a multiple of 2^-fraction into `z`, normalized or zero with a's sign. Returns the
 * rounding's ROUNDED_* bits.
 */
function roundToFraction(z: Wide, a: Unpacked, fraction: number, mode: number): number {
  z.setFrom(a)
  if (a.exp + fraction >= 63) return 0
  z.exp += fraction
  const rounded = roundToInteger(z, mode)
  z.exp -= fraction
  if (z.isZero()) z.setZero(a.sign)
  else z.normalize()
  return rounded
}

/** Rounding mode of a ROUND/RNDSCALE/REDUCE immediate: bits 1:0, or MXCSR.RC with bit 2. */
function immediateRounding(lane: Lane, imm: number): number {
  return (imm & 4) !== 0 ? lane.rounding : imm & 3
}

/** ROUND* (fraction bits = 0) and VRNDSCALE* (imm bits 7:4 fraction bits). Bit 3 suppresses PE. */
export function laneRound(lane: Lane, format: Format, imm: number, fraction: number) {
  const { a, z } = lane
  if (a.kind >= KIND_QNAN) return lane.deliverNaN(format, a)
  if (a.kind === KIND_ZERO) return lane.deliverZero(format, a.sign)
  if (a.kind === KIND_INFINITY) return lane.deliverInfinity(format, a.sign)
  const rounded = roundToFraction(z, a, fraction, immediateRounding(lane, imm))
  if ((rounded & ROUNDED_INEXACT) !== 0 && (imm & 8) === 0) lane.flags |= EXCEPTION_PE
  if (z.isZero()) return lane.deliverZero(format, a.sign)
  if (z.exp > format.maxExponent) return lane.deliverInfinity(format, a.sign)
  deliverExact(lane, format)
}

/** Packs `z`, which is known to be representable: no exception, no flush to zero. */
function deliverExact(lane: Lane, format: Format): void {
  const z = lane.z
  const shift = format.minExponent - z.exp
  if (shift > 0) z.shiftRight(shift)
  lane.deliverPacked(format, z.sign, shift > 0 ? 0 : z.exp + format.maxExponent, z.hi, z.lo)
}

/**
 * VREDUCE*: a - round(a). The subtraction rounds as the immediate says; its only exception is PE, also where the result is
 * flushed to zero.
 */
export function laneReduce(lane: Lane, format: Format, imm: number) {
  const { a, b, z } = lane
  if (a.kind >= KIND_QNAN) return lane.deliverNaN(format, a)
  if (a.kind === KIND_INFINITY) return lane.deliverZero(format, 0)
  const mode = immediateRounding(lane, imm)
  const zeroSign = mode === ROUND_DOWN ? 1 : 0
  if (a.kind === KIND_ZERO) return lane.deliverZero(format, zeroSign)
  roundToFraction(z, a, imm >>> 4, mode)
  if (z.isZero()) {
    z.setFrom(a)
  } else {
    normalizeInto(b, z.exp, z.hi, z.lo)
    b.sign = z.sign
    z.add(a, b, b.sign ^ 1, zeroSign)
  }
  const { flags, rounding, unmasked, ftz } = lane
  lane.rounding = mode
  lane.unmasked = 0
  lane.ftz = ftz && (unmasked & EXCEPTION_UE) === 0
  lane.deliverRounded(format)
  lane.rounding = rounding
  lane.unmasked = unmasked
  lane.ftz = ftz
  lane.flags = flags | ((imm & 8) !== 0 ? 0 : lane.flags & EXCEPTION_PE)
}

/** Sets `z` to the integer `value`, |value| < 2^31. */
export function setInteger(lane: Lane, value: number) {
  const magnitude = Math.abs(value)
  if (magnitude === 0) return lane.z.setZero(0)
  const shift = Math.clz32(magnitude)
  lane.z.set(value < 0 ? 1 : 0, 31 - shift, (magnitude << shift) | INTEGER_BIT, 0)
}
