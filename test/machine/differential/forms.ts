import { createRequire } from 'node:module'
import type * as Iced from 'iced-x86'
import type { Overrides, Random } from './initial-state.ts'
import { CODE, CODE_OFFSET, GS_BASE, WINDOW } from './record-layout.ts'

// Development only: encodes instances of instruction forms with iced-x86's own JavaScript interface (Node).
export const iced = createRequire(import.meta.url)('iced-x86') as typeof Iced
const { Code, CodeExt, Encoder, Instruction, Mnemonic, OpCodeOperandKind: K, OpKind, Register } = iced

/** One encoded instance of an instruction form, with what must be set for its operands to make sense. */
export interface Instance {
  text: string
  code: Uint8Array
  /** RFLAGS bits the instruction leaves undefined. */
  undefinedFlags: number
  instruction: Iced.Instruction
  set: Overrides
  /** Where the memory operand is, as an offset from WINDOW; null without one. */
  memoryOffset: number | null
  memoryBytes: number
}

/** How a memory operand is placed. */
export type Place = 'inside' | 'across' | 'into-read-only' | 'read-only' | 'unmapped'

const names = new Map<number, string>()
for (const [name, value] of Object.entries(Mnemonic)) if (typeof value === 'number') names.set(value, name.toUpperCase())

/** iced's Code numbers of the forms of the mnemonics (capitals) that exist in a mode. */
export function formsOf(mnemonics: ReadonlySet<string>, mode: 32 | 64): number[] {
  const found: number[] = []
  for (const value of Object.values(Code)) {
    if (typeof value !== 'number' || !mnemonics.has(mnemonicOf(value))) continue
    const opCode = CodeExt.opCode(value)
    if (opCode.isInstruction && (mode === 64 ? opCode.mode64 : opCode.mode32)) found.push(value)
  }
  return found
}

export const mnemonicOf = (code: number): string => names.get(CodeExt.opCode(code).mnemonic)!

export const formText = (code: number): string => CodeExt.opCode(code).instructionString

/** Whether the form has an operand that may be in memory, and one that may be in a register instead. */
export function operandChoices(code: number): { memory: boolean; register: boolean } {
  const opCode = CodeExt.opCode(code)
  let memory = false
  let register = true
  for (let i = 0; i < opCode.opCount; i++) {
    const kind = opCode.opKind(i)
    if (MEMORY_ONLY.has(kind)) {
      memory = true
      register = false
    } else if (EITHER.has(kind)) memory = true
  }
  return { memory, register }
}

