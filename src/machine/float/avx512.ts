/** VGETEXP, VGETMANT, VSCALEF, VRANGE, VFIXUPIMM and VFPCLASS on one lane (SDM Vol. 2). */

import {
  type Format,
  INTEGER_BIT,
  KIND_DENORMAL,
  KIND_INFINITY,
  KIND_NORMAL,
  KIND_QNAN,
  KIND_SNAN,
  KIND_ZERO,
  packHi,
  packLo,
  QUIET_BIT,
} from './format.ts'
import type { Lane } from './lane.ts'
import { EXCEPTION_DE, EXCEPTION_IE, EXCEPTION_ZE, ROUND_DOWN } from './mxcsr.ts'
import { roundToInteger } from './rounding.ts'
import { compareMagnitudes, compareNumbers, RELATION_GREATER, RELATION_LESS } from './sse-compare.ts'
import { setInteger } from './sse-convert.ts'

export function laneGetExponent(lane: Lane, format: Format) {
  const a = lane.a
  if (a.kind >= KIND_QNAN) return lane.deliverNaN(format, a)
  if (a.kind === KIND_ZERO) return lane.deliverInfinity(format, 1)
  if (a.kind === KIND_INFINITY) return lane.deliverInfinity(format, 0)
  lane.noteDenormal(a)
  setInteger(lane, a.exp)
  lane.deliverRounded(format)
}

/** imm bits 1:0 choose the interval, bits 3:2 the sign: source's, positive, or NaN for negative sources (bit 3). */
export function laneGetMantissa(lane: Lane, format: Format, imm: number) {
  const a = lane.a
  if (a.kind >= KIND_QNAN) return lane.deliverNaN(format, a)
  const sign = (imm & 4) !== 0 ? 0 : a.sign
  const one = format.maxExponent
  if (a.kind === KIND_ZERO) return lane.deliverPacked(format, sign, one, INTEGER_BIT, 0)
  if ((imm & 8) !== 0 && a.sign !== 0) return lane.deliverInvalid(format)
  if (a.kind === KIND_INFINITY) return lane.deliverPacked(format, sign, one, INTEGER_BIT, 0)
  lane.noteDenormal(a)
  let exp = 0
  switch (imm & 3) {
    case 1:
      exp = -(a.exp & 1)
      break
    case 2:
      exp = -1
      break
    case 3:
      exp = (a.hi & QUIET_BIT) !== 0 ? -1 : 0
  }
  lane.deliverPacked(format, sign, one + exp, a.hi, a.lo)
}

/** a * 2^floor(b) */
export function laneScale(lane: Lane, format: Format) {
  const { a, b, z } = lane
  if (a.kind >= KIND_QNAN || b.kind >= KIND_QNAN) {
    if (a.kind === KIND_QNAN && b.kind === KIND_INFINITY)
      return b.sign !== 0 ? lane.deliverZero(format, 0) : lane.deliverInfinity(format, 0)
    lane.deliveredNaN2(format)
    return
  }
  if (b.kind === KIND_INFINITY) {
    if (a.kind === (b.sign !== 0 ? KIND_INFINITY : KIND_ZERO)) return lane.deliverInvalid(format)
    lane.noteDenormal(a)
    return b.sign !== 0 ? lane.deliverZero(format, a.sign) : lane.deliverInfinity(format, a.sign)
  }
  // A denormal b raises nothing.
  lane.noteDenormal(a)
  if (a.kind === KIND_INFINITY) return lane.deliverInfinity(format, a.sign)
  if (a.kind === KIND_ZERO) return lane.deliverZero(format, a.sign)
  let scale = 0
  if (b.kind !== KIND_ZERO) {
    z.setFrom(b)
    // Past 2^20 every result overflows or is tiny.
    if (b.exp < 20) roundToInteger(z, ROUND_DOWN)
    const magnitude = b.exp < 20 ? z.lo : 0x100000
    scale = b.sign !== 0 ? -magnitude : magnitude
  }
  z.setFrom(a)
  z.exp += scale
  lane.deliverRounded(format)
}

/** imm bits 1:0: min, max, min |.|, max |.|; bits 3:2: sign of a, of the choice, 0, 1. */
export function laneRange(lane: Lane, format: Format, imm: number) {
  const { a, b } = lane
  if (a.kind === KIND_SNAN) return lane.deliverNaN(format, a)
  if (b.kind === KIND_SNAN) return lane.deliverNaN(format, b)
  let first = true
  if (a.kind === KIND_QNAN || b.kind === KIND_QNAN) {
    first = b.kind === KIND_QNAN
  } else {
    if (a.kind === KIND_DENORMAL || b.kind === KIND_DENORMAL) lane.flags |= EXCEPTION_DE
    const magnitudes = (imm & 2) !== 0 ? compareMagnitudes(a, b) : 0
    if (magnitudes !== 0) first = (imm & 1) !== 0 ? magnitudes > 0 : magnitudes < 0
    else first = firstIsChosen(lane, (imm & 1) !== 0)
  }
  let hi = first ? lane.aHi : lane.bHi
  let lo = first ? lane.aLo : lane.bLo
  const control = (imm >>> 2) & 3
  if (control !== 1) {
    const sign = control === 0 ? a.sign : control & 1
    if (format.bits === 64) hi = (hi & 0x7fffffff) | (sign << 31)
    else lo = format.bits === 32 ? (lo & 0x7fffffff) | (sign << 31) : (lo & 0x7fff) | (sign << 15)
  }
  lane.hi = hi
  lane.lo = lo
}

