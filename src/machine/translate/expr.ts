import type { CodeBuffer } from '../wasm/code.ts'
import { F32, F64, I32, I64, V, V128, W, type WasmType } from '../wasm/opcodes.ts'

/**
 * A WebAssembly expression: an opcode, up to three operands and immediates. A leaf (constant or local) may be used any
 * number of times; any other expression once: `Emitter.let` makes a leaf of it.
 *
 * Integer values of 8, 16 and 32 bits are i32, zero-extended from their width; 64 bits are i64.
 */
export class Expr {
  readonly op: number
  readonly type: WasmType
  readonly a: Expr | null
  readonly b: Expr | null
  readonly c: Expr | null
  /** Immediate: constant (lo, hi), local index, memory offset, lane. */
  readonly lo: number
  readonly hi: number
  /** Set when a non-leaf was consumed, to find expressions used twice. */
  consumed = false

  constructor(op: number, type: WasmType, a: Expr | null, b: Expr | null, c: Expr | null, lo: number, hi: number) {
    this.op = op
    this.type = type
    this.a = a
    this.b = b
    this.c = c
    this.lo = lo
    this.hi = hi
  }
}

export const isLeaf = (e: Expr): boolean => e.op === W.local_get || e.op === W.i32_const || e.op === W.i64_const

export const local = (index: number, type: WasmType): Expr => new Expr(W.local_get, type, null, null, null, index, 0)
export const i32 = (value: number): Expr => new Expr(W.i32_const, I32, null, null, null, value | 0, 0)
export const i64 = (lo: number, hi: number = lo >> 31): Expr => new Expr(W.i64_const, I64, null, null, null, lo | 0, hi | 0)
export const unary = (op: number, type: WasmType, a: Expr): Expr => new Expr(op, type, a, null, null, 0, 0)
export const binary = (op: number, type: WasmType, a: Expr, b: Expr): Expr => new Expr(op, type, a, b, null, 0, 0)
export const load = (op: number, type: WasmType, address: Expr, offset: number): Expr =>
  new Expr(op, type, address, null, null, offset, 0)
/** A function call; arguments at most three (a, b, c). */
export const call = (fn: number, type: WasmType, a: Expr | null, b: Expr | null, c: Expr | null): Expr =>
  new Expr(W.call, type, a, b, c, fn, 0)
export const select = (cond: Expr, yes: Expr, no: Expr): Expr => new Expr(W.select, yes.type, yes, no, cond, 0, 0)
/** Lane instruction (extract, replace). */
export const lane = (op: number, type: WasmType, a: Expr, b: Expr | null, index: number): Expr =>
  new Expr(op, type, a, b, null, index, 0)
/** i8x16.shuffle with 16 lane numbers packed four to a word. */
export class Shuffle extends Expr {
  readonly lanes: readonly number[]
  constructor(a: Expr, b: Expr, lanes: readonly number[]) {
    super(V.i8x16_shuffle, V128, a, b, null, 0, 0)
    this.lanes = lanes
  }
}
/** v128.const of 16 bytes. */
export class V128Const extends Expr {
  readonly value: readonly number[]
  constructor(value: readonly number[]) {
    super(V.const, V128, null, null, null, 0, 0)
    this.value = value
  }
}

export const isConst = (e: Expr): boolean => e.op === W.i32_const || e.op === W.i64_const

// ---- integers of a width ----
export type Bits = 8 | 16 | 32 | 64
export const typeOf = (bits: Bits): typeof I32 | typeof I64 => (bits === 64 ? I64 : I32)
export const constant = (bits: Bits, lo: number, hi: number = lo >> 31): Expr =>
  bits === 64 ? i64(lo, hi) : i32(bits === 32 ? lo : lo & (bits === 8 ? 0xff : 0xffff))
export const zeroOf = (bits: Bits): Expr => constant(bits, 0)
const arithmetic =
  (op32: number, op64: number) =>
  (bits: Bits, a: Expr, b: Expr): Expr =>
    bits === 64 ? binary(op64, I64, a, b) : binary(op32, I32, a, b)
/** Brings an i32 back to its width after an operation that may have set higher bits. */
export const truncate = (bits: Bits, e: Expr): Expr =>
  bits === 8 ? binary(W.i32_and, I32, e, i32(0xff)) : bits === 16 ? binary(W.i32_and, I32, e, i32(0xffff)) : e
export const add = (bits: Bits, a: Expr, b: Expr): Expr => truncate(bits, arithmetic(W.i32_add, W.i64_add)(bits, a, b))
export const sub = (bits: Bits, a: Expr, b: Expr): Expr => truncate(bits, arithmetic(W.i32_sub, W.i64_sub)(bits, a, b))
export const mul = (bits: Bits, a: Expr, b: Expr): Expr => truncate(bits, arithmetic(W.i32_mul, W.i64_mul)(bits, a, b))
export const and = arithmetic(W.i32_and, W.i64_and)
export const or = arithmetic(W.i32_or, W.i64_or)
export const xor = arithmetic(W.i32_xor, W.i64_xor)
export const not = (bits: Bits, a: Expr): Expr => truncate(bits, xor(bits, a, constant(bits, -1)))
/** Shifts by a count already below the width. */
export const shl = (bits: Bits, a: Expr, n: Expr): Expr => truncate(bits, arithmetic(W.i32_shl, W.i64_shl)(bits, a, n))
export const shrU = arithmetic(W.i32_shr_u, W.i64_shr_u)
export const shrS = (bits: Bits, a: Expr, n: Expr): Expr =>
  bits >= 32
    ? arithmetic(W.i32_shr_s, W.i64_shr_s)(bits, a, n)
    : truncate(bits, binary(W.i32_shr_s, I32, signExtendTo32(bits, a), n))
