/**
 * RCPSS/PS, RSQRTSS/PS and VRCP14*, VRSQRT14* on one lane. No exception flags, MXCSR.RC is not used.
 *
 * The manual only bounds the relative error (1.5 * 2^-12 and 2^-14); the bits differ between processors.
 *
 * RCPPS and RSQRTPS give what Intel processors since Pentium 4 are known to give: the leading 11 (10) fraction bits of the
 * operand select the middle of an interval, 1.yyyyyyyyyyy1, and its reciprocal (square root) is rounded to nearest with 12
 * fraction bits. So RCPSS(1.0) is 0.99975586, not 1.
 *
 * The tables of Intel's VRCP14 and VRSQRT14 are not modelled: the result is the exact one rounded to 15 significant bits,
 * within the bound but not bit-identical. AVX512-FP16's VRCPPH and VRSQRTPH (bound 2^-11 + 2^-14) are rounded to the format.
 */

import {
  type Format,
  INTEGER_BIT,
  KIND_DENORMAL,
  KIND_INFINITY,
  KIND_NORMAL,
  KIND_QNAN,
  KIND_ZERO,
  QUIET_BIT,
  Unpacked,
} from './format.ts'
import type { Lane } from './lane.ts'
import { ROUND_NEAREST } from './mxcsr.ts'
import { roundSignificand } from './rounding.ts'

const ONE = new Unpacked()
ONE.kind = KIND_NORMAL
ONE.hi = INTEGER_BIT

const RCP_INDEX_BITS = 11
const RSQRT_INDEX_BITS = 10
const RCP_PRECISION = 13
const PRECISION_14 = 15

/** Replaces the significand of `a` by the middle of the interval its leading fraction bits name. */
function toMiddle(a: Unpacked, indexBits: number): void {
  a.hi = (a.hi & (-1 << (31 - indexBits))) | (1 << (30 - indexBits))
  a.lo = 0
}

/** `legacy`: the SSE instructions, which take denormals as zeros and flush tiny results to zero whatever MXCSR says. */
export function laneReciprocal(lane: Lane, format: Format, legacy: boolean) {
  const { a, z } = lane
  if (a.kind >= KIND_QNAN) return lane.deliverPacked(format, a.sign, format.maxBiased, a.hi | QUIET_BIT, a.lo)
  if (a.kind === KIND_ZERO || (legacy && a.kind === KIND_DENORMAL)) return lane.deliverInfinity(format, a.sign)
  if (a.kind === KIND_INFINITY) return lane.deliverZero(format, a.sign)
  if (legacy) toMiddle(a, RCP_INDEX_BITS)
  z.divide(ONE, a)
  deliverApproximation(lane, format, legacy)
}

export function laneReciprocalSquareRoot(lane: Lane, format: Format, legacy: boolean) {
  const { a, b, z } = lane
  if (a.kind >= KIND_QNAN) return lane.deliverPacked(format, a.sign, format.maxBiased, a.hi | QUIET_BIT, a.lo)
  if (a.kind === KIND_ZERO || (legacy && a.kind === KIND_DENORMAL)) return lane.deliverInfinity(format, a.sign)
  if (a.sign !== 0) return lane.deliverPacked(format, 1, format.maxBiased, INTEGER_BIT | QUIET_BIT, 0)
  if (a.kind === KIND_INFINITY) return lane.deliverZero(format, 0)
  if (legacy) toMiddle(a, RSQRT_INDEX_BITS)
  z.squareRoot(a)
  // 64 bits of the root are far more than the result keeps.
  b.exp = z.exp
  b.hi = z.hi
  b.lo = z.lo
  b.sign = 0
  z.divide(ONE, b)
  deliverApproximation(lane, format, legacy)
}

function deliverApproximation(lane: Lane, format: Format, legacy: boolean) {
  const z = lane.z
  roundSignificand(z, Math.min(legacy ? RCP_PRECISION : PRECISION_14, format.precision), ROUND_NEAREST)
  if (z.exp > format.maxExponent) return lane.deliverInfinity(format, z.sign)
  const shift = format.minExponent - z.exp
  if (shift <= 0) return lane.deliverPacked(format, z.sign, z.exp + format.maxExponent, z.hi, z.lo)
  if (legacy || lane.ftz) return lane.deliverZero(format, z.sign)
  z.shiftRight(shift)
  roundSignificand(z, format.precision, ROUND_NEAREST)
  lane.deliverPacked(format, z.sign, z.hi < 0 ? 1 : 0, z.hi, z.lo)
}
