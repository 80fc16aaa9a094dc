import type { Emitter } from '../../translate/emitter.ts'
import { binary, type Expr, i32, i64, local } from '../../translate/expr.ts'
import { extractLane, replaceLane, splat } from '../../translate/lanes.ts'
import { I32, I64, W } from '../../wasm/opcodes.ts'
import { both, defineLanes } from './forms.ts'

const op64 = (op: number, a: Expr, b: Expr): Expr => binary(op, I64, a, b)

/** Product of two 64-bit polynomials over GF(2), 127 bits: bit by bit of b from the top, shifting the sum left. */
function carrylessProduct(e: Emitter, first: Expr, second: Expr): Expr {
  const a = e.let(first)
  const b = e.variable(second)
  const low = e.variable(i64(0))
  const high = e.variable(i64(0))
  const left = local(e.temp(I32), I32)
  e.assign(left, i32(64))
  e.loop((again) => {
    e.assign(high, op64(W.i64_or, op64(W.i64_shl, high, i64(1)), op64(W.i64_shr_u, low, i64(63))))
    e.assign(low, op64(W.i64_xor, op64(W.i64_shl, low, i64(1)), op64(W.i64_and, a, op64(W.i64_shr_s, b, i64(63)))))
    e.assign(b, op64(W.i64_shl, b, i64(1)))
    e.assign(left, binary(W.i32_sub, I32, left, i32(1)))
    e.brIf(again, left)
  })
  return replaceLane(64, splat(64, low), 1, high)
}

/** PCLMULQDQ: immediate bits 0 and 4 choose the halves of the first and the second source. */
defineLanes(both('PCLMULQDQ'), 64, 2, ({ e, immediate }, a, b) =>
  carrylessProduct(e, extractLane(64, a, immediate & 1), extractLane(64, b, (immediate >> 4) & 1)),
)