const MEMORY_ONLY = new Set<number>([
  K.mem,
  K.mem_offs,
  K.mem_vsib32x,
  K.mem_vsib64x,
  K.mem_vsib32y,
  K.mem_vsib64y,
  K.mem_vsib32z,
  K.mem_vsib64z,
])
/** Register or memory: the first register of the class. */
const EITHER = new Map<number, number>([
  [K.r8_or_mem, Register.AL],
  [K.r16_or_mem, Register.AX],
  [K.r32_or_mem, Register.EAX],
  [K.r64_or_mem, Register.RAX],
  [K.mm_or_mem, Register.MM0],
  [K.xmm_or_mem, Register.XMM0],
  [K.ymm_or_mem, Register.YMM0],
  [K.zmm_or_mem, Register.ZMM0],
  [K.k_or_mem, Register.K0],
])
const CLASS = new Map<number, number>([
  [K.r8_reg, Register.AL],
  [K.r8_opcode, Register.AL],
  [K.r16_reg, Register.AX],
  [K.r16_reg_mem, Register.AX],
  [K.r16_rm, Register.AX],
  [K.r16_opcode, Register.AX],
  [K.r32_reg, Register.EAX],
  [K.r32_reg_mem, Register.EAX],
  [K.r32_rm, Register.EAX],
  [K.r32_opcode, Register.EAX],
  [K.r32_vvvv, Register.EAX],
  [K.r64_reg, Register.RAX],
  [K.r64_reg_mem, Register.RAX],
  [K.r64_rm, Register.RAX],
  [K.r64_opcode, Register.RAX],
  [K.r64_vvvv, Register.RAX],
  [K.mm_reg, Register.MM0],
  [K.mm_rm, Register.MM0],
  [K.k_reg, Register.K0],
  [K.kp1_reg, Register.K0],
  [K.k_rm, Register.K0],
  [K.k_vvvv, Register.K0],
  [K.xmm_reg, Register.XMM0],
  [K.xmm_rm, Register.XMM0],
  [K.xmm_vvvv, Register.XMM0],
  [K.xmm_is4, Register.XMM0],
  [K.ymm_reg, Register.YMM0],
  [K.ymm_rm, Register.YMM0],
  [K.ymm_vvvv, Register.YMM0],
  [K.ymm_is4, Register.YMM0],
  [K.zmm_reg, Register.ZMM0],
  [K.zmm_rm, Register.ZMM0],
  [K.zmm_vvvv, Register.ZMM0],
  [K.sti_opcode, Register.ST0],
])
const FIXED = new Map<number, number>([
  [K.al, Register.AL],
  [K.cl, Register.CL],
  [K.ax, Register.AX],
  [K.dx, Register.DX],
  [K.eax, Register.EAX],
  [K.rax, Register.RAX],
  [K.st0, Register.ST0],
  [K.es, Register.ES],
  [K.cs, Register.CS],
  [K.ss, Register.SS],
  [K.ds, Register.DS],
  [K.fs, Register.FS],
  [K.gs, Register.GS],
])
const IMMEDIATE = new Map<number, [kind: number, bytes: number]>([
  [K.imm8, [OpKind.Immediate8, 1]],
  [K.imm8sex16, [OpKind.Immediate8to16, 1]],
  [K.imm8sex32, [OpKind.Immediate8to32, 1]],
  [K.imm8sex64, [OpKind.Immediate8to64, 1]],
  [K.imm16, [OpKind.Immediate16, 2]],
  [K.imm32, [OpKind.Immediate32, 4]],
  [K.imm32sex64, [OpKind.Immediate32to64, 4]],
  [K.imm64, [OpKind.Immediate64, 8]],
])
const STRING_KIND: Record<number, [number, number, number]> = {
  [K.seg_rSI]: [OpKind.MemorySegSI, OpKind.MemorySegESI, OpKind.MemorySegRSI],
  [K.es_rDI]: [OpKind.MemoryESDI, OpKind.MemoryESEDI, OpKind.MemoryESRDI],
  [K.seg_rDI]: [OpKind.MemorySegDI, OpKind.MemorySegEDI, OpKind.MemorySegRDI],
}

/** An operand kind the generator does not know how to fill. */
export class UnknownOperand extends Error {}

export interface InstanceOptions {
  mode: 32 | 64
  /** Put the register-or-memory operand in memory. */
  memory: boolean
  place?: Place
  lock?: boolean
  rep?: 'rep' | 'repne'
  /** Address size of string instructions. */
  stringAddress?: 32 | 64
  /** Address of the instruction, when it is not the case's first. */
  ip?: number
  /** Memory operands are RIP-relative: they depend on no register. */
  ripRelative?: boolean
  /** RSP is no operand. */
  keepStack?: boolean
  /** Register numbers 16..31 for vector operands (EVEX). */
  highVectors?: boolean
  /** Last changes to the iced instruction before it is encoded (masking, rounding control, broadcast). */
  finish?: (instruction: Iced.Instruction, r: Random) => void
}

