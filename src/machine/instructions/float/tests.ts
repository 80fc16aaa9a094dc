import type { Expr } from '../../translate/expr.ts'
import { vand, vor, zero } from '../../translate/lanes.ts'
import type { FloatContext, LaneTest } from './forms.ts'
import { abs, eq, ge, gt, largest, le, type NativeBits, pmin, smallest } from './lanes.ts'

/** Lane tests from which operations build theirs. A NaN fails each of them. Operands are leaves. */

/** Zero, normal or infinite: no NaN, not denormal. */
export const ordinary = (bits: NativeBits, a: Expr): Expr => vor(ge(bits, abs(bits, a), smallest(bits)), isZero(bits, a))
export const isZero = (bits: NativeBits, a: Expr): Expr => eq(bits, a, zero())
export const finite = (bits: NativeBits, a: Expr): Expr => le(bits, abs(bits, a), largest(bits))
/** Finite, and larger than the smallest normal number: a tiny result may have been rounded up to that one. */
export function safelyNormal({ e, bits }: FloatContext, a: Expr): Expr {
  const magnitude = e.let(abs(bits, a))
  return vand(gt(bits, magnitude, smallest(bits)), le(bits, magnitude, largest(bits)))
}
/** The magnitude of the smallest operand; a NaN may be missed. */
export const smaller = (bits: NativeBits, a: Expr, b: Expr): Expr => pmin(bits, abs(bits, a), abs(bits, b))

/** No operand is a NaN or denormal: for operations that raise only IE and DE. */
export const bothOrdinary: LaneTest = ({ bits }, _r, a, b) => vand(ordinary(bits, a), ordinary(bits, b))
/** The same where no operand is zero: cheaper. */
export const bothNormal: LaneTest = ({ bits }, _r, a, b) =>
  vand(ge(bits, abs(bits, a), smallest(bits)), ge(bits, abs(bits, b), smallest(bits)))
