import { RFLAGS_CF, RFLAGS_OF } from '../../flags.ts'
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
  shrU,
  signBit,
  sub,
  xor,
  zeroExtend,
} from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { I32, W } from '../../wasm/opcodes.ts'
import { carryAndOverflow, lowBit, rotateLeft, rotateRight, secondBit, shiftCount, unlessZero } from './shift.ts'

const CF_OF = RFLAGS_CF | RFLAGS_OF

// ROL and ROR: CF and OF change when the masked count is not zero, even when it is a multiple of the width.

define('ROL', (s) =>
  s.modify(0, (a, bits) => {
    const count = shiftCount(s, 1, bits)
    const res = s.e.let(bits >= 32 ? rotateLeft(bits, a, zeroExtend(32, bits, count)) : rotateNarrow(s, bits, a, count, true))
    unlessZero(s, count, () => {
      const cf = s.e.let(lowBit(bits, res))
      s.e.flags.replace(CF_OF, carryAndOverflow(cf, xor(32, cf, signBit(bits, res))))
    })
    return res
  }),
)

define('ROR', (s) =>
  s.modify(0, (a, bits) => {
    const count = shiftCount(s, 1, bits)
    const res = s.e.let(bits >= 32 ? rotateRight(bits, a, zeroExtend(32, bits, count)) : rotateNarrow(s, bits, a, count, false))
    unlessZero(s, count, () => {
      const cf = s.e.let(signBit(bits, res))
      s.e.flags.replace(CF_OF, carryAndOverflow(cf, xor(32, cf, secondBit(bits, res))))
    })
    return res
  }),
)

/** An 8- or 16-bit value, doubled, shifted. */
function rotateNarrow(s: InstructionSite, bits: Bits, a: Expr, count: Expr, left: boolean): Expr {
  const n = s.e.let(and(32, count, i32(bits - 1)))
  const twice = or(32, binary(W.i32_shl, I32, a, i32(bits)), a)
  return left ? low(32, bits, shrU(32, binary(W.i32_shl, I32, twice, n), i32(bits))) : low(32, bits, shrU(32, twice, n))
}

// ---- rotations through the carry flag ----

/** The count modulo width + 1 (8 and 16 bits; wider counts are below the width already), an i32 leaf. */
function carryRotateCount(s: InstructionSite, bits: Bits, count: Expr): Expr {
  if (bits >= 32) return count
  if (isConst(count)) return i32(count.lo % (bits + 1))
  return s.e.let(binary(W.i32_rem_u, I32, count, i32(bits + 1)))
}

function rotateThroughCarry(s: InstructionSite, left: boolean): void {
  s.modify(0, (a, bits) => {
    const e = s.e
    const masked = shiftCount(s, 1, bits)
    const count = carryRotateCount(s, bits, masked)
    const carry = e.let(e.flags.carry())
    const { res, cf } = bits === 64 ? rotate65(s, left, a, carry, count) : rotateWithinWord(s, left, bits, a, carry, count)
    unlessZero(s, masked, () => {
      const top = e.let(signBit(bits, res))
      e.flags.replace(CF_OF, carryAndOverflow(cf, xor(32, top, left ? cf : secondBit(bits, res))))
    })
    return res
  })
}
define('RCL', (s) => rotateThroughCarry(s, true))
define('RCR', (s) => rotateThroughCarry(s, false))

/** carry:a as one i64 of width + 1 bits. */
function rotateWithinWord(
  s: InstructionSite,
  left: boolean,
  bits: Bits,
  a: Expr,
  carry: Expr,
  count: Expr,
): { res: Expr; cf: Expr } {
  const e = s.e
  const n = e.let(zeroExtend(32, 64, count))
  const rest = e.let(sub(64, i64(bits + 1), n))
  const whole = e.let(or(64, zeroExtend(bits, 64, a), shl(64, zeroExtend(32, 64, carry), i64(bits))))
  const rotated = e.let(or(64, shl(64, whole, left ? n : rest), shrU(64, whole, left ? rest : n)))
  return { res: e.let(low(64, bits, rotated)), cf: e.let(lowBit(64, shrU(64, rotated, i64(bits)))) }
}

function rotate65(s: InstructionSite, left: boolean, a: Expr, carry: Expr, count: Expr): { res: Expr; cf: Expr } {
  const e = s.e
  const res = e.variable(a)
  const cf = e.variable(carry)
  e.if(count, () => {
    const n = e.let(zeroExtend(32, 64, count))
    const before = e.let(sub(64, n, i64(1)))
    // 64 - n, at most 63 here
    const rest = e.let(sub(64, i64(64), n))
    const wideCarry = zeroExtend(32, 64, carry)
    const one = constant(64, 1)
    const joined = left
      ? or(64, or(64, shl(64, a, n), shl(64, wideCarry, before)), shrU(64, shrU(64, a, one), rest))
      : or(64, or(64, shrU(64, a, n), shl(64, wideCarry, rest)), shl(64, shl(64, a, one), rest))
    e.assign(res, joined)
    e.assign(cf, lowBit(64, shrU(64, a, left ? rest : before)))
  })
  return { res, cf }
}
