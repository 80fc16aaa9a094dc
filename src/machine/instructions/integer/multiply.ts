import { Register } from '../../decoder/iced-tables.ts'
import { RFLAGS_CF, RFLAGS_OF } from '../../flags.ts'
import { define } from '../../translate/definitions.ts'
import { FN_MUL_HIGH_S, FN_MUL_HIGH_U } from '../../translate/emitter.ts'
import {
  type Bits,
  binary,
  call,
  type Expr,
  i32,
  i64,
  low,
  mul,
  ne,
  or,
  select,
  shrU,
  signExtend,
  unary,
  wrap,
  zeroExtend,
} from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { I32, I64, W } from '../../wasm/opcodes.ts'

/** Accumulator (low half) and its extension (high half) by operand width; with 8 bits AX holds the product. */
export const ACCUMULATOR: Record<Bits, number> = { 8: Register.AL, 16: Register.AX, 32: Register.EAX, 64: Register.RAX }
export const EXTENSION: Record<Bits, number> = { 8: Register.AH, 16: Register.DX, 32: Register.EDX, 64: Register.RDX }

/** CF = OF = whether the upper half matters. SF, ZF, AF and PF are undefined (SDM). */
function setFlags(s: InstructionSite, bits: Bits, lowHalf: Expr, overflow: Expr): void {
  s.e.flags.fromResult(bits, lowHalf, select(overflow, i32(RFLAGS_CF | RFLAGS_OF), i32(0)))
}

function writeProduct(s: InstructionSite, bits: Bits, lowHalf: Expr, highHalf: Expr): void {
  s.writeGpr(ACCUMULATOR[bits], lowHalf)
  s.writeGpr(EXTENSION[bits], highHalf)
}

define('MUL', (s) => {
  const bits = s.bitsOf(0)
  const [lowHalf, highHalf] = wideUnsigned(s, bits, s.read(0), s.readGpr(ACCUMULATOR[bits]))
  writeProduct(s, bits, lowHalf, highHalf)
  setFlags(s, bits, lowHalf, ne(bits, highHalf, bits === 64 ? i64(0) : i32(0)))
})

/** Both halves (leaves) of the unsigned product of two leaves. */
function wideUnsigned(s: InstructionSite, bits: Bits, a: Expr, b: Expr): [Expr, Expr] {
  const e = s.e
  if (bits === 64) return [e.let(mul(64, a, b)), e.let(call(FN_MUL_HIGH_U, I64, a, b, null))]
  if (bits === 32) {
    const product = e.let(mul(64, zeroExtend(32, 64, a), zeroExtend(32, 64, b)))
    return [e.let(wrap(product)), e.let(wrap(shrU(64, product, i64(32))))]
  }
  const product = e.let(mul(32, a, b))
  return [e.let(low(32, bits, product)), e.let(shrU(32, product, i32(bits)))]
}

define('IMUL', (s) => {
  if (s.d.opCount === 1) wideSigned(s)
  else if (s.d.opCount === 2) s.write(0, truncatedSigned(s, s.bitsOf(0), s.read(0), s.read(1)))
  else s.write(0, truncatedSigned(s, s.bitsOf(0), s.read(1), s.read(2)))
})

/** One-operand form: both halves of the product are kept. */
function wideSigned(s: InstructionSite): void {
  const e = s.e
  const bits = s.bitsOf(0)
  const a = s.read(0)
  const b = s.readGpr(ACCUMULATOR[bits])
  let lowHalf: Expr
  let highHalf: Expr
  if (bits === 64) {
    lowHalf = e.let(mul(64, a, b))
    highHalf = e.let(call(FN_MUL_HIGH_S, I64, a, b, null))
  } else {
    const product = e.let(mul(64, signExtend(bits, 64, a), signExtend(bits, 64, b)))
    lowHalf = e.let(low(64, bits, product))
    highHalf = e.let(low(64, bits, shrU(64, product, i64(bits))))
  }
  writeProduct(s, bits, lowHalf, highHalf)
  const signs =
    bits === 64
      ? binary(W.i64_shr_s, I64, lowHalf, i64(63))
      : low(32, bits, binary(W.i32_shr_s, I32, signExtend(bits, 32, lowHalf), i32(31)))
  setFlags(s, bits, lowHalf, ne(bits, highHalf, signs))
}

/** Two- and three-operand forms: the low half (a leaf); CF = OF = it is not the whole product. */
function truncatedSigned(s: InstructionSite, bits: Bits, a: Expr, b: Expr): Expr {
  const e = s.e
  if (bits === 64) {
    const res = e.let(mul(64, a, b))
    setFlags(s, 64, res, overflowOf64(s, a, b, res))
    return res
  }
  const product = e.let(mul(64, signExtend(bits, 64, a), signExtend(bits, 64, b)))
  const res = e.let(low(64, bits, product))
  setFlags(s, bits, res, ne(64, product, signExtend(bits, 64, res)))
  return res
}

/** The upper half is computed only when a factor does not fit 32 bits. */
function overflowOf64(s: InstructionSite, a: Expr, b: Expr, res: Expr): Expr {
  const e = s.e
  const overflow = e.variable(i32(0))
  const wide = (x: Expr) => ne(64, unary(W.i64_extend32_s, I64, x), x)
  e.if(or(32, wide(a), wide(b)), () => {
    const high = call(FN_MUL_HIGH_S, I64, a, b, null)
    e.assign(overflow, ne(64, high, binary(W.i64_shr_s, I64, res, i64(63))))
  })
  return overflow
}

define('MULX', (s) => {
  const bits = s.bitsOf(0)
  const [lowHalf, highHalf] = wideUnsigned(s, bits, s.read(2), s.readGpr(EXTENSION[bits]))
  // With equal destinations the register gets the upper half (SDM).
  s.write(1, lowHalf)
  s.write(0, highHalf)
})
