import { FLOAT_OP } from '../../float/float-unit.ts'
import type { Emitter } from '../../translate/emitter.ts'
import type { Expr } from '../../translate/expr.ts'
import { lanesOf, rearrange, shiftLanes, shuffle, vand, vec1, vec2, vor, vxor, zero } from '../../translate/lanes.ts'
import type { VectorInstruction } from '../../translate/vector-operands.ts'
import { V } from '../../wasm/opcodes.ts'
import { defineVector } from '../vector/available.ts'
import { add64, exactProduct, exactSum, FAR, moderateOrZero, mul64 } from './error-free.ts'
import { compute, type FloatContext, type LaneTest, type Native } from './forms.ts'
import { abs, eq, type FloatBits, floats, ge, le, type NativeBits, ne, neg, pmax, pmin, smallest } from './lanes.ts'
import { readPacked, readScalar, writePacked, writeScalar } from './operands.ts'
import { share } from './routines.ts'
import { finite, isZero, ordinary, safelyNormal } from './tests.ts'

/**
 * VFMADD, VFMSUB, VFNMADD, VFNMSUB, VFMADDSUB, VFMSUBADD. WebAssembly has no fused multiply-add, so it is made from
 * error-free sums and products:
 *
 * Single precision in double: the product is exact; the sum, rounded to odd, has enough bits that rounding it to single
 * precision gives the exact sum rounded once.
 *
 * Double precision: Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to
 * odd" (IEEE Transactions on Computers 57, 2008). It holds where neither the operands' halves overflow nor the error of the
 * product underflows; the tests leave a wide margin.
 */

/** a + b rounded to odd: an inexact sum with an even last bit moves one unit toward the exact one. */
function sumRoundedToOdd(e: Emitter, a: Expr, b: Expr): Expr {
  const [sum, error] = exactSum(e, a, b)
  // +1 away from zero when the error has the sign of the sum, else -1
  const step = vor(shiftLanes(V.i64x2_shr_s, vxor(sum, error), 63), ones64())
  const isEven = vec2(V.i64x2_sub, vand(sum, ones64()), ones64())
  return e.let(vec2(V.i64x2_add, sum, vand(vand(step, isEven), ne(64, error, zero()))))
}
const ones64 = (): Expr => lanesOf(64, () => 1)

function fused64(e: Emitter, a: Expr, b: Expr, c: Expr): Expr {
  const [product, productError] = exactProduct(e, a, b)
  const [low, lowError] = exactSum(e, c, productError)
  const [high, highError] = exactSum(e, product, low)
  return add64(high, sumRoundedToOdd(e, lowError, highError))
}

function fused32(e: Emitter, a: Expr, b: Expr, c: Expr): Expr {
  const half = (from: number): Expr => {
    const widen = (x: Expr): Expr => e.let(vec1(V.f64x2_promote_low_f32x4, from === 0 ? x : rearrange(64, x, [1, 1])))
    return vec1(V.f32x4_demote_f64x2_zero, sumRoundedToOdd(e, e.let(mul64(widen(a), widen(b))), widen(c)))
  }
  return shuffle(64, half(0), half(1), [0, 2])
}

// ---- when that is right ----
// In place: no operand is zero.
const inPlace: LaneTest = (f, r, a, b, c) => {
  const { bits } = f
  const magnitudes = (pick: typeof pmin): Expr => pick(bits, pick(bits, abs(bits, a), abs(bits, b)), abs(bits, c))
  if (bits === 32) return vand(ge(32, magnitudes(pmin), smallest(32)), safelyNormal(f, r))
  const moderate = vand(ge(64, magnitudes(pmin), floats(64, 2 ** -FAR)), le(64, magnitudes(pmax), floats(64, 2 ** FAR)))
  // minima and maxima may miss a NaN
  return vand(moderate, eq(64, r, r))
}

