import { define } from '../../translate/definitions.ts'
import {
  and,
  type Bits,
  constant,
  type Expr,
  eqz,
  gtU,
  i32,
  ltU,
  ne,
  or,
  select,
  shl,
  shrU,
  sub,
  wrap,
  xor,
  zeroExtend,
  zeroOf,
} from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'

// BMI1 and BMI2. CF as said; OF = 0, SF and ZF from the result; AF and PF undefined (SDM).

const complement = (bits: Bits, a: Expr): Expr => xor(bits, a, constant(bits, -1))

define('ANDN', (s) => {
  const bits = s.bitsOf(0)
  const res = s.e.let(and(bits, complement(bits, s.read(1)), s.read(2)))
  s.e.flags.fromLogic(bits, res)
  s.write(0, res)
})

/** The three operations on the lowest set bit; `carry` gets the source. */
function lowestBit(operation: (bits: Bits, a: Expr) => Expr, carry: (bits: Bits, a: Expr) => Expr) {
  return (s: InstructionSite): void => {
    const bits = s.bitsOf(0)
    const source = s.read(1)
    const res = s.e.let(operation(bits, source))
    s.e.flags.fromResult(bits, res, carry(bits, source))
    s.write(0, res)
  }
}
const lessOne = (bits: Bits, a: Expr): Expr => sub(bits, a, constant(bits, 1))
define(
  'BLSI',
  lowestBit(
    (bits, a) => and(bits, sub(bits, zeroOf(bits), a), a),
    (bits, a) => ne(bits, a, zeroOf(bits)),
  ),
)
define(
  'BLSMSK',
  lowestBit(
    (bits, a) => xor(bits, lessOne(bits, a), a),
    (bits, a) => eqz(bits, a),
  ),
)
define(
  'BLSR',
  lowestBit(
    (bits, a) => and(bits, lessOne(bits, a), a),
    (bits, a) => eqz(bits, a),
  ),
)

/** A control byte of the third operand, as i32. */
const controlByte = (s: InstructionSite, bits: Bits, value: Expr, byte: number): Expr => {
  const word = bits === 64 ? wrap(value) : value
  return s.e.let(and(32, byte === 0 ? word : shrU(32, word, i32(8)), i32(0xff)))
}

/** The low `length` bits (i32 leaf, may exceed the width) of a leaf. */
function lowBits(bits: Bits, value: Expr, length: Expr): Expr {
  const mask = sub(bits, shl(bits, constant(bits, 1), zeroExtend(32, bits, length)), constant(bits, 1))
  return select(ltU(32, length, i32(bits)), and(bits, value, mask), value)
}

define('BEXTR', (s) => {
  const bits = s.bitsOf(0)
  const source = s.read(1)
  const control = s.read(2)
  const start = controlByte(s, bits, control, 0)
  const length = controlByte(s, bits, control, 8)
  const shifted = s.e.let(select(ltU(32, start, i32(bits)), shrU(bits, source, zeroExtend(32, bits, start)), zeroOf(bits)))
  const res = s.e.let(lowBits(bits, shifted, length))
  s.e.flags.fromLogic(bits, res)
  s.write(0, res)
})

define('BZHI', (s) => {
  const bits = s.bitsOf(0)
  const source = s.read(1)
  const index = controlByte(s, bits, s.read(2), 0)
  const res = s.e.let(lowBits(bits, source, index))
  s.e.flags.fromResult(bits, res, gtU(32, index, i32(bits - 1)))
  s.write(0, res)
})

/** Goes through the set bits of the mask from the lowest; each turn `step` gets that bit and the n-th bit of the other side. */
function forEachMaskBit(s: InstructionSite, bits: Bits, mask: Expr, step: (maskBit: Expr, nth: Expr) => void): void {
  const e = s.e
  const rest = e.variable(mask)
  const nth = e.variable(constant(bits, 1))
  e.block((done) =>
    e.loop((again) => {
      e.brIf(done, eqz(bits, rest))
      const lowest = e.let(and(bits, rest, sub(bits, zeroOf(bits), rest)))
      step(lowest, nth)
      e.assign(nth, shl(bits, nth, constant(bits, 1)))
      e.assign(rest, xor(bits, rest, lowest))
      e.br(again)
    }),
  )
}

define('PEXT', (s) => {
  const bits = s.bitsOf(0)
  const source = s.read(1)
  const res = s.e.variable(zeroOf(bits))
  forEachMaskBit(s, bits, s.read(2), (maskBit, nth) => {
    s.e.if(ne(bits, and(bits, source, maskBit), zeroOf(bits)), () => s.e.assign(res, or(bits, res, nth)))
  })
  s.write(0, res)
})

define('PDEP', (s) => {
  const bits = s.bitsOf(0)
  const source = s.read(1)
  const res = s.e.variable(zeroOf(bits))
  forEachMaskBit(s, bits, s.read(2), (maskBit, nth) => {
    s.e.if(ne(bits, and(bits, source, nth), zeroOf(bits)), () => s.e.assign(res, or(bits, res, maskBit)))
  })
  s.write(0, res)
})
