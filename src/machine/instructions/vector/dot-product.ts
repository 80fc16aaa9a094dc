import type { Emitter } from '../../translate/emitter.ts'
import { FN_MUL_HIGH_U } from '../../translate/emitter.ts'
import { add, and, binary, call, type Expr, i64 } from '../../translate/expr.ts'
import { ADD, bitselect, lanesOf, SHR_S, shiftLanes, signBits, vec1, vec2, vxor } from '../../translate/lanes.ts'
import { I64, V, W } from '../../wasm/opcodes.ts'
import { mixedProducts } from './arithmetic.ts'
import { defineLanes, perLane } from './forms.ts'

// ---- VNNI: sums of products added to 32-bit lanes ----
/** Sum of the four products in each 32-bit lane: fits easily. */
function byteDots(e: Emitter, a: Expr, b: Expr): Expr {
  const [even, odd] = mixedProducts(e, a, b)
  return vec2(ADD[32], vec1(V.i32x4_extadd_pairwise_i16x8_s, even), vec1(V.i32x4_extadd_pairwise_i16x8_s, odd))
}

/** a + b of signed 32-bit lanes, saturated. */
function saturatingSum(e: Emitter, a: Expr, b: Expr): Expr {
  const sum = e.let(vec2(ADD[32], a, b))
  // overflow: the sum's sign differs from both signs
  const overflow = shiftLanes(SHR_S[32], vec2(V.and, vxor(a, sum), vxor(b, sum)), 31)
  return bitselect(limitOf(a), sum, overflow)
}
/** The limit on the side of a's sign. */
const limitOf = (a: Expr): Expr =>
  vxor(
    shiftLanes(SHR_S[32], a, 31),
    lanesOf(32, () => 0x7fffffff),
  )

defineLanes('VPDPBUSD', 32, 3, ({ e }, sum, a, b) => vec2(ADD[32], sum, byteDots(e, a, b)))
defineLanes('VPDPBUSDS', 32, 3, ({ e }, sum, a, b) => saturatingSum(e, e.let(sum), e.let(byteDots(e, a, b))))
defineLanes('VPDPWSSD', 32, 3, (_x, sum, a, b) => vec2(ADD[32], sum, vec2(V.i32x4_dot_i16x8_s, a, b)))
/** Only four times -32768 make a dot product that does not fit: 2^31, which wasm gives as -2^31. */
defineLanes('VPDPWSSDS', 32, 3, ({ e }, first, a, b) => {
  const sum = e.let(first)
  const dot = e.let(vec2(V.i32x4_dot_i16x8_s, a, b))
  const tooLarge = e.let(vec2(V.i32x4_eq, dot, signBits(32)))
  // sum + 2^31: wraps to the right value for a negative sum, else the upper limit
  const added = bitselect(
    vec2(ADD[32], sum, signBits(32)),
    lanesOf(32, () => 0x7fffffff),
    shiftLanes(SHR_S[32], sum, 31),
  )
  return bitselect(added, saturatingSum(e, sum, dot), tooLarge)
})

// ---- IFMA: halves of 104-bit products of 52-bit integers ----
const low52 = (a: Expr): Expr => and(64, a, i64(-1, 0xfffff))
defineLanes('VPMADD52LUQ', 64, 3, ({ e }, sum, a, b) =>
  perLane(e, 64, [sum, a, b], (s, x, y) => add(64, s, low52(binary(W.i64_mul, I64, low52(x), low52(y))))),
)
defineLanes('VPMADD52HUQ', 64, 3, ({ e }, sum, a, b) =>
  perLane(e, 64, [sum, a, b], (s, x, y) => {
    const left = e.let(low52(x))
    const right = e.let(low52(y))
    const low = binary(W.i64_shr_u, I64, binary(W.i64_mul, I64, left, right), i64(52))
    const high = binary(W.i64_shl, I64, call(FN_MUL_HIGH_U, I64, left, right, null), i64(12))
    return add(64, s, binary(W.i64_or, I64, high, low))
  }),
)