/** Unlike MIN and MAX this one tells the zeros apart. */
function firstIsChosen(lane: Lane, max: boolean): boolean {
  const { a, b } = lane
  const relation = compareNumbers(a, b)
  if (relation === RELATION_LESS) return !max
  if (relation === RELATION_GREATER) return max
  return max ? a.sign === 0 : a.sign !== 0
}

const TOKEN_QNAN = 0
const TOKEN_SNAN = 1
const TOKEN_ZERO = 2
const TOKEN_ONE = 3
const TOKEN_NEGATIVE_INFINITY = 4
const TOKEN_POSITIVE_INFINITY = 5
const TOKEN_NEGATIVE = 6
const TOKEN_POSITIVE = 7

/** VFIXUPIMM: a is the destination, b the value to classify, cLo the table of eight 4-bit responses. */
export function laneFixup(lane: Lane, format: Format, imm: number) {
  const token = fixupToken(lane)
  lane.flags |= fixupExceptions(token, imm)
  const b = lane.b
  const bias = format.maxExponent
  switch ((lane.cLo >>> (4 * token)) & 15) {
    case 0: // the destination stays, whatever DAZ says
      lane.hi = lane.rawHi
      lane.lo = lane.rawLo
      return
    case 1:
      lane.hi = lane.bHi
      lane.lo = lane.bLo
      return
    case 2:
      lane.hi = lane.bHi | packHi(format, 0, format.maxBiased, QUIET_BIT)
      lane.lo = lane.bLo | packLo(format, 0, format.maxBiased, format.bits === 64 ? 0 : QUIET_BIT, 0)
      return
    case 3:
      return lane.deliverPacked(format, 1, format.maxBiased, INTEGER_BIT | QUIET_BIT, 0)
    case 4:
      return lane.deliverInfinity(format, 1)
    case 5:
      return lane.deliverInfinity(format, 0)
    case 6:
      return lane.deliverInfinity(format, b.sign)
    case 7:
      return lane.deliverZero(format, 1)
    case 8:
      return lane.deliverZero(format, 0)
    case 9:
      return lane.deliverPacked(format, 1, bias, INTEGER_BIT, 0)
    case 10:
      return lane.deliverPacked(format, 0, bias, INTEGER_BIT, 0)
    case 11:
      return lane.deliverPacked(format, 0, bias - 1, INTEGER_BIT, 0)
    case 12: // 90.0
      return lane.deliverPacked(format, 0, bias + 6, 0xb4000000 | 0, 0)
    case 13: // pi / 2, to nearest
      return format.bits === 64
        ? lane.deliverPacked(format, 0, bias, 0xc90fdaa2 | 0, 0x2168c000)
        : lane.deliverPacked(format, 0, bias, format.bits === 32 ? 0xc90fdb00 | 0 : 0xc9000000 | 0, 0)
    case 14:
      return lane.deliverPacked(format, 0, format.maxBiased - 1, -1, -1)
    default:
      return lane.deliverPacked(format, 1, format.maxBiased - 1, -1, -1)
  }
}

function fixupToken(lane: Lane): number {
  const b = lane.b
  switch (b.kind) {
    case KIND_QNAN:
      return TOKEN_QNAN
    case KIND_SNAN:
      return TOKEN_SNAN
    case KIND_ZERO:
      return TOKEN_ZERO
    case KIND_INFINITY:
      return b.sign !== 0 ? TOKEN_NEGATIVE_INFINITY : TOKEN_POSITIVE_INFINITY
    default:
      if (b.kind === KIND_NORMAL && b.sign === 0 && b.exp === 0 && b.hi === INTEGER_BIT && b.lo === 0) return TOKEN_ONE
      return b.sign !== 0 ? TOKEN_NEGATIVE : TOKEN_POSITIVE
  }
}

function fixupExceptions(token: number, imm: number): number {
  switch (token) {
    case TOKEN_ZERO:
      return ((imm & 1) !== 0 ? EXCEPTION_ZE : 0) | ((imm & 2) !== 0 ? EXCEPTION_IE : 0)
    case TOKEN_ONE:
      return ((imm & 4) !== 0 ? EXCEPTION_ZE : 0) | ((imm & 8) !== 0 ? EXCEPTION_IE : 0)
    case TOKEN_SNAN:
      return (imm & 0x10) !== 0 ? EXCEPTION_IE : 0
    case TOKEN_NEGATIVE_INFINITY:
      return (imm & 0x20) !== 0 ? EXCEPTION_IE : 0
    case TOKEN_NEGATIVE:
      return (imm & 0x40) !== 0 ? EXCEPTION_IE : 0
    case TOKEN_POSITIVE_INFINITY:
      return (imm & 0x80) !== 0 ? EXCEPTION_IE : 0
    default:
      return 0
  }
}

/** VFPCLASS: true when `a` is in one of the classes of imm. No exceptions. */
export function laneIsOfClass(lane: Lane, imm: number): boolean {
  const a = lane.a
  const negative = a.sign !== 0
  switch (a.kind) {
    case KIND_QNAN:
      return (imm & 0x01) !== 0
    case KIND_SNAN:
      return (imm & 0x80) !== 0
    case KIND_ZERO:
      return (imm & (negative ? 0x04 : 0x02)) !== 0
    case KIND_INFINITY:
      return (imm & (negative ? 0x10 : 0x08)) !== 0
    default:
      return (a.kind === KIND_DENORMAL && (imm & 0x20) !== 0) || (negative && (imm & 0x40) !== 0)
  }
}
