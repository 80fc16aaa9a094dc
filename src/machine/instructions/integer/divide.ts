import { Register } from '../../decoder/iced-tables.ts'
import { define } from '../../translate/definitions.ts'
import {
  add,
  and,
  type Bits,
  binary,
  type Expr,
  eq,
  eqz,
  geU,
  gtU,
  i32,
  i64,
  low,
  ltS,
  ne,
  or,
  select,
  shl,
  shrU,
  signExtend,
  sub,
  wrap,
  xor,
  zeroExtend,
} from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { I64, W } from '../../wasm/opcodes.ts'
import { ACCUMULATOR, EXTENSION } from './multiply.ts'

const VECTOR_DE = 0

// DIV and IDIV leave the arithmetic flags undefined (SDM); here they stay as they were.

define('DIV', (s) => {
  const bits = s.bitsOf(0)
  const divisor = s.read(0)
  if (bits === 64) return divideUnsigned128(s, divisor)
  s.raiseIf(eqz(bits, divisor), VECTOR_DE)
  const dividend = s.e.let(dividendOf(s, bits))
  const wide = s.e.let(zeroExtend(bits, 64, divisor))
  const quotient = s.e.let(binary(W.i64_div_u, I64, dividend, wide))
  s.raiseIf(gtU(64, quotient, i64(bits === 32 ? -1 : (1 << bits) - 1, 0)), VECTOR_DE)
  const remainder = s.e.let(sub(64, dividend, binary(W.i64_mul, I64, quotient, wide)))
  s.writeGpr(ACCUMULATOR[bits], low(64, bits, quotient))
  s.writeGpr(EXTENSION[bits], low(64, bits, remainder))
})

define('IDIV', (s) => {
  const bits = s.bitsOf(0)
  const divisor = s.read(0)
  if (bits === 64) return divideSigned128(s, divisor)
  s.raiseIf(eqz(bits, divisor), VECTOR_DE)
  const raw = dividendOf(s, bits)
  const dividend = s.e.let(bits === 32 ? raw : signExtend(32, 64, signExtend(bits === 16 ? 32 : 16, 32, wrap(raw))))
  const wide = s.e.let(signExtend(bits, 64, divisor))
  // Only with 32 bits can the dividend be -2^63: divided by -1 it would trap in WebAssembly.
  if (bits === 32) s.raiseIf(and(32, eq(64, dividend, i64(0, -0x80000000)), eq(64, wide, i64(-1))), VECTOR_DE)
  const quotient = s.e.let(binary(W.i64_div_s, I64, dividend, wide))
  const kept = s.e.let(low(64, bits, quotient))
  s.raiseIf(ne(64, quotient, signExtend(bits, 64, kept)), VECTOR_DE)
  const remainder = s.e.let(sub(64, dividend, binary(W.i64_mul, I64, quotient, wide)))
  s.writeGpr(ACCUMULATOR[bits], kept)
  s.writeGpr(EXTENSION[bits], low(64, bits, remainder))
})

/** AX, DX:AX or EDX:EAX as an i64, zero-extended. */
function dividendOf(s: InstructionSite, bits: Bits): Expr {
  if (bits === 8) return zeroExtend(16, 64, s.readGpr(Register.AX))
  const high = zeroExtend(bits, 64, s.readGpr(EXTENSION[bits]))
  return or(64, shl(64, high, i64(bits)), zeroExtend(bits, 64, s.readGpr(ACCUMULATOR[bits])))
}

function divideUnsigned128(s: InstructionSite, divisor: Expr): void {
  const e = s.e
  const high = s.readGpr(Register.RDX)
  const lowPart = s.readGpr(Register.RAX)
  // The quotient fits 64 bits exactly when the upper half is below the divisor; a zero divisor fails that too.
  s.raiseIf(geU(64, high, divisor), VECTOR_DE)
  const { quotient, remainder } = longDivision(s, high, lowPart, divisor)
  e.setGpr(0, quotient)
  e.setGpr(2, remainder)
}

