import { OpKind, Register } from '../../decoder/iced-tables.ts'
import { MODE_STACK_32 } from '../../mode.ts'
import { define } from '../../translate/definitions.ts'
import { add, and, type Bits, type Expr, i32, i64, low, or, sub, zeroExtend } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { isSegmentRegister, selector } from './move.ts'

const RSP = 4
const RBP = 5

/** Width of the stack pointer in use: RSP, ESP or SP. */
export const stackBits = (s: InstructionSite): 16 | 32 | 64 => (s.is64 ? 64 : s.mode & MODE_STACK_32 ? 32 : 16)

/** An i64 cut to the stack pointer's width. */
export function wrapStack(s: InstructionSite, value: Expr): Expr {
  const bits = stackBits(s)
  return bits === 64 ? value : and(64, value, i64(bits === 32 ? -1 : 0xffff, 0))
}
/** The stack pointer, as an i64 leaf. */
export const stackPointer = (s: InstructionSite): Expr => s.e.let(wrapStack(s, s.e.gprNow(RSP)))

/** Writes the stack pointer; `value` is already cut to its width. */
export function setStackPointer(s: InstructionSite, value: Expr): void {
  if (stackBits(s) !== 16) s.e.setGpr(RSP, value)
  else s.e.setGpr(RSP, or(64, and(64, s.e.gprNow(RSP), i64(~0xffff)), value))
}

export function push(s: InstructionSite, bits: Bits, value: Expr): void {
  const kept = s.e.let(value)
  const top = s.e.let(wrapStack(s, sub(64, stackPointer(s), i64(bits / 8))))
  s.e.storeInt(s.stackAddress(top), bits, kept)
  setStackPointer(s, top)
}

/** Reads the top of the stack: the value (a leaf) and the stack pointer above it, which is not yet written. */
export function peek(s: InstructionSite, bits: Bits): { value: Expr; above: Expr } {
  const top = stackPointer(s)
  const value = s.e.loadInt(s.stackAddress(top), bits)
  return { value, above: s.e.let(wrapStack(s, add(64, top, i64(bits / 8)))) }
}

/** iced's Code numbers (1.21.0) of the stack instructions whose operands do not tell the operand size. */
const CODES_16 = [17, 33, 48, 64, 1942, 1992, 19, 35, 50, 66, 1945, 1995, 408, 411] // Pushw/Popw_Sreg, Enterw, Leavew
const CODES_32 = [18, 34, 49, 65, 1943, 1993, 20, 51, 67, 1946, 1996, 409, 412] // Pushd/Popd_Sreg, Enterd, Leaved

/** Operand size of PUSH and POP of a segment register, ENTER and LEAVE. */
function stackOperandBits(s: InstructionSite): 16 | 32 | 64 {
  return CODES_16.includes(s.d.code) ? 16 : CODES_32.includes(s.d.code) ? 32 : 64
}

/** Width of what PUSH and POP move. */
function transferBits(s: InstructionSite): Bits {
  switch (s.d.opKind[0]) {
    case OpKind.Immediate16:
    case OpKind.Immediate8to16:
      return 16
    case OpKind.Immediate32:
    case OpKind.Immediate8to32:
      return 32
    case OpKind.Immediate8to64:
    case OpKind.Immediate32to64:
      return 64
    case OpKind.Register:
      return isSegmentRegister(s.d.opRegister[0]) ? stackOperandBits(s) : s.bitsOf(0)
    default:
      return s.bitsOf(0)
  }
}

define('PUSH', (s) => {
  const bits = transferBits(s)
  // A selector is pushed zero-extended (SDM: or with a 16-bit write; AMD's processors extend).
  const value =
    s.isRegister(0) && isSegmentRegister(s.d.opRegister[0])
      ? zeroExtend(16, bits, selector(s, s.d.opRegister[0]))
      : s.read(0, bits)
  push(s, bits, value)
})

