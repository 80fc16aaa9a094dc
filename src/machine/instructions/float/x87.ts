import { CTL } from '../../execution-context.ts'
import {
  ENVIRONMENT_PROTECTED_16,
  ENVIRONMENT_PROTECTED_32,
  ENVIRONMENT_REAL_16,
  ENVIRONMENT_REAL_32,
} from '../../float/x87-environment.ts'
import { CONTROL, FLOAT_SCRATCH, X87_FDP, X87_FSW } from '../../memory-map.ts'
import { MODE_REAL, MODE_TS, MODE_X87_NM } from '../../mode.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { loadInt, storeOp } from '../../translate/emitter.ts'
import { and, type Bits, binary, type Expr, i32, load, ltS, select } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { I32, W } from '../../wasm/opcodes.ts'

/**
 * x87 instructions. All run in TypeScript (float/x87.ts) on the register file: memory operands pass through FLOAT_SCRATCH,
 * which the assist leaves the operand to store in. #NM and #MF of an earlier instruction come before memory faults, and those
 * before any change; an unmasked exception of the instruction itself waits for the next one (SDM Vol. 1, 8.7).
 *
 * CR0.NE = 0 (FERR# and an external interrupt) is not modelled: #MF is raised in either case.
 */

// Offsets in FLOAT_SCRATCH.
const OPERAND = 0
/** FIP and FDP of the instruction, u64 each; RFLAGS in and out (-1: not changed), bytes to store; u32 each. */
const INSTRUCTION_POINTER = 0x110
const DATA_POINTER = 0x118
const FLAGS = 0x120
const STORED = 0x124

const OPCODE_MASK = 0x7ff
const LAYOUT_SHIFT = 11
/** Not a control instruction: it leaves its address in FIP. */
const LOCATED = 1 << 13
/** It has a memory operand; FDP stays as it is without one (SDM calls it undefined; a Zen 4 keeps it). */
const HAS_DATA = 1 << 14

/** Argument: opcode, ENVIRONMENT_* layout, LOCATED, HAS_DATA. */
registerCallOut('x87', (p, _ctx, argument) => {
  const { x87 } = p
  const opcode = argument & OPCODE_MASK
  if (argument & LOCATED) {
    const ip = FLOAT_SCRATCH + INSTRUCTION_POINTER
    const dp = argument & HAS_DATA ? FLOAT_SCRATCH + DATA_POINTER : X87_FDP
    x87.locate(opcode, p.registerFile32(ip), p.registerFile32(ip + 4), p.registerFile32(dp), p.registerFile32(dp + 4))
  }
  const flags = p.registerFile32(FLOAT_SCRATCH + FLAGS)
  const vector = x87.execute(opcode, p.registerFile + FLOAT_SCRATCH + OPERAND, flags, (argument >> LAYOUT_SHIFT) & 3)
  if (vector !== 0) {
    p.raise(vector, 0, vector === MF ? 'x87 exception' : null)
    return 1
  }
  p.setRegisterFile32(FLOAT_SCRATCH + FLAGS, x87.rflags)
  p.setRegisterFile32(FLOAT_SCRATCH + STORED, x87.stored)
  return 0
})

const NM = 7
const MF = 16
const FSW_ES = 0x80
const CR0_MP = 2

/** Instructions that do not look at pending exceptions, and others that do not count as last instruction. SDM Vol. 1, 8.1.8 and 8.3.11. */
const NOT_WAITING = new Set(['FNINIT', 'FNCLEX', 'FNSTCW', 'FNSTSW', 'FNSTENV', 'FNSAVE', 'FNENI', 'FNDISI', 'FNSETPM', 'FRSTPM'])
const CONTROL_INSTRUCTIONS = new Set([...NOT_WAITING, 'FLDCW', 'FLDENV', 'FRSTOR'])
const READ_FLAGS = /^FCMOV/
const WRITE_FLAGS = /^FU?COMIP?$/
/** What writes its memory operand. */
const STORES = new Set(['FST', 'FSTP', 'FIST', 'FISTP', 'FISTTP', 'FBSTP', 'FNSTCW', 'FNSTSW', 'FNSTENV', 'FNSAVE'])

const word = (s: InstructionSite, offset: number): Expr => load(W.i32_load, I32, s.e.fpu, FLOAT_SCRATCH + offset)

function raisePending(s: InstructionSite): void {
  s.raiseIf(and(32, load(W.i32_load16_u, I32, s.e.fpu, X87_FSW), i32(FSW_ES)), MF)
}

