import { isFarPointer, isNearBranch } from '../../cet-instructions.ts'
import { OpKind, Register } from '../../decoder/iced-tables.ts'
import { REG } from '../../execution-context.ts'
import { SPILL } from '../../memory-map.ts'
import { MODE_SHADOW_STACK, MODE_STACK_32 } from '../../mode.ts'
import { define } from '../../translate/definitions.ts'
import { and, type Bits, binary, constant, type Expr, eqz, i64, low, ne, sub, zeroExtend, zeroOf } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { I64, W } from '../../wasm/opcodes.ts'
import { trackBranch } from './branch-tracking.ts'
import { emitShadowCall, emitShadowReturn } from './shadow-call.ts'

/** Jumps, calls, returns and loops within a code segment. SDM Vol. 2 "Jcc", "JMP", "CALL", "RET", "LOOP". */

const CONDITIONS = ['O', 'NO', 'B', 'AE', 'E', 'NE', 'BE', 'A', 'S', 'NS', 'P', 'NP', 'L', 'GE', 'LE', 'G']
CONDITIONS.forEach((cc, code) => {
  define(`J${cc}`, (s) => {
    const next = s.d.offset + s.d.length
    s.region.branchIf(s.e.flags.condition(code), next + s.d.branchDisplacement, next)
  })
})

/** Width of stack pushes by near calls: 64 in 64-bit mode, else the operand size. */
const stackBits = (s: InstructionSite): Bits => {
  if (s.is64) return 64
  return isNearBranch(s.d) ? (s.d.opKind[0] === OpKind.NearBranch16 ? 16 : 32) : s.bitsOf(0)
}

/** Width of the stack pointer. */
const stackPointerBits = (s: InstructionSite): Bits => (s.is64 ? 64 : s.mode & MODE_STACK_32 ? 32 : 16)

/** RSP plus a displacement, at the stack-pointer width, as i64. */
export function stackPointer(s: InstructionSite, displacement: number): Expr {
  const rsp = s.e.gprNow(REG.RSP)
  const moved = displacement === 0 ? rsp : binary(W.i64_add, I64, rsp, i64(displacement))
  const bits = stackPointerBits(s)
  return s.e.let(bits === 64 ? moved : and(64, moved, i64(bits === 32 ? -1 : 0xffff, 0)))
}
/** Writes RSP at the stack-pointer width. */
export function setStackPointer(s: InstructionSite, value: Expr): void {
  const bits = stackPointerBits(s)
  if (bits === 16) s.writeGpr(Register.SP, low(64, 16, value))
  else s.e.setGpr(REG.RSP, value)
}
export function push(s: InstructionSite, bits: Bits, value: Expr): void {
  const kept = s.e.let(value)
  const sp = stackPointer(s, -bits / 8)
  s.e.storeInt(s.stackAddress(sp), bits, kept)
  setStackPointer(s, sp)
}
/** The value at the top of the stack; RSP is moved by `moveBy` bytes more than its size. */
export function pop(s: InstructionSite, bits: Bits, moveBy = 0): Expr {
  const value = s.e.loadInt(s.stackAddress(stackPointer(s, 0)), bits)
  setStackPointer(s, stackPointer(s, bits / 8 + moveBy))
  return value
}

define('JMP', (s) => {
  if (isNearBranch(s.d)) {
    s.region.goTo(s.d.offset + s.d.length + s.d.branchDisplacement)
    return
  }
  if (isFarPointer(s.d)) return farBranch(s, false)
  const target = s.read(0)
  trackBranch(s)
  jumpTo(s, zeroExtend(s.bitsOf(0), 64, target))
})

define('CALL', (s) => {
  if (usesShadowStack(s) && !isFarPointer(s.d)) return shadowCall(s)
  if (isNearBranch(s.d)) {
    push(s, stackBits(s), low(64, stackBits(s), s.nextRip))
    s.region.goTo(s.d.offset + s.d.length + s.d.branchDisplacement)
    return
  }
  if (isFarPointer(s.d)) return farBranch(s, true)
  const target = s.read(0)
  push(s, s.bitsOf(0), low(64, s.bitsOf(0), s.nextRip))
  trackBranch(s)
  jumpTo(s, zeroExtend(s.bitsOf(0), 64, target))
})

define('RET', (s) => {
  const bits: Bits = s.is64 ? 64 : (s.codeBits as Bits)
  const released = s.d.opCount > 0 ? s.d.immediateLo & 0xffff : 0
  if (usesShadowStack(s)) return emitShadowReturn(s, bits, released)
  jumpTo(s, zeroExtend(bits, 64, pop(s, bits, released)))
})

