import { OpKind } from '../../decoder/iced-tables.ts'
import { and, binary, type Expr, i64, or, select, shl, shrU, unary } from '../../translate/expr.ts'
import { replaceLane, zero } from '../../translate/lanes.ts'
import type { VectorInstruction } from '../../translate/vector-operands.ts'
import { I32, I64, W } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'
import { writeWhole } from './move.ts'

/** AMD's SSE4A (APM Vol. 4, "EXTRQ", "INSERTQ", "MOVNTSS"). Bits above the low quadword become 0 (measured on Zen 4). */

/** Bit field of a quadword: its length (64 for 0) as a mask of that many ones, and its first bit, both i64 leaves. */
interface Field {
  mask: Expr
  first: Expr
}
function field(x: VectorInstruction, length: Expr, first: Expr): Field {
  const { e } = x
  const n = e.let(and(64, length, i64(63)))
  const ones = binary(W.i64_sub, I64, shl(64, i64(1), n), i64(1))
  return { mask: e.let(select(unary(W.i64_eqz, I32, n), i64(-1), ones)), first: e.let(and(64, first, i64(63))) }
}
const byteAt = (x: VectorInstruction, op: number, at: number): Expr => x.source(op).part(W.i64_load8_u, I64, at)
const low = (x: VectorInstruction, op: number): Expr => x.source(op).part(W.i64_load, I64, 0)
const writeLow = (x: VectorInstruction, value: Expr): void => writeWhole(x, replaceLane(64, zero(), 0, value))

defineVector('EXTRQ', (x) => {
  const { d } = x.s
  const { mask, first } =
    d.opKind[1] === OpKind.Immediate8 ? field(x, i64(x.immediate), i64(d.immediate2)) : field(x, byteAt(x, 1, 0), byteAt(x, 1, 1))
  writeLow(x, and(64, shrU(64, low(x, 0), first), mask))
})
defineVector('INSERTQ', (x) => {
  const { d } = x.s
  const { mask, first } =
    d.opCount === 4 ? field(x, i64(x.immediate), i64(d.immediate2)) : field(x, byteAt(x, 1, 8), byteAt(x, 1, 9))
  const kept = and(64, low(x, 0), binary(W.i64_xor, I64, shl(64, mask, first), i64(-1)))
  writeLow(x, or(64, kept, shl(64, and(64, low(x, 1), mask), first)))
})
defineVector('MOVNTSS', (x) => x.e.storeInt(x.s.memoryAddress(), 32, x.source(1).part(W.i32_load, I32, 0)))
defineVector('MOVNTSD', (x) => x.e.storeInt(x.s.memoryAddress(), 64, x.source(1).part(W.i64_load, I64, 0)))
