import { OpKind } from '../../decoder/iced-tables.ts'
import { define } from '../../translate/definitions.ts'
import {
  and,
  type Bits,
  binary,
  constant,
  type Expr,
  i32,
  i64,
  isConst,
  low,
  or,
  shl,
  shrS,
  shrU,
  signBit,
  sub,
  wrap,
  xor,
  zeroExtend,
} from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { I64, W } from '../../wasm/opcodes.ts'

/** The count operand, masked to 5 bits (6 with 64-bit operands), as an i32 leaf: a constant when it is immediate. */
export function shiftCount(s: InstructionSite, op: number, bits: Bits): Expr {
  const mask = bits === 64 ? 63 : 31
  if (s.d.opKind[op] !== OpKind.Register) return i32(s.d.immediateLo & mask)
  return s.e.let(and(32, s.read(op, 8), i32(mask)))
}

/** Runs `set` when the (leaf) count is not zero; a zero count leaves the flags as they are. */
export function unlessZero(s: InstructionSite, count: Expr, set: () => void): void {
  if (isConst(count)) {
    if (count.lo !== 0) set()
    return
  }
  s.e.if(count, set)
  s.e.flags.forget()
}

/** CF and OF, given as i32 0/1, in their places. */
export const carryAndOverflow = (cf: Expr, of: Expr): Expr => or(32, cf, shl(32, of, i32(11)))

/** Bit 0 of an integer of a width as i32. */
export const lowBit = (bits: Bits, a: Expr): Expr => and(32, bits === 64 ? wrap(a) : a, i32(1))

/** The bit below the top one, as i32 0/1. */
export const secondBit = (bits: Bits, a: Expr): Expr =>
  and(32, bits === 64 ? wrap(shrU(64, a, i64(62))) : shrU(32, a, i32(bits - 2)), i32(1))

const widen = (bits: Bits, count: Expr): Expr => zeroExtend(32, bits, count)

/** An 8- or 16-bit count may exceed the width (up to 31): shifts are done on 32 bits. */
function shiftLeft(s: InstructionSite): void {
  s.modify(0, (a, bits) => {
    const e = s.e
    const count = shiftCount(s, 1, bits)
    const res = e.let(shl(bits, a, widen(bits, count)))
    unlessZero(s, count, () => {
      const out =
        bits >= 32
          ? lowBit(bits, shrU(bits, a, widen(bits, sub(32, i32(bits), count))))
          : lowBit(32, shrU(32, shl(32, a, count), i32(bits)))
      const cf = e.let(out)
      e.flags.fromResult(bits, res, carryAndOverflow(cf, xor(32, signBit(bits, res), cf)))
    })
    return res
  })
}
define('SHL', shiftLeft)
define('SAL', shiftLeft)

define('SHR', (s) =>
  s.modify(0, (a, bits) => {
    const e = s.e
    const count = shiftCount(s, 1, bits)
    const res = e.let(shrU(bits, a, widen(bits, count)))
    unlessZero(s, count, () => {
      const cf = lowBit(bits, shrU(bits, a, widen(bits, sub(32, count, i32(1)))))
      // With count 1 the bit below the top is the old sign; with more it is 0.
      e.flags.fromResult(bits, res, carryAndOverflow(cf, secondBit(bits, res)))
    })
    return res
  }),
)

define('SAR', (s) =>
  s.modify(0, (a, bits) => {
    const e = s.e
    const count = shiftCount(s, 1, bits)
    const res = e.let(shrS(bits, a, widen(bits, count)))
    unlessZero(s, count, () => {
      const cf = lowBit(bits, shrS(bits, a, widen(bits, sub(32, count, i32(1)))))
      e.flags.fromResult(bits, res, cf)
    })
    return res
  }),
)

// ---- double shifts ----

/**
 * SHLD and SHRD with 16-bit operands and counts above 16: the result is undefined by the SDM. Intel's processors shift
 * through destination:source:destination; AMD's differ (recorded: SHLD shifts zeros in).
 */
function doubleShift(left: boolean) {
  return (s: InstructionSite): void =>
    s.modify(0, (a, bits) => {
      const e = s.e
      const source = s.read(1)
      const count = shiftCount(s, 2, bits)
      const { res, cf } = bits === 16 ? double16(s, left, a, source, count) : doubleWide(s, left, bits, a, source, count)
      unlessZero(s, count, () => {
        const carry = e.let(cf())
        const overflow = xor(32, signBit(bits, res), left ? carry : secondBit(bits, res))
        e.flags.fromResult(bits, res, carryAndOverflow(carry, overflow))
      })
      return res
    })
}
define('SHLD', doubleShift(true))
define('SHRD', doubleShift(false))

interface Shifted {
  res: Expr
  cf: () => Expr
}

function doubleWide(s: InstructionSite, left: boolean, bits: Bits, a: Expr, source: Expr, count: Expr): Shifted {
  const e = s.e
  const n = e.let(widen(bits, count))
  // The other half moves by width - count in two steps, so that a zero count moves it out altogether.
  const one = constant(bits, 1)
  const rest = e.let(xor(bits, n, constant(bits, bits - 1)))
  const opposite = left ? shrU(bits, shrU(bits, source, one), rest) : shl(bits, shl(bits, source, one), rest)
  const moved = left ? shl(bits, a, n) : shrU(bits, a, n)
  const before = () => sub(bits, n, one)
  const cf = () => (left ? signBit(bits, shl(bits, a, before())) : lowBit(bits, shrU(bits, a, before())))
  return { res: e.let(or(bits, moved, opposite)), cf }
}

function double16(s: InstructionSite, left: boolean, a: Expr, source: Expr, count: Expr): Shifted {
  const e = s.e
  const n = e.let(zeroExtend(32, 64, count))
  const wide = (x: Expr, at: number) => shl(64, zeroExtend(16, 64, x), i64(at))
  const all = e.let(or(64, or(64, wide(a, 32), wide(source, 16)), wide(a, 0)))
  const shifted = left ? shrU(64, shl(64, all, n), i64(32)) : shrU(64, all, n)
  const cf = () => {
    const before = sub(64, n, i64(1))
    return left ? lowBit(64, shrU(64, shl(64, all, before), i64(47))) : lowBit(64, shrU(64, all, before))
  }
  return { res: e.let(low(64, 16, shifted)), cf }
}

// ---- shifts and rotations without flags (VEX) ----

/** Count in a register, masked, of the operand's width. */
function registerCount(s: InstructionSite, bits: Bits): Expr {
  return and(bits, s.read(2), constant(bits, bits - 1))
}
define('SARX', (s) => s.write(0, shrS(s.bitsOf(0), s.read(1), registerCount(s, s.bitsOf(0)))))
define('SHLX', (s) => s.write(0, shl(s.bitsOf(0), s.read(1), registerCount(s, s.bitsOf(0)))))
define('SHRX', (s) => s.write(0, shrU(s.bitsOf(0), s.read(1), registerCount(s, s.bitsOf(0)))))
define('RORX', (s) => {
  const bits = s.bitsOf(0)
  s.write(0, rotateRight(bits, s.read(1), constant(bits, s.d.immediateLo & (bits - 1))))
})

/** Rotation of a 32- or 64-bit value. */
export const rotateRight = (bits: Bits, a: Expr, count: Expr): Expr =>
  bits === 64 ? binary(W.i64_rotr, I64, a, count) : binary(W.i32_rotr, a.type, a, count)
export const rotateLeft = (bits: Bits, a: Expr, count: Expr): Expr =>
  bits === 64 ? binary(W.i64_rotl, I64, a, count) : binary(W.i32_rotl, a.type, a, count)