/** Double precision: a zero result has to be the exact difference of two numbers, else its sign may be lost. */
const allModerate: LaneTest = ({ e, bits }, r, a, b, c) => {
  const hasSign = vor(ne(bits, r, zero()), vand(ne(bits, e.let(mul64(a, b)), zero()), ne(bits, c, zero())))
  const operands = vand(vand(moderateOrZero(e, a), moderateOrZero(e, b)), moderateOrZero(e, c))
  return vand(operands, hasSign)
}
/** Single precision. A zero result of a zero product is right too: the double sum was exact. */
const normalOrZero: LaneTest = (f, r, a, b, c) => {
  const { bits } = f
  const zeroProduct = vor(isZero(bits, a), isZero(bits, b))
  const operands = vand(vand(ordinary(bits, a), ordinary(bits, b)), ordinary(bits, c))
  return vand(vand(operands, finite(bits, r)), vor(safelyNormal(f, r), vand(zeroProduct, isZero(bits, c))))
}

/** Signs of product and addend in even and odd lanes. */
interface Signs {
  op: number
  product: 1 | -1
  even: 1 | -1
  odd: 1 | -1
}
const OPERATIONS: Record<string, Signs> = {
  MADD: { op: FLOAT_OP.FMADD, product: 1, even: 1, odd: 1 },
  MSUB: { op: FLOAT_OP.FMSUB, product: 1, even: -1, odd: -1 },
  NMADD: { op: FLOAT_OP.FNMADD, product: -1, even: 1, odd: 1 },
  NMSUB: { op: FLOAT_OP.FNMSUB, product: -1, even: -1, odd: -1 },
  MADDSUB: { op: FLOAT_OP.FMADDSUB, product: 1, even: -1, odd: 1 },
  MSUBADD: { op: FLOAT_OP.FMSUBADD, product: 1, even: 1, odd: -1 },
}

function native({ product, even, odd }: Signs): Native {
  const result = ({ e, bits }: FloatContext, a: Expr, b: Expr, c: Expr): Expr => {
    const first = product === 1 ? a : e.let(neg(bits, a))
    const addend = even === odd ? (even === 1 ? c : e.let(neg(bits, c))) : e.let(vxor(c, signsWhere(bits, even, odd)))
    return bits === 64 ? fused64(e, first, b, addend) : fused32(e, first, b, addend)
  }
  const test: LaneTest = (f, r, a, b, c) => (f.bits === 64 ? allModerate : normalOrZero)(f, r, a, b, c)
  return { result, tests: [inPlace, test], control: 'rounds' }
}
/** Sign bits in even or odd lanes. */
const signsWhere = (bits: NativeBits, even: 1 | -1, odd: 1 | -1): Expr =>
  lanesOf(32, (i) => {
    const isTop = bits === 32 || (i & 1) === 1
    const lane = bits === 32 ? i : i >> 1
    return isTop && ((lane & 1) === 0 ? even : odd) === -1 ? 0x80000000 | 0 : 0
  })

/** Operands that are first factor, second factor, addend. A NaN of the first of them wins (SDM Vol. 1, table 14-9). */
const ORDER: Record<string, [number, number, number]> = { '132': [0, 2, 1], '213': [1, 0, 2], '231': [1, 2, 0] }

function fused(x: VectorInstruction, bits: FloatBits, scalar: boolean, op: number, order: readonly number[], way: Native): void {
  const lanes = scalar ? 1 : (x.bytes * 8) / bits
  const read = (operand: number): Expr[] => (scalar ? [readScalar(x, operand, bits)] : readPacked(x, operand, bits, lanes))
  const results = compute(x, bits, lanes, op, order.map(read), way)
  if (scalar) writeScalar(x, bits, 0, results[0])
  else writePacked(x, bits, lanes, results)
}

const SUFFIXES: [suffix: string, bits: FloatBits, scalar: boolean][] = [
  ['PS', 32, false],
  ['PD', 64, false],
  ['PH', 16, false],
  ['SS', 32, true],
  ['SD', 64, true],
  ['SH', 16, true],
]
for (const [name, signs] of Object.entries(OPERATIONS)) {
  const way = share(signs.op, native(signs))
  for (const [digits, order] of Object.entries(ORDER)) {
    for (const [suffix, bits, scalar] of SUFFIXES) {
      if (scalar && signs.even !== signs.odd) continue
      defineVector(`VF${name}${digits}${suffix}`, (x) => fused(x, bits, scalar, signs.op, order, way))
    }
  }
}