/** Quotient and remainder (locals) of the unsigned high:low / divisor, where high < divisor. All leaves. */
function longDivision(s: InstructionSite, high: Expr, lowPart: Expr, divisor: Expr): { quotient: Expr; remainder: Expr } {
  const e = s.e
  const quotient = e.variable(lowPart)
  const remainder = e.variable(high)
  e.if(
    eqz(64, high),
    () => {
      e.assign(quotient, binary(W.i64_div_u, I64, lowPart, divisor))
      e.assign(remainder, sub(64, lowPart, binary(W.i64_mul, I64, quotient, divisor)))
    },
    () => shiftAndSubtract(s, quotient, remainder, divisor),
  )
  return { quotient, remainder }
}

/** One quotient bit a turn: remainder:quotient moves left through both locals. */
function shiftAndSubtract(s: InstructionSite, quotient: Expr, remainder: Expr, divisor: Expr): void {
  const e = s.e
  const turns = e.variable(i32(64))
  e.loop((again) => {
    const carry = e.let(wrap(shrU(64, remainder, i64(63))))
    e.assign(remainder, or(64, shl(64, remainder, i64(1)), shrU(64, quotient, i64(63))))
    e.assign(quotient, shl(64, quotient, i64(1)))
    e.if(or(32, carry, geU(64, remainder, divisor)), () => {
      e.assign(remainder, sub(64, remainder, divisor))
      e.assign(quotient, or(64, quotient, i64(1)))
    })
    e.assign(turns, sub(32, turns, i32(1)))
    e.brIf(again, turns)
  })
}

function divideSigned128(s: InstructionSite, divisor: Expr): void {
  const e = s.e
  const high = s.readGpr(Register.RDX)
  const lowPart = s.readGpr(Register.RAX)
  s.raiseIf(eqz(64, divisor), VECTOR_DE)
  const quotient = e.variable(i64(0))
  const remainder = e.variable(i64(0))
  const fits = eq(64, high, binary(W.i64_shr_s, I64, lowPart, i64(63)))
  const overflows = and(32, eq(64, lowPart, i64(0, -0x80000000)), eq(64, divisor, i64(-1)))
  e.if(
    and(32, fits, eqz(32, overflows)),
    () => {
      e.assign(quotient, binary(W.i64_div_s, I64, lowPart, divisor))
      e.assign(remainder, sub(64, lowPart, binary(W.i64_mul, I64, quotient, divisor)))
    },
    () => divideMagnitudes(s, high, lowPart, divisor, quotient, remainder),
  )
  e.setGpr(0, quotient)
  e.setGpr(2, remainder)
}

/** The general case: divides absolute values, checks that the quotient fits and gives both results their signs. */
function divideMagnitudes(s: InstructionSite, high: Expr, lowPart: Expr, divisor: Expr, quotient: Expr, remainder: Expr): void {
  const e = s.e
  const negative = e.let(ltS(64, high, i64(0)))
  const absLow = e.let(select(negative, sub(64, i64(0), lowPart), lowPart))
  // -(high:low) has the upper half ~high, plus one when the lower half is zero.
  const negatedHigh = add(64, xor(64, high, i64(-1)), zeroExtend(32, 64, eqz(64, lowPart)))
  const absHigh = e.let(select(negative, negatedHigh, high))
  const absDivisor = e.let(select(ltS(64, divisor, i64(0)), sub(64, i64(0), divisor), divisor))
  s.raiseIf(geU(64, absHigh, absDivisor), VECTOR_DE)
  const divided = longDivision(s, absHigh, absLow, absDivisor)
  const differ = e.let(ltS(64, xor(64, high, divisor), i64(0)))
  // At most 2^63 when the quotient is negative, 2^63 - 1 when not.
  const limit = add(64, i64(-1, 0x7fffffff), zeroExtend(32, 64, differ))
  s.raiseIf(gtU(64, divided.quotient, limit), VECTOR_DE)
  e.assign(quotient, select(differ, sub(64, i64(0), divided.quotient), divided.quotient))
  e.assign(remainder, select(negative, sub(64, i64(0), divided.remainder), divided.remainder))
}
