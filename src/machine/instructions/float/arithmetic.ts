import { FLOAT_OP } from '../../float/float-unit.ts'
import type { Expr } from '../../translate/expr.ts'
import { vand, vec1, vec2, vor } from '../../translate/lanes.ts'
import { isExactProduct } from './error-free.ts'
import { BOTH, defineForms, type FloatContext, type LaneTest, type Native } from './forms.ts'
import {
  ADD,
  abs,
  DIV,
  floats,
  ge,
  gt,
  largest,
  le,
  MUL,
  type NativeBits,
  neg,
  pmax,
  pmin,
  SQRT,
  SUB,
  smallest,
} from './lanes.ts'
import { share } from './routines.ts'
import { bothNormal, bothOrdinary, finite, isZero, smaller } from './tests.ts'

/** ADD, SUB, MUL, DIV, SQRT, MIN, MAX. SDM Vol. 2; the tests: operation.ts. */

// Sums are exact where they are zero or denormal: no underflow, and zeros have the sign of round-to-nearest.
const sumOfNormal: LaneTest = ({ bits }, r, a, b) => vand(ge(bits, smaller(bits, a, b), smallest(bits)), finite(bits, r))
const sumOfOrdinary: LaneTest = (f, r, a, b) => vand(bothOrdinary(f, r, a, b, b), finite(f.bits, r))
export const sumTests: LaneTest[] = [sumOfNormal, sumOfOrdinary]
export const sum: Native = { result: ({ bits }, a, b) => vec2(ADD[bits], a, b), tests: sumTests, control: 'rounds' }
export const difference: Native = { ...sum, result: ({ bits }, a, b) => vec2(SUB[bits], a, b) }

const allNormal: LaneTest = ({ e, bits }, r, a, b) => {
  const magnitude = e.let(abs(bits, r))
  return vand(gt(bits, pmin(bits, smaller(bits, a, b), magnitude), smallest(bits)), le(bits, magnitude, largest(bits)))
}
/** A zero factor makes an exact zero (or NaN, which is not finite). */
const productOfOrdinary: LaneTest = (f, r, a, b) => {
  const { e, bits } = f
  const zeroFactor = vor(isZero(bits, a), isZero(bits, b))
  const safe = vor(gt(bits, e.let(abs(bits, r)), smallest(bits)), zeroFactor)
  return vand(vand(bothOrdinary(f, r, a, b, b), finite(bits, r)), safe)
}
const quotientOfOrdinary: LaneTest = (f, r, a, b) => {
  const { bits } = f
  const safe = vor(gt(bits, abs(bits, r), smallest(bits)), isZero(bits, a))
  return vand(vand(bothOrdinary(f, r, a, b, b), finite(bits, r)), safe)
}

/** Roots of denormal numbers are below the root of the smallest normal one. */
const rootOfSmallest = (bits: NativeBits): number => (bits === 64 ? 2 ** -511 : 2 ** -63)
const rootOfNormal: LaneTest = ({ bits }, r) => vand(ge(bits, r, floats(bits, rootOfSmallest(bits))), le(bits, r, largest(bits)))
const rootOfOrdinary: LaneTest = ({ bits }, r, a) =>
  vand(vor(ge(bits, r, floats(bits, rootOfSmallest(bits))), isZero(bits, a)), le(bits, r, largest(bits)))

// ---- exact results: MXCSR does not matter to them ----
const nonZero = ({ bits }: FloatContext, a: Expr): Expr => ge(bits, abs(bits, a), smallest(bits))
/** No error in a + b. A zero has another sign when rounding down. */
const exactSumOf = (f: FloatContext, r: Expr, a: Expr, b: Expr): Expr => {
  const { e, bits } = f
  const partOfB = e.let(vec2(SUB[bits], r, a))
  const error = vec2(ADD[bits], vec2(SUB[bits], a, vec2(SUB[bits], r, partOfB)), vec2(SUB[bits], b, partOfB))
  return vand(vand(isZero(bits, error), nonZero(f, r)), bothOrdinary(f, r, a, b, b))
}
const sumIsExact: LaneTest = (f, r, a, b) => exactSumOf(f, r, a, b)
const differenceIsExact: LaneTest = (f, r, a, b) => exactSumOf(f, r, a, f.e.let(neg(f.bits, b)))
const productIsExact: LaneTest = (f, r, a, b) => isExactProduct(f, r, a, b)
const quotientIsExact: LaneTest = (f, r, a, b) => isExactProduct(f, a, r, b)
const rootIsExact: LaneTest = (f, r, a) => isExactProduct(f, a, r, r)

const once = (native: Native) => () => native
const two = (name: string, op: number, native: Native): void =>
  defineForms(name, BOTH, { op, sources: 2, native: once(share(op, native)) })
two('ADD', FLOAT_OP.ADD, { ...sum, exact: sumIsExact })
two('SUB', FLOAT_OP.SUB, { ...difference, exact: differenceIsExact })
two('MUL', FLOAT_OP.MUL, {
  result: ({ bits }, a, b) => vec2(MUL[bits], a, b),
  tests: [allNormal, productOfOrdinary],
  control: 'rounds',
  exact: productIsExact,
})
two('DIV', FLOAT_OP.DIV, {
  result: ({ bits }, a, b) => vec2(DIV[bits], a, b),
  tests: [allNormal, quotientOfOrdinary],
  control: 'rounds',
  exact: quotientIsExact,
})
const root: Native = {
  result: ({ bits }, a) => vec1(SQRT[bits], a),
  tests: [rootOfNormal, rootOfOrdinary],
  control: 'rounds',
  exact: rootIsExact,
}
defineForms('SQRT', BOTH, { op: FLOAT_OP.SQRT, sources: 1, native: once(share(FLOAT_OP.SQRT, root)) })

// The second operand for equal zeros: WebAssembly's pseudo-minimum and -maximum with the operands exchanged.
two('MIN', FLOAT_OP.MIN, { result: ({ bits }, a, b) => pmin(bits, b, a), tests: [bothNormal, bothOrdinary], control: null })
two('MAX', FLOAT_OP.MAX, { result: ({ bits }, a, b) => pmax(bits, b, a), tests: [bothNormal, bothOrdinary], control: null })