function x87Instruction(name: string): (s: InstructionSite) => void {
  const waits = !NOT_WAITING.has(name)
  const located = !CONTROL_INSTRUCTIONS.has(name)
  return (s) => {
    const { e } = s
    if (s.mode & MODE_X87_NM) return s.raise(NM)
    if (waits) raisePending(s)
    const pointer = prepareMemory(s, STORES.has(name), located)
    if (located) e.store(W.i64_store, e.fpu, FLOAT_SCRATCH + INSTRUCTION_POINTER, s.rip)
    const setsFlags = WRITE_FLAGS.test(name)
    const flags = setsFlags || READ_FLAGS.test(name) ? e.let(e.flags.all()) : null
    if (flags !== null) e.store(W.i32_store, e.fpu, FLOAT_SCRATCH + FLAGS, flags)
    s.assist(
      'x87',
      i32(s.d.x87Opcode | (layoutOf(s) << LAYOUT_SHIFT) | (located ? LOCATED : 0) | (memoryOperand(s) < 0 ? 0 : HAS_DATA)),
    )
    if (pointer !== null) storeOperand(s, pointer)
    else if (s.isRegister(0) && name === 'FNSTSW') s.write(0, load(W.i32_load16_u, I32, e.fpu, FLOAT_SCRATCH + OPERAND))
    if (setsFlags && flags !== null) e.flags.fromBits(select(ltS(32, word(s, FLAGS), i32(0)), flags, word(s, FLAGS)))
  }
}

/** Number of the memory operand, or -1. */
const memoryOperand = (s: InstructionSite): number =>
  s.d.opCount > 0 && s.isMemory(0) ? 0 : s.d.opCount > 1 && s.isMemory(1) ? 1 : -1

/**
 * Copies a source operand to scratch, or checks that a destination can be written. FDP gets the operand's effective address.
 * @returns where a destination is, null without one
 */
function prepareMemory(s: InstructionSite, writes: boolean, located: boolean): Expr | null {
  const { e, d } = s
  if (memoryOperand(s) < 0) return null
  const effective = e.let(s.effectiveAddress())
  if (located) e.store(W.i64_store, e.fpu, FLOAT_SCRATCH + DATA_POINTER, effective)
  const linear = s.linear(effective, d.memorySegment)
  if (writes) return e.modifyPointer(linear, d.memoryBytes)
  copy(s, d.memoryBytes, binary(W.i32_add, I32, e.fpu, i32(FLOAT_SCRATCH + OPERAND)), e.readPointer(linear, d.memoryBytes))
  return null
}

/** Unless an unmasked exception suppressed it. */
function storeOperand(s: InstructionSite, pointer: Expr): void {
  const { e } = s
  e.if(word(s, STORED), () => {
    copy(s, s.d.memoryBytes, pointer, binary(W.i32_add, I32, e.fpu, i32(FLOAT_SCRATCH + OPERAND)))
    e.commit(pointer)
  })
}

function copy(s: InstructionSite, bytes: number, to: Expr, from: Expr): void {
  const bits = (bytes * 8) as Bits
  if (bytes === 2 || bytes === 4 || bytes === 8) s.e.store(storeOp(bits), to, 0, loadInt(from, bits))
  else s.e.memoryCopy(to, from, i32(bytes))
}

/** Environments and state images: by operand size and mode. */
function layoutOf(s: InstructionSite): number {
  const wide = s.d.memoryBytes === 28 || s.d.memoryBytes === 108
  if (s.mode & MODE_REAL) return wide ? ENVIRONMENT_REAL_32 : ENVIRONMENT_REAL_16
  return wide ? ENVIRONMENT_PROTECTED_32 : ENVIRONMENT_PROTECTED_16
}

const MNEMONICS =
  'FADD FADDP FIADD FSUB FSUBP FISUB FSUBR FSUBRP FISUBR FMUL FMULP FIMUL FDIV FDIVP FIDIV FDIVR FDIVRP FIDIVR FCOM FCOMP FCOMPP FUCOM ' +
  'FUCOMP FUCOMPP FICOM FICOMP FCOMI FCOMIP FUCOMI FUCOMIP FTST FXAM FLD FST FSTP FSTPNCE FILD FIST FISTP FISTTP FBLD FBSTP FXCH FCMOVB ' +
  'FCMOVE FCMOVBE FCMOVU FCMOVNB FCMOVNE FCMOVNBE FCMOVNU FCHS FABS FSQRT FSCALE FPREM FPREM1 FRNDINT FXTRACT FSIN FCOS FSINCOS FPTAN ' +
  'FPATAN F2XM1 FYL2X FYL2XP1 FLD1 FLDL2T FLDL2E FLDPI FLDLG2 FLDLN2 FLDZ FINCSTP FDECSTP FFREE FFREEP FNOP FNINIT FNCLEX FLDCW FNSTCW ' +
  'FNSTSW FLDENV FNSTENV FRSTOR FNSAVE FNENI FNDISI FNSETPM'
for (const name of MNEMONICS.split(' ')) define(name, x87Instruction(name))

/** FWAIT. #NM needs CR0.MP and CR0.TS; CR0.EM does not matter to it. */
define('WAIT', (s) => {
  if (s.mode & MODE_TS) s.raiseIf(and(32, s.e.ctx32(CONTROL + CTL.CR0 * 8), i32(CR0_MP)), NM)
  raisePending(s)
})