/** An instance with random operands; null when it cannot be encoded (a high byte register with REX, and the like). */
export function makeInstance(code: number, r: Random, options: InstanceOptions): Instance | null {
  const opCode = CodeExt.opCode(code)
  const instruction = new Instruction()
  instruction.code = code
  const set: Overrides = { g: {} }
  let memoryOffset: number | null = null
  const bytes = memoryBytesOf(opCode)
  let immediates = 0
  for (let i = 0; i < opCode.opCount; i++) {
    const kind = opCode.opKind(i)
    if (MEMORY_ONLY.has(kind) || (EITHER.has(kind) && options.memory)) {
      instruction.setOpKind(i, OpKind.Memory)
      memoryOffset = placeMemory(instruction, kind, bytes, r, options, set)
    } else if (kind === K.seg_rBX_al) {
      instruction.setOpKind(i, OpKind.Memory)
      instruction.memoryBase = options.mode === 64 ? Register.RBX : Register.EBX
      instruction.memoryIndex = Register.AL
      set.g![3] = (WINDOW + 0x100 + r.below(0x200)).toString(16)
    } else if (STRING_KIND[kind] !== undefined) {
      instruction.setOpKind(i, STRING_KIND[kind][(options.stringAddress ?? options.mode) === 64 ? 2 : 1])
    } else if (IMMEDIATE.has(kind)) {
      if (immediates++ > 0) {
        instruction.setOpKind(i, OpKind.Immediate8_2nd)
        instruction.immediate8_2nd = r.below(6)
      } else setImmediate(instruction, i, IMMEDIATE.get(kind)!, r)
    } else if (kind === K.imm8_const_1) {
      instruction.setOpKind(i, OpKind.Immediate8)
      instruction.immediate8 = 1
    } else {
      const register = registerFor(kind, r, options)
      instruction.setOpKind(i, OpKind.Register)
      instruction.setOpRegister(i, register)
    }
  }
  if (options.lock) instruction.hasLockPrefix = true
  if (options.rep === 'rep') instruction.hasRepPrefix = true
  if (options.rep === 'repne') instruction.hasRepnePrefix = true
  options.finish?.(instruction, r)
  return encode(instruction, options, set, memoryOffset, bytes)
}

function encode(
  instruction: Iced.Instruction,
  { mode, ip }: InstanceOptions,
  set: Overrides,
  memoryOffset: number | null,
  memoryBytes: number,
): Instance | null {
  const encoder = new Encoder(mode)
  try {
    encoder.encode(instruction, BigInt(ip ?? CODE + CODE_OFFSET))
  } catch {
    encoder.free()
    return null
  }
  const code = encoder.takeBuffer()
  encoder.free()
  return {
    text: instruction.toString(),
    code,
    undefinedFlags: rflagsBits(instruction.rflagsUndefined),
    instruction,
    set,
    memoryOffset,
    memoryBytes,
  }
}

/** iced's flag numbering -> RFLAGS positions. */
export function rflagsBits(bits: number): number {
  const B = iced.RflagsBits
  const map: [number, number][] = [
    [B.OF, 0x800],
    [B.SF, 0x80],
    [B.ZF, 0x40],
    [B.AF, 0x10],
    [B.CF, 1],
    [B.PF, 4],
  ]
  return map.reduce((all, [theirs, ours]) => (bits & theirs ? all | ours : all), 0)
}

const memoryBytesOf = (opCode: Iced.OpCodeInfo): number => iced.MemorySizeExt.size(opCode.memorySize)

function setImmediate(instruction: Iced.Instruction, i: number, [kind, bytes]: [number, number], r: Random): void {
  instruction.setOpKind(i, kind)
  let value = BigInt.asIntN(bytes * 8, r.below(3) === 0 ? BigInt(r.below(70)) : r.u64())
  if (kind === OpKind.Immediate8 || kind === OpKind.Immediate16 || kind === OpKind.Immediate32)
    value = BigInt.asUintN(bytes * 8, value)
  if (kind === OpKind.Immediate8) instruction.immediate8 = Number(value)
  else if (kind === OpKind.Immediate16) instruction.immediate16 = Number(value)
  else if (kind === OpKind.Immediate32) instruction.immediate32 = Number(value)
  else if (kind === OpKind.Immediate64) instruction.immediate64 = value
  else instruction.setImmediateI64(i, value)
}