define('POP', (s) => {
  const bits = transferBits(s)
  if (s.isRegister(0) && isSegmentRegister(s.d.opRegister[0])) {
    // Reads the stack, loads the segment register, moves the stack pointer: faults of all three come first.
    s.callOut('pop-segment', i32((s.d.opRegister[0] - Register.ES) | (bits << 8)))
    return
  }
  const { value, above } = peek(s, bits)
  if (s.isRegister(0)) {
    setStackPointer(s, above)
    s.write(0, value)
    return
  }
  // The destination's address is computed with the stack pointer already moved; RSP is back for a fault of the store.
  const before = s.e.gpr(RSP)
  setStackPointer(s, above)
  const address = s.memoryAddress()
  s.e.setGpr(RSP, before)
  s.e.storeInt(address, bits, value)
  setStackPointer(s, above)
})

// ---- all registers (not in 64-bit mode) ----

function pushAll(bits: 16 | 32) {
  return (s: InstructionSite): void => {
    const top = stackPointer(s)
    const below = (slot: number) => wrapStack(s, sub(64, top, i64((slot * bits) / 8)))
    for (let r = 0; r < 8; r++) s.e.storeInt(s.stackAddress(below(r + 1)), bits, low(64, bits, s.e.gpr(r)))
    setStackPointer(s, below(8))
  }
}
define('PUSHA', pushAll(16))
define('PUSHAD', pushAll(32))

function popAll(bits: 16 | 32) {
  return (s: InstructionSite): void => {
    const top = stackPointer(s)
    const above = (slot: number) => wrapStack(s, add(64, top, i64((slot * bits) / 8)))
    const values: Expr[] = []
    for (let slot = 0; slot < 8; slot++) values.push(s.e.loadInt(s.stackAddress(above(slot)), bits))
    const first = bits === 16 ? Register.AX : Register.EAX
    for (let r = 0; r < 8; r++) if (r !== RSP) s.writeGpr(first + r, values[7 - r])
    setStackPointer(s, above(8))
  }
}
define('POPA', popAll(16))
define('POPAD', popAll(32))

// ---- frames ----

const basePointer: Record<16 | 32 | 64, number> = { 16: Register.BP, 32: Register.EBP, 64: Register.RBP }

/** ENTER size, level. Registers are written last; SDM Vol. 2, ENTER. */
define('ENTER', (s) => {
  const e = s.e
  const bits = stackOperandBits(s)
  const level = s.d.immediate2 & 31
  const old = e.gpr(RBP)
  const top = stackPointer(s)
  let depth = 0
  const pushValue = (value: Expr) => {
    depth += bits / 8
    e.storeInt(s.stackAddress(wrapStack(s, sub(64, top, i64(depth)))), bits, value)
  }
  pushValue(low(64, bits, old))
  const frame = e.let(wrapStack(s, sub(64, top, i64(depth))))
  for (let i = 1; i < level; i++) {
    const link = wrapStack(s, sub(64, old, i64((i * bits) / 8)))
    pushValue(e.loadInt(s.stackAddress(link), bits))
  }
  if (level > 0) pushValue(low(64, bits, frame))
  const end = e.let(wrapStack(s, sub(64, top, i64(depth + (s.d.immediateLo & 0xffff)))))
  // The new top of the stack must be writable (SDM: a write there would fault).
  e.modifyPointer(s.stackAddress(end), bits / 8)
  s.writeGpr(basePointer[bits], low(64, bits, frame))
  setStackPointer(s, end)
})

define('LEAVE', (s) => {
  const e = s.e
  const bits = stackOperandBits(s)
  const frame = e.let(wrapStack(s, e.gprNow(RBP)))
  const value = e.loadInt(s.stackAddress(frame), bits)
  setStackPointer(s, wrapStack(s, add(64, frame, i64(bits / 8))))
  s.writeGpr(basePointer[bits], value)
})
