import { RFLAGS_CF, RFLAGS_OF } from '../../flags.ts'
import { define } from '../../translate/definitions.ts'
import {
  add,
  and,
  type Bits,
  constant,
  type Expr,
  i32,
  ltU,
  not,
  or,
  shl,
  shrU,
  sub,
  xor,
  zeroExtend,
  zeroOf,
} from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'

define('ADD', (s) =>
  s.modify(0, (a, bits) => {
    const b = s.read(1)
    const res = s.e.let(add(bits, a, b))
    s.e.flags.fromAdd(bits, a, b, res)
    return res
  }),
)
define('ADC', (s) =>
  s.modify(0, (a, bits) => {
    const b = s.read(1)
    const carry = zeroExtend(32, bits, s.e.flags.carry())
    const res = s.e.let(add(bits, add(bits, a, b), carry))
    s.e.flags.fromAdd(bits, a, b, res, true)
    return res
  }),
)

function subtract(s: InstructionSite, bits: Bits, a: Expr, b: Expr): Expr {
  const res = s.e.let(sub(bits, a, b))
  s.e.flags.fromSub(bits, a, b, res)
  return res
}
define('SUB', (s) => s.modify(0, (a, bits) => subtract(s, bits, a, s.read(1))))
define('CMP', (s) => {
  const a = s.read(0)
  subtract(s, s.bitsOf(0), a, s.read(1))
})
define('NEG', (s) => s.modify(0, (a, bits) => subtract(s, bits, zeroOf(bits), a)))
define('SBB', (s) =>
  s.modify(0, (a, bits) => {
    const b = s.read(1)
    const borrow = zeroExtend(32, bits, s.e.flags.carry())
    const res = s.e.let(sub(bits, sub(bits, a, b), borrow))
    s.e.flags.fromSub(bits, a, b, res, true)
    return res
  }),
)

function logic(operation: (bits: Bits, a: Expr, b: Expr) => Expr) {
  return (s: InstructionSite): void =>
    s.modify(0, (a, bits) => {
      const res = s.e.let(operation(bits, a, s.read(1)))
      s.e.flags.fromLogic(bits, res)
      return res
    })
}
define('AND', logic(and))
define('OR', logic(or))
define('XOR', logic(xor))
define('TEST', (s) => {
  const a = s.read(0)
  s.e.flags.fromLogic(s.bitsOf(0), s.e.let(and(s.bitsOf(0), a, s.read(1))))
})
define('NOT', (s) => s.modify(0, (a, bits) => not(bits, a)))

define('INC', (s) =>
  s.modify(0, (a, bits) => {
    const carry = s.e.let(s.e.flags.carry())
    const res = s.e.let(add(bits, a, constant(bits, 1)))
    s.e.flags.fromInc(bits, carry, res)
    return res
  }),
)
define('DEC', (s) =>
  s.modify(0, (a, bits) => {
    const carry = s.e.let(s.e.flags.carry())
    const res = s.e.let(sub(bits, a, constant(bits, 1)))
    s.e.flags.fromDec(bits, carry, res)
    return res
  }),
)

/** ADCX and ADOX: an addition whose carry goes in and out through one flag; the others stay. */
function addWithFlag(flag: number, carryIn: (s: InstructionSite) => Expr) {
  return (s: InstructionSite): void => {
    const bits = s.bitsOf(0)
    const a = s.read(0)
    const b = s.read(1)
    const carry = s.e.let(carryIn(s))
    const partial = s.e.let(add(bits, a, b))
    const res = s.e.let(add(bits, partial, zeroExtend(32, bits, carry)))
    const carryOut = or(32, ltU(bits, partial, a), ltU(bits, res, partial))
    s.e.flags.replace(flag, shl(32, carryOut, i32(Math.log2(flag))))
    s.write(0, res)
  }
}
define(
  'ADCX',
  addWithFlag(RFLAGS_CF, (s) => s.e.flags.carry()),
)
define(
  'ADOX',
  addWithFlag(RFLAGS_OF, (s) => and(32, shrU(32, s.e.flags.all(), i32(11)), i32(1))),
)