function registerFor(kind: number, r: Random, options: InstanceOptions): number {
  const fixed = FIXED.get(kind)
  if (fixed !== undefined) return fixed
  const first = EITHER.get(kind) ?? CLASS.get(kind)
  if (kind === K.seg_reg) return r.pick([Register.ES, Register.CS, Register.SS, Register.DS, Register.FS, Register.GS])
  if (first === undefined) throw new UnknownOperand(`operand kind ${kind}`)
  // kp1_reg is a pair starting at an even register.
  if (first === Register.K0) return Register.K0 + (kind === K.kp1_reg ? r.below(4) * 2 : r.below(8))
  if (first === Register.MM0 || first === Register.ST0) return first + r.below(8)
  if (first === Register.AL) {
    // AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8L..; not SPL: the stack pointer stays.
    if (options.mode === 32) return Register.AL + r.below(8)
    const n = r.below(19)
    return Register.AL + (n < 8 ? n : n + 1)
  }
  const count = options.mode === 32 ? 8 : first >= Register.XMM0 && options.highVectors ? 32 : 16
  const isGpr = first === Register.AX || first === Register.EAX || first === Register.RAX
  for (;;) {
    const n = r.below(count)
    // The stack pointer only now and then: instructions that fault need none, but its value must stay meaningful.
    if (!isGpr || n !== 4 || (!options.keepStack && r.below(4) === 0)) return first + n
  }
}

const OFFSET: Record<Place, (r: Random, bytes: number) => number> = {
  inside: (r, bytes) => 0x100 + r.below(0xe00 - Math.max(bytes, 1)),
  across: (r, bytes) => 4096 - Math.max(1, r.below(Math.max(bytes, 2))),
  'into-read-only': (r, bytes) => 8192 - Math.max(1, r.below(Math.max(bytes, 2))),
  'read-only': (r) => 8192 + r.below(0x400),
  unmapped: (r) => -64 - r.below(0x100),
}

const BASES_64 = [3, 5, 6, 7, 8, 12, 13, 15]
const INDICES_64 = [1, 2, 9, 10, 14]

/** Fills in a memory operand so that it lies where `place` says; returns its offset in the window. */
function placeMemory(
  instruction: Iced.Instruction,
  kind: number,
  bytes: number,
  r: Random,
  options: InstanceOptions,
  set: Overrides,
): number {
  const offset = OFFSET[options.place ?? 'inside'](r, bytes)
  const target = WINDOW + offset
  if (kind === K.mem_offs) {
    instruction.memoryDisplacement = BigInt(target)
    instruction.memoryDisplSize = options.mode === 64 ? 8 : 4
    return offset
  }
  const form = options.ripRelative ? 6 : r.below(options.mode === 64 ? 8 : 3)
  const gs = form === 7
  const base = target - (gs ? GS_BASE : 0)
  if (gs) instruction.segmentPrefix = Register.GS
  if (form === 6) {
    instruction.memoryBase = Register.RIP
    instruction.memoryDisplacement = BigInt(target)
    instruction.memoryDisplSize = 8
    return offset
  }
  const narrow = options.mode === 32 || form === 5
  const registers = narrow ? Register.EAX : Register.RAX
  const baseNumber = options.mode === 32 ? r.pick([3, 5, 6, 7]) : r.pick(BASES_64)
  instruction.memoryBase = registers + baseNumber
  let displacement = 0
  if (r.below(3) > 0) displacement = r.below(2) ? r.below(256) - 128 : r.below(0x10000) - 0x8000
  let fromIndex = 0
  if (form === 1 || form === 3) {
    const indexNumber = options.mode === 32 ? r.pick([1, 2]) : r.pick(INDICES_64)
    const index = r.below(64) - 32
    instruction.memoryIndex = registers + indexNumber
    instruction.memoryIndexScale = r.pick([1, 2, 4, 8])
    fromIndex = index * instruction.memoryIndexScale
    set.g![indexNumber] = BigInt.asUintN(narrow ? 32 : 64, BigInt(index)).toString(16)
  }
  instruction.memoryDisplacement = BigInt.asUintN(64, BigInt(displacement))
  instruction.memoryDisplSize = displacement === 0 ? 0 : displacement >= -128 && displacement < 128 ? 1 : narrow ? 4 : 8
  let value = BigInt.asUintN(narrow ? 32 : 64, BigInt(base - displacement - fromIndex))
  // A 32-bit address ignores the upper half of its registers.
  if (narrow && options.mode === 64) value |= r.u64() & 0xffffffff00000000n
  set.g![baseNumber] = value.toString(16)
  return offset
}
