/**
 * ADD, SUB, MUL, DIV, SQRT and the fused multiply-adds on one lane (SDM Vol. 2; special cases: the tables of the x87
 * counterparts, §4.8 and §4.9 of Vol. 1; fused ones: Vol. 1 §14.5.2).
 */

import { type Format, KIND_INFINITY, KIND_QNAN, KIND_SNAN, KIND_ZERO } from './format.ts'
import type { Lane } from './lane.ts'
import { EXCEPTION_IE, EXCEPTION_ZE } from './mxcsr.ts'

/** a + b, or a - b with `negate` = 1. */
export function laneAdd(lane: Lane, format: Format, negate: number) {
  if (lane.deliveredNaN2(format)) return
  const { a, b, z } = lane
  const signOfB = b.sign ^ negate
  if (a.kind === KIND_INFINITY && b.kind === KIND_INFINITY && a.sign !== signOfB) return lane.deliverInvalid(format)
  lane.noteDenormal(a)
  lane.noteDenormal(b)
  if (a.kind === KIND_INFINITY) return lane.deliverInfinity(format, a.sign)
  if (b.kind === KIND_INFINITY) return lane.deliverInfinity(format, signOfB)
  if (b.kind === KIND_ZERO) {
    if (a.kind === KIND_ZERO) return lane.deliverZero(format, a.sign === signOfB ? a.sign : lane.zeroSign())
    z.setFrom(a)
  } else if (a.kind === KIND_ZERO) {
    z.set(signOfB, b.exp, b.hi, b.lo)
  } else {
    z.add(a, b, signOfB, lane.zeroSign())
  }
  lane.deliverRounded(format)
}

export function laneMultiply(lane: Lane, format: Format) {
  if (lane.deliveredNaN2(format)) return
  const { a, b } = lane
  const sign = a.sign ^ b.sign
  if (a.kind === KIND_INFINITY || b.kind === KIND_INFINITY) {
    if (a.kind === KIND_ZERO || b.kind === KIND_ZERO) return lane.deliverInvalid(format)
    lane.noteDenormal(a)
    lane.noteDenormal(b)
    return lane.deliverInfinity(format, sign)
  }
  lane.noteDenormal(a)
  lane.noteDenormal(b)
  if (a.kind === KIND_ZERO || b.kind === KIND_ZERO) return lane.deliverZero(format, sign)
  lane.z.multiply(a, b)
  lane.deliverRounded(format)
}

export function laneDivide(lane: Lane, format: Format) {
  if (lane.deliveredNaN2(format)) return
  const { a, b } = lane
  const sign = a.sign ^ b.sign
  if (a.kind === b.kind && (a.kind === KIND_ZERO || a.kind === KIND_INFINITY)) return lane.deliverInvalid(format)
  if (b.kind === KIND_ZERO) {
    if (a.kind !== KIND_INFINITY) lane.flags |= EXCEPTION_ZE
    return lane.deliverInfinity(format, sign)
  }
  lane.noteDenormal(a)
  lane.noteDenormal(b)
  if (a.kind === KIND_INFINITY) return lane.deliverInfinity(format, sign)
  if (a.kind === KIND_ZERO || b.kind === KIND_INFINITY) return lane.deliverZero(format, sign)
  lane.z.divide(a, b)
  lane.deliverRounded(format)
}

/** Square root of a. */
export function laneSquareRoot(lane: Lane, format: Format) {
  const a = lane.a
  if (a.kind >= KIND_QNAN) return lane.deliverNaN(format, a)
  if (a.kind === KIND_ZERO) return lane.deliverZero(format, a.sign)
  if (a.sign !== 0) return lane.deliverInvalid(format)
  lane.noteDenormal(a)
  if (a.kind === KIND_INFINITY) return lane.deliverInfinity(format, 0)
  lane.z.squareRoot(a)
  lane.deliverRounded(format)
}

/** (a * b) + c, the product and the addend negated first if asked; NaNs keep their sign. */
export function laneMultiplyAdd(lane: Lane, format: Format, negateProduct: number, negateAddend: number) {
  const { a, b, c } = lane
  const product = a.sign ^ b.sign ^ negateProduct
  const signOfC = c.sign ^ negateAddend
  const infiniteTimesZero =
    (a.kind === KIND_INFINITY && b.kind === KIND_ZERO) || (a.kind === KIND_ZERO && b.kind === KIND_INFINITY)
  if (a.kind >= KIND_QNAN || b.kind >= KIND_QNAN || c.kind >= KIND_QNAN) {
    if (a.kind === KIND_SNAN || b.kind === KIND_SNAN || c.kind === KIND_SNAN) lane.flags |= EXCEPTION_IE
    return lane.deliverNaN(format, a.kind >= KIND_QNAN ? a : b.kind >= KIND_QNAN ? b : c)
  }
  if (infiniteTimesZero) return lane.deliverInvalid(format)
  const productIsInfinite = a.kind === KIND_INFINITY || b.kind === KIND_INFINITY
  if (productIsInfinite && c.kind === KIND_INFINITY && product !== signOfC) return lane.deliverInvalid(format)
  lane.noteDenormal(a)
  lane.noteDenormal(b)
  lane.noteDenormal(c)
  if (productIsInfinite) return lane.deliverInfinity(format, product)
  if (c.kind === KIND_INFINITY) return lane.deliverInfinity(format, signOfC)
  const z = lane.z
  if (a.kind === KIND_ZERO || b.kind === KIND_ZERO) {
    if (c.kind === KIND_ZERO) return lane.deliverZero(format, product === signOfC ? product : lane.zeroSign())
    z.set(signOfC, c.exp, c.hi, c.lo)
  } else if (c.kind === KIND_ZERO) {
    z.multiply(a, b)
    z.sign = product
  } else {
    z.multiplyAdd(a, b, product, c, signOfC, lane.zeroSign())
  }
  lane.deliverRounded(format)
}