/** CALL while the shadow stack is on. */
function shadowCall(s: InstructionSite): void {
  const near = isNearBranch(s.d)
  const bits = near ? stackBits(s) : s.bitsOf(0)
  s.e.setCtx64(SPILL, near ? s.ripAt(s.d.offset + s.d.length + s.d.branchDisplacement) : zeroExtend(bits, 64, s.read(0)))
  emitShadowCall(s, bits, near ? s.d.branchDisplacement : null)
}
const usesShadowStack = (s: InstructionSite): boolean => (s.mode & MODE_SHADOW_STACK) !== 0

/** Operand size of a far return: from the decoder's code, which iced orders 16, 32, 64. */
const farOperandBits = (s: InstructionSite): number =>
  s.d.operandBits === 0 ? (s.codeBits === 64 ? 32 : s.codeBits) : s.d.operandBits

/** Far JMP and CALL: offset to SPILL, selector to SPILL + 8. */
function farBranch(s: InstructionSite, isCall: boolean): void {
  let bits: Bits
  if (s.isMemory(0)) {
    bits = ((s.d.memoryBytes - 2) * 8) as Bits
    const address = s.memoryAddress()
    const offset = s.e.loadInt(address, bits)
    const selector = s.e.loadInt(binary(W.i64_add, I64, address, i64(bits / 8)), 16)
    s.e.setCtx64(SPILL, zeroExtend(bits, 64, offset))
    s.e.setCtx32(SPILL + 8, selector)
  } else {
    bits = s.d.opKind[0] === 4 ? 16 : 32
    s.e.setCtx64(SPILL, i64(s.d.farOffset, 0))
    s.e.setCtx32(SPILL + 8, constant(32, s.d.farSelector))
  }
  s.callOutAndJump('far-branch', constant(32, bits | (isCall ? 0x100 : 0)))
}

/** A non-canonical target faults at the jump on Intel; the fetch that follows reports it here, with RIP at the target. */
function jumpTo(s: InstructionSite, rip: Expr): void {
  s.region.goToValue(rip)
}

/** Counter register of LOOP and JrCXZ by address size (the decoder names the instruction's count register in its mnemonic). */
function counter(s: InstructionSite, bits: Bits): Expr {
  return s.e.let(low(64, bits, s.e.gprNow(REG.RCX)))
}
for (const [name, bits] of [
  ['JCXZ', 16],
  ['JECXZ', 32],
  ['JRCXZ', 64],
] as const) {
  define(name, (s) => {
    const next = s.d.offset + s.d.length
    s.region.branchIf(eqz(bits, counter(s, bits)), next + s.d.branchDisplacement, next)
  })
}
for (const [name, zf] of [
  ['LOOP', -1],
  ['LOOPE', 1],
  ['LOOPNE', 0],
] as const) {
  define(name, (s) => {
    const bits: Bits = s.is64 ? 64 : (s.codeBits as Bits)
    const count = s.e.let(sub(bits, counter(s, bits), constant(bits, 1)))
    s.writeGpr(bits === 64 ? Register.RCX : bits === 32 ? Register.ECX : Register.CX, count)
    let condition = ne(bits, count, zeroOf(bits))
    if (zf >= 0) condition = and(32, condition, s.e.flags.condition(zf === 1 ? 4 : 5))
    const next = s.d.offset + s.d.length
    s.region.branchIf(condition, next + s.d.branchDisplacement, next)
  })
}

define('UD2', (s) => s.raise(6))
define('INT3', (s) => s.callOutAndJump('software-exception', constant(32, 3)))
define('INT1', (s) => s.callOutAndJump('software-exception', constant(32, 1)))
define('INT', (s) => s.callOutAndJump('software-interrupt', constant(32, s.d.immediateLo & 0xff)))
define('SYSCALL', (s) => s.callOutAndJump('syscall'))
define('SYSRET', (s) => s.callOutAndJump('sysret', constant(32, 32)))
define('SYSRETQ', (s) => s.callOutAndJump('sysret', constant(32, 64)))
define('SYSENTER', (s) => s.callOutAndJump('sysenter'))
define('SYSEXIT', (s) => s.callOutAndJump('sysexit', constant(32, 32)))
define('SYSEXITQ', (s) => s.callOutAndJump('sysexit', constant(32, 64)))
define('IRET', (s) => s.callOutAndJump('iret', constant(32, 16)))
define('IRETD', (s) => s.callOutAndJump('iret', constant(32, 32)))
define('IRETQ', (s) => s.callOutAndJump('iret', constant(32, 64)))
define('RETF', (s) => {
  const released = s.d.opCount > 0 ? s.d.immediateLo & 0xffff : 0
  s.callOutAndJump('far-return', constant(32, farOperandBits(s) | (released << 8)))
})