const signExtendTo32 = (bits: Bits, a: Expr): Expr =>
  bits === 8 ? unary(W.i32_extend8_s, I32, a) : bits === 16 ? unary(W.i32_extend16_s, I32, a) : a
const comparison =
  (op32: number, op64: number) =>
  (bits: Bits, a: Expr, b: Expr): Expr =>
    bits === 64 ? binary(op64, I32, a, b) : binary(op32, I32, a, b)
export const eq = comparison(W.i32_eq, W.i64_eq)
export const ne = comparison(W.i32_ne, W.i64_ne)
export const ltU = comparison(W.i32_lt_u, W.i64_lt_u)
export const leU = comparison(W.i32_le_u, W.i64_le_u)
export const gtU = comparison(W.i32_gt_u, W.i64_gt_u)
export const geU = comparison(W.i32_ge_u, W.i64_ge_u)
export const ltS = (bits: Bits, a: Expr, b: Expr): Expr =>
  bits === 64 ? binary(W.i64_lt_s, I32, a, b) : binary(W.i32_lt_s, I32, signExtendTo32(bits, a), signExtendTo32(bits, b))
export const leS = (bits: Bits, a: Expr, b: Expr): Expr =>
  bits === 64 ? binary(W.i64_le_s, I32, a, b) : binary(W.i32_le_s, I32, signExtendTo32(bits, a), signExtendTo32(bits, b))
export const eqz = (bits: Bits, a: Expr): Expr => unary(bits === 64 ? W.i64_eqz : W.i32_eqz, I32, a)
/** Top bit of the value as i32 0 or 1. */
export const signBit = (bits: Bits, a: Expr): Expr =>
  bits === 64 ? unary(W.i32_wrap_i64, I32, binary(W.i64_shr_u, I64, a, i64(63))) : binary(W.i32_shr_u, I32, a, i32(bits - 1))
export const zeroExtend = (from: Bits, to: Bits, a: Expr): Expr =>
  to === 64 && from !== 64 ? unary(W.i64_extend_i32_u, I64, a) : a
export const signExtend = (from: Bits, to: Bits, a: Expr): Expr => {
  if (from === to) return a
  const narrow = signExtendTo32(from, a)
  return to === 64 ? unary(W.i64_extend_i32_s, I64, narrow) : truncate(to, narrow)
}
/** The low `to` bits of a value of `from` bits. */
export const low = (from: Bits, to: Bits, a: Expr): Expr =>
  from === to ? a : truncate(to, from === 64 ? unary(W.i32_wrap_i64, I32, a) : a)
export const wrap = (a: Expr): Expr => unary(W.i32_wrap_i64, I32, a)

// ---- writing ----
const isMemoryOp = (op: number): boolean =>
  (op >= W.i32_load && op <= W.i64_store32) || (op >= V.load && op <= V.store) || op === V.load32_zero || op === V.load64_zero
const isLaneOp = (op: number): boolean => op >= V.i8x16_extract_lane_s && op <= V.f64x2_replace_lane

export function writeOpcode(code: CodeBuffer, op: number): void {
  if (op < 0x100) code.byte(op)
  else {
    code.byte(op >> 8)
    code.u32(op & 0xff)
  }
}

/** Writes the expression so that its value is on top of the wasm stack. */
export function writeExpr(code: CodeBuffer, e: Expr): void {
  if (!isLeaf(e)) {
    if (e.consumed) throw new Error(`expression with opcode 0x${e.op.toString(16)} used twice: keep it with let()`)
    e.consumed = true
  }
  if (e.a !== null) writeExpr(code, e.a)
  if (e.b !== null) writeExpr(code, e.b)
  if (e.c !== null) writeExpr(code, e.c)
  if (e.op < 0) return // a sequence: its parts stay on the stack
  writeOpcode(code, e.op)
  if (e.op === W.local_get || e.op === W.call) code.u32(e.lo)
  else if (e.op === W.i32_const) code.s32(e.lo)
  else if (e.op === W.i64_const) code.s64(e.lo, e.hi)
  else if (isMemoryOp(e.op)) {
    code.byte(0) // alignment hint: none
    code.u32(e.lo)
  } else if (isLaneOp(e.op)) code.byte(e.lo)
  else if (e instanceof Shuffle) for (const l of e.lanes) code.byte(l)
  else if (e instanceof V128Const) for (const v of e.value) code.byte(v)
}

export { F32, F64, I32, I64, V128 }
