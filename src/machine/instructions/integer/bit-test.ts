import { OpKind } from '../../decoder/iced-tables.ts'
import { RFLAGS_CF } from '../../flags.ts'
import { define } from '../../translate/definitions.ts'
import { loadInt, storeOp } from '../../translate/emitter.ts'
import {
  add,
  and,
  type Bits,
  binary,
  constant,
  type Expr,
  i64,
  not,
  or,
  shl,
  shrU,
  signExtend,
  xor,
} from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { I64, W } from '../../wasm/opcodes.ts'
import { lowBit } from './shift.ts'

type Change = (bits: Bits, old: Expr, mask: Expr) => Expr

/** BT, BTS, BTR, BTC: CF = the selected bit; the other flags stay (ZF by the SDM, the rest as processors do). */
function bitTest(s: InstructionSite, change: Change | null): void {
  const e = s.e
  const bits = s.bitsOf(0)
  const index = s.read(1)
  const position = e.let(and(bits, index, constant(bits, bits - 1)))
  const mask = () => shl(bits, constant(bits, 1), position)
  const carryFrom = (old: Expr) => e.flags.replace(RFLAGS_CF, lowBit(bits, shrU(bits, old, position)))
  if (s.isRegister(0)) {
    const old = s.read(0)
    carryFrom(old)
    if (change !== null) s.write(0, change(bits, old, mask()))
    return
  }
  const address = e.let(bitStringAddress(s, bits, index))
  if (change === null) {
    carryFrom(e.loadInt(address, bits))
    return
  }
  const pointer = s.modifyPointer(address, bits / 8)
  const old = e.let(loadInt(pointer, bits))
  carryFrom(old)
  e.store(storeOp(bits), pointer, 0, change(bits, old, mask()))
  e.commit(pointer)
}

/** With the bit offset in a register the operand is a bit string: a signed offset from the operand's address. */
function bitStringAddress(s: InstructionSite, bits: Bits, index: Expr): Expr {
  if (s.d.opKind[1] !== OpKind.Register) return s.memoryAddress()
  const words = binary(W.i64_shr_s, I64, signExtend(bits, 64, index), i64(Math.log2(bits)))
  const sum = add(64, s.effectiveAddress(), shl(64, words, i64(Math.log2(bits / 8))))
  const addressBits = s.addressBits()
  const effective = addressBits === 64 ? sum : and(64, sum, i64(addressBits === 32 ? -1 : 0xffff, 0))
  return s.linear(effective, s.d.memorySegment)
}

define('BT', (s) => bitTest(s, null))
define('BTS', (s) => bitTest(s, (bits, old, mask) => or(bits, old, mask)))
define('BTR', (s) => bitTest(s, (bits, old, mask) => and(bits, old, not(bits, mask))))
define('BTC', (s) => bitTest(s, (bits, old, mask) => xor(bits, old, mask)))
