/** MIN, MAX, CMP and COMI/UCOMI on one lane. */

import { KIND_DENORMAL, KIND_INFINITY, KIND_QNAN, KIND_SNAN, KIND_ZERO, type Unpacked } from './format.ts'
import type { Lane } from './lane.ts'
import { EXCEPTION_DE, EXCEPTION_IE } from './mxcsr.ts'

export const RELATION_LESS = 1
export const RELATION_EQUAL = 2
export const RELATION_GREATER = 4
export const RELATION_UNORDERED = 8

/** Compares two numbers that are not NaN. */
export function compareNumbers(a: Unpacked, b: Unpacked): number {
  if (a.kind === KIND_ZERO && b.kind === KIND_ZERO) return RELATION_EQUAL
  if (a.kind === KIND_ZERO) return b.sign !== 0 ? RELATION_GREATER : RELATION_LESS
  if (b.kind === KIND_ZERO) return a.sign !== 0 ? RELATION_LESS : RELATION_GREATER
  if (a.sign !== b.sign) return a.sign !== 0 ? RELATION_LESS : RELATION_GREATER
  const magnitude = compareMagnitudes(a, b)
  if (magnitude === 0) return RELATION_EQUAL
  return magnitude > 0 === (a.sign === 0) ? RELATION_GREATER : RELATION_LESS
}

/** Sign of |a| - |b|, for numbers that are not NaN. */
export function compareMagnitudes(a: Unpacked, b: Unpacked): number {
  if (a.kind === KIND_ZERO || b.kind === KIND_ZERO) return (b.kind === KIND_ZERO ? 1 : 0) - (a.kind === KIND_ZERO ? 1 : 0)
  if (a.kind === KIND_INFINITY || b.kind === KIND_INFINITY)
    return (a.kind === KIND_INFINITY ? 1 : 0) - (b.kind === KIND_INFINITY ? 1 : 0)
  if (a.exp !== b.exp) return a.exp - b.exp
  if (a.hi !== b.hi) return (a.hi >>> 0) - (b.hi >>> 0)
  return (a.lo >>> 0) - (b.lo >>> 0)
}

/** Relation of a and b with IE (also for quiet NaNs when `signaling`) and DE. */
function relate(lane: Lane, signaling: boolean): number {
  const { a, b } = lane
  if (a.kind >= KIND_QNAN || b.kind >= KIND_QNAN) {
    if (signaling || a.kind === KIND_SNAN || b.kind === KIND_SNAN) lane.flags |= EXCEPTION_IE
    return RELATION_UNORDERED
  }
  if (a.kind === KIND_DENORMAL || b.kind === KIND_DENORMAL) lane.flags |= EXCEPTION_DE
  return compareNumbers(a, b)
}

/**
 * Relations for which each predicate is true, EQ LT LE UNORD NEQ NLT NLE ORD EQ_UQ NGE NGT FALSE NEQ_OQ GE GT TRUE. Predicates
 * 16..31 have the same ones and the opposite signaling (SDM Vol. 2, CMPPD, Table 3-1).
 */
const PREDICATES = [2, 1, 3, 8, 13, 14, 12, 7, 10, 9, 11, 0, 5, 6, 4, 15]
/** Bit n: predicate n signals for quiet NaNs. */
const PREDICATE_SIGNALS = 0x6666

/** True when the AVX comparison predicate 0..31 holds. SSE has 0..7. */
export function laneCompare(lane: Lane, predicate: number): boolean {
  const low = predicate & 15
  const signaling = (((PREDICATE_SIGNALS >>> low) ^ (predicate >>> 4)) & 1) !== 0
  return (relate(lane, signaling) & PREDICATES[low]) !== 0
}

/** ZF PF CF of COMIS (`signaling`) and UCOMIS in their RFLAGS positions. */
export function laneCompareFlags(lane: Lane, signaling: boolean): number {
  return relationToRflags(relate(lane, signaling))
}

/** Also of FCOMI: unordered ZF PF CF, less CF, equal ZF. */
export function relationToRflags(relation: number): number {
  if (relation === RELATION_UNORDERED) return 0x45
  return relation === RELATION_LESS ? 0x01 : relation === RELATION_EQUAL ? 0x40 : 0
}

/** Not IEEE's minimum and maximum: with a NaN, or two zeros, the result is the second operand, as it is. */
export function laneMinMax(lane: Lane, max: boolean): void {
  const { a, b } = lane
  let first = false
  if (a.kind >= KIND_QNAN || b.kind >= KIND_QNAN) {
    lane.flags |= EXCEPTION_IE
  } else {
    if (a.kind === KIND_DENORMAL || b.kind === KIND_DENORMAL) lane.flags |= EXCEPTION_DE
    first = compareNumbers(a, b) === (max ? RELATION_GREATER : RELATION_LESS)
  }
  lane.hi = first ? lane.aHi : lane.bHi
  lane.lo = first ? lane.aLo : lane.bLo
}
