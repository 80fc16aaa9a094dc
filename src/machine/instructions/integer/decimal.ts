import { Register } from '../../decoder/iced-tables.ts'
import { RFLAGS_AF, RFLAGS_CF } from '../../flags.ts'
import { define } from '../../translate/definitions.ts'
import { loadInt } from '../../translate/emitter.ts'
import { add, and, binary, type Expr, gtU, i32, ltS, ltU, mul, or, select, shl, shrU, sub } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { I32, W } from '../../wasm/opcodes.ts'

// Decimal adjustment and BOUND: not in 64-bit mode. SDM Vol. 2; flags it calls undefined follow the result here.

const VECTOR_DE = 0
const VECTOR_BR = 5
const AF_SHIFT = Math.log2(RFLAGS_AF)

/** The low digit of AL is not decimal, or AF: i32 0/1 leaf. */
function lowDigitCarries(s: InstructionSite, al: Expr, flags: Expr): Expr {
  const af = and(32, shrU(32, flags, i32(AF_SHIFT)), i32(1))
  return s.e.let(or(32, gtU(32, and(32, al, i32(15)), i32(9)), af))
}

function adjustPacked(subtracting: boolean) {
  return (s: InstructionSite): void => {
    const e = s.e
    const al = s.readGpr(Register.AL)
    const flags = e.let(e.flags.all())
    const lowCarry = lowDigitCarries(s, al, flags)
    const highCarry = e.let(or(32, gtU(32, al, i32(0x99)), and(32, flags, i32(RFLAGS_CF))))
    const adjustment = or(32, select(lowCarry, i32(6), i32(0)), select(highCarry, i32(0x60), i32(0)))
    const res = e.let(subtracting ? sub(8, al, adjustment) : add(8, al, adjustment))
    const cf = subtracting ? or(32, highCarry, and(32, lowCarry, ltU(32, al, i32(6)))) : highCarry
    e.flags.fromResult(8, res, or(32, cf, shl(32, lowCarry, i32(AF_SHIFT))))
    s.writeGpr(Register.AL, res)
  }
}
define('DAA', adjustPacked(false))
define('DAS', adjustPacked(true))

function adjustUnpacked(subtracting: boolean) {
  return (s: InstructionSite): void => {
    const e = s.e
    const ax = s.readGpr(Register.AX)
    const flags = e.let(e.flags.all())
    const carry = lowDigitCarries(s, ax, flags)
    const adjustment = select(carry, i32(0x106), i32(0))
    const adjusted = subtracting ? sub(16, ax, adjustment) : add(16, ax, adjustment)
    const res = e.let(and(32, adjusted, i32(0xff0f)))
    e.flags.fromResult(8, e.let(and(32, res, i32(0xff))), or(32, carry, shl(32, carry, i32(AF_SHIFT))))
    s.writeGpr(Register.AX, res)
  }
}
define('AAA', adjustUnpacked(false))
define('AAS', adjustUnpacked(true))

define('AAM', (s) => {
  const base = s.d.immediateLo & 0xff
  if (base === 0) return s.raise(VECTOR_DE)
  const e = s.e
  const al = s.readGpr(Register.AL)
  const digit = e.let(binary(W.i32_rem_u, I32, al, i32(base)))
  e.flags.fromResult(8, digit, i32(0))
  s.writeGpr(Register.AX, or(32, shl(32, binary(W.i32_div_u, I32, al, i32(base)), i32(8)), digit))
})
define('AAD', (s) => {
  const e = s.e
  const high = mul(32, s.readGpr(Register.AH), i32(s.d.immediateLo & 0xff))
  const res = e.let(add(8, s.readGpr(Register.AL), high))
  e.flags.fromResult(8, res, i32(0))
  s.writeGpr(Register.AX, res)
})

define('BOUND', (s) => {
  const e = s.e
  const bits = s.bitsOf(0)
  const index = s.read(0)
  const bounds = e.readPointer(s.memoryAddress(), bits / 4)
  const lower = loadInt(bounds, bits)
  const upper = loadInt(bounds, bits, bits / 8)
  s.raiseIf(or(32, ltS(bits, index, lower), ltS(bits, upper, index)), VECTOR_BR)
})
