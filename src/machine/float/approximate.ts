/**
 * RCPSS/PS, RSQRTSS/PS (relative error < 1.5 * 2^-12) and VRCP14*, VRSQRT14* (< 2^-14) on one lane.
 *
 * The manual fixes only these bounds; the actual bits come from tables that differ between processors. Here the result is
 * the exact one rounded to nearest at 12, respectively 15 significant bits, so powers of two are exact. AVX512-FP16's
 * VRCPPH and VRSQRTPH (bound 2^-11 + 2^-14) are rounded to the format. No exception flags, MXCSR.RC is not used.
 */

import { type Format, INTEGER_BIT, KIND_DENORMAL, KIND_INFINITY, KIND_QNAN, KIND_ZERO, QUIET_BIT, Unpacked } from './format.ts'
import type { Lane } from './lane.ts'
import { ROUND_NEAREST } from './mxcsr.ts'
import { roundSignificand } from './rounding.ts'

const ONE = new Unpacked()
ONE.kind = 1
ONE.hi = INTEGER_BIT

const LEGACY_PRECISION = 12
const PRECISION_14 = 15

/** `legacy`: the SSE instructions, which take denormals as zeros and flush tiny results to zero whatever MXCSR says. */
export function laneReciprocal(lane: Lane, format: Format, legacy: boolean): void {
  const { a, z } = lane
  if (a.kind >= KIND_QNAN) return lane.deliverPacked(format, a.sign, format.maxBiased, a.hi | QUIET_BIT, a.lo)
  if (a.kind === KIND_ZERO || (legacy && a.kind === KIND_DENORMAL)) return lane.deliverInfinity(format, a.sign)
  if (a.kind === KIND_INFINITY) return lane.deliverZero(format, a.sign)
  z.divide(ONE, a)
  deliverApproximation(lane, format, legacy)
}

export function laneReciprocalSquareRoot(lane: Lane, format: Format, legacy: boolean): void {
  const { a, b, z } = lane
  if (a.kind >= KIND_QNAN) return lane.deliverPacked(format, a.sign, format.maxBiased, a.hi | QUIET_BIT, a.lo)
  if (a.kind === KIND_ZERO || (legacy && a.kind === KIND_DENORMAL)) return lane.deliverInfinity(format, a.sign)
  if (a.sign !== 0) return lane.deliverPacked(format, 1, format.maxBiased, INTEGER_BIT | QUIET_BIT, 0)
  if (a.kind === KIND_INFINITY) return lane.deliverZero(format, 0)
  z.squareRoot(a)
  // 64 bits of the root are far more than the result keeps.
  b.exp = z.exp
  b.hi = z.hi
  b.lo = z.lo
  b.sign = 0
  z.divide(ONE, b)
  deliverApproximation(lane, format, legacy)
}

function deliverApproximation(lane: Lane, format: Format, legacy: boolean): void {
  const z = lane.z
  roundSignificand(z, Math.min(legacy ? LEGACY_PRECISION : PRECISION_14, format.precision), ROUND_NEAREST)
  if (z.exp > format.maxExponent) return lane.deliverInfinity(format, z.sign)
  const shift = format.minExponent - z.exp
  if (shift <= 0) return lane.deliverPacked(format, z.sign, z.exp + format.maxExponent, z.hi, z.lo)
  if (legacy || lane.ftz) return lane.deliverZero(format, z.sign)
  z.shiftRight(shift)
  roundSignificand(z, format.precision, ROUND_NEAREST)
  lane.deliverPacked(format, z.sign, z.hi < 0 ? 1 : 0, z.hi, z.lo)
}
