import type { Emitter } from '../../translate/emitter.ts'
import type { Expr } from '../../translate/expr.ts'
import { rearrange, shuffle, vand, vec1, vec2, vor } from '../../translate/lanes.ts'
import { V } from '../../wasm/opcodes.ts'
import type { FloatContext } from './forms.ts'
import { ADD, abs, eq, floats, ge, le, MUL, SUB } from './lanes.ts'
import { isZero } from './tests.ts'

/** Sums and products of doubles together with their rounding errors. Operands are leaves. */

export const add64 = (a: Expr, b: Expr): Expr => vec2(ADD[64], a, b)
export const sub64 = (a: Expr, b: Expr): Expr => vec2(SUB[64], a, b)
export const mul64 = (a: Expr, b: Expr): Expr => vec2(MUL[64], a, b)

/** Sum and its error, both kept (Knuth's TwoSum). */
export function exactSum(e: Emitter, a: Expr, b: Expr): [sum: Expr, error: Expr] {
  const sum = e.let(add64(a, b))
  const partOfB = e.let(sub64(sum, a))
  return [sum, e.let(add64(sub64(a, sub64(sum, partOfB)), sub64(b, partOfB)))]
}

/** Halves of 26 bits (Veltkamp). */
function split(e: Emitter, a: Expr): [high: Expr, low: Expr] {
  const scaled = e.let(mul64(a, floats(64, 2 ** 27 + 1)))
  const high = e.let(sub64(scaled, sub64(scaled, a)))
  return [high, e.let(sub64(a, high))]
}

/** Product and its error (Dekker), both kept; for numbers that are `moderate`. */
export function exactProduct(e: Emitter, a: Expr, b: Expr): [product: Expr, error: Expr] {
  const product = e.let(mul64(a, b))
  const [ah, al] = split(e, a)
  const [bh, bl] = split(e, b)
  const cross = add64(add64(sub64(mul64(ah, bh), product), mul64(ah, bl)), mul64(al, bh))
  return [product, e.let(add64(cross, mul64(al, bl)))]
}

/** Binary exponents far from the bounds of the format, for products of two and their errors. */
export const FAR = 400
/** Doubles for which products are far from overflow, and their errors from underflow; or zero. */
export function moderateOrZero(e: Emitter, a: Expr): Expr {
  const magnitude = e.let(abs(64, a))
  return vor(vand(ge(64, magnitude, floats(64, 2 ** -FAR)), le(64, magnitude, floats(64, 2 ** FAR))), isZero(64, a))
}

/** Singles 0 and 1, or 2 and 3, as doubles. */
const widen = (e: Emitter, a: Expr, half: 0 | 1): Expr =>
  e.let(vec1(V.f64x2_promote_low_f32x4, half === 0 ? a : rearrange(64, a, [1, 1])))

/** Lanes in which `product` = a * b exactly, all normal or zero. */
export function isExactProduct({ e, bits }: FloatContext, product: Expr, a: Expr, b: Expr): Expr {
  if (bits === 64) {
    const [rounded, error] = exactProduct(e, a, b)
    const moderate = vand(moderateOrZero(e, a), moderateOrZero(e, b))
    return vand(vand(eq(64, rounded, product), isZero(64, error)), moderate)
  }
  // The product of singles is exact as a double; those that are not normal as singles are left out.
  const half = (n: 0 | 1): Expr => {
    const [wideA, wideB] = [widen(e, a, n), widen(e, b, n)]
    const wide = e.let(mul64(wideA, wideB))
    return vand(
      eq(64, wide, widen(e, product, n)),
      vand(vand(singleOrZero(e, wideA), singleOrZero(e, wideB)), singleOrZero(e, wide)),
    )
  }
  return shuffle(32, half(0), half(1), [0, 2, 4, 6])
}
const singleOrZero = (e: Emitter, a: Expr): Expr => {
  const magnitude = e.let(abs(64, a))
  return vor(vand(ge(64, magnitude, floats(64, 2 ** -126)), le(64, magnitude, floats(64, 2 ** 127))), isZero(64, a))
}
