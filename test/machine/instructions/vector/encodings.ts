import { Code, CodeExt, Decoder, Encoder, Instruction, type OpCodeInfo, OpCodeOperandKind, OpKind, Register } from 'iced-x86'
import type { Overrides, Random } from '../../differential/initial-state.ts'
import { toHex, WINDOW } from '../../differential/record-layout.ts'

/** One instruction with operands chosen at random, and what its initial state must have for them to make sense. */
export interface Encoded {
  code: Uint8Array
  set: Overrides
}

/** Every code (form of an instruction) with one of the mnemonics. */
export function codesOf(mnemonics: ReadonlySet<number>): Code[] {
  const found: Code[] = []
  for (const value of Object.values(Code)) {
    if (typeof value === 'number' && mnemonics.has(CodeExt.opCode(value as Code).mnemonic)) found.push(value as Code)
  }
  return found
}

export const codeName = (code: Code): string => Code[code]

const K = OpCodeOperandKind
const VECTORS: Record<string, Register> = { xmm: Register.XMM0, ymm: Register.YMM0, zmm: Register.ZMM0 }
const GENERAL: Record<string, Register> = { r32: Register.EAX, r64: Register.RAX, r16: Register.AX }
/** RBX RSI R8 R13: registers that hold addresses. */
const BASES = [3, 6, 8, 13]

/** Builds random encodings of one code. */
export class FormEncoder {
  private readonly info: OpCodeInfo
  private readonly evex: boolean
  private readonly r: Random
  private readonly code: Code
  private set: Overrides = {}

  constructor(code: Code, r: Random) {
    this.code = code
    this.r = r
    this.info = CodeExt.opCode(code)
    this.evex = this.info.opCodeString.startsWith('EVEX')
  }

  get usesMmx(): boolean {
    return this.kinds().some((k) => K[k].startsWith('mm_'))
  }
  get isLongMode(): boolean {
    return this.info.mode64
  }
  get canUseMemory(): boolean {
    return this.kinds().some((k) => /mem/.test(K[k]) || k === K.seg_rDI)
  }
  private kinds(): number[] {
    return Array.from({ length: this.info.opCount }, (_, i) => this.info.opKind(i))
  }

  /** @param memory whether an operand that may be a register or memory is memory */
  next(memory: boolean): Encoded {
    for (let attempt = 0; attempt < 50; attempt++) {
      const encoded = this.attempt(memory)
      if (encoded !== null) return encoded
    }
    throw new Error(`no encoding of ${Code[this.code]} found`)
  }

  private attempt(memory: boolean): Encoded | null {
    this.set = {}
    const instruction = new Instruction()
    instruction.code = this.code
    let hasMemory = false
    this.kinds().forEach((kind, i) => {
      if (this.isMemory(kind, memory)) {
        instruction.setOpKind(i, OpKind.Memory)
        this.memory(instruction, kind)
        hasMemory = true
      } else this.operand(instruction, i, kind)
    })
    this.decorate(instruction, hasMemory)
    const encoder = new Encoder(64)
    try {
      encoder.encode(instruction, 0n)
    } catch {
      return null
    }
    const bytes = encoder.takeBuffer()
    encoder.free()
    const decoder = new Decoder(64, bytes, 0)
    const back = decoder.decode()
    const valid = back.code === this.code && back.length === bytes.length
    back.free()
    decoder.free()
    instruction.free()
    return valid ? { code: bytes, set: this.set } : null
  }

  private isMemory(kind: number, memory: boolean): boolean {
    const name = K[kind]
    return name.startsWith('mem') || (memory && name.includes('_or_mem'))
  }

  private operand(instruction: Instruction, i: number, kind: number): void {
    const name = K[kind]
    const family = name.replace('_or_mem', '').split('_')[0].replace('p3', '').replace('p1', '')
    if (name.startsWith('imm')) {
      instruction.setOpKind(i, OpKind.Immediate8)
      instruction.immediate8 = this.r.below(3) === 0 ? this.r.below(8) : this.r.below(256)
      return
    }
    if (kind === K.seg_rDI) {
      instruction.setOpKind(i, OpKind.MemorySegRDI)
      this.set.g = { ...this.set.g, 7: this.address(16).toString(16) }
      return
    }
    instruction.setOpKind(i, OpKind.Register)
    instruction.setOpRegister(i, this.register(family))
  }

  private register(family: string): Register {
    const { r } = this
    if (family in VECTORS) return VECTORS[family] + r.below(this.evex ? 32 : 16)
    if (family in GENERAL) return GENERAL[family] + r.pick([0, 1, 2, 3, 5, 6, 7, 8, 11, 15])
    if (family === 'mm') return Register.MM0 + r.below(8)
    if (family === 'k') return Register.K0 + r.below(8)
    if (family === 'r8') return Register.AL + r.below(4)
    throw new Error(`operand kind ${family} of ${Code[this.code]}`)
  }

  /** An address in or near the window: aligned, not aligned, across the page boundary, across the end. */
  private address(bytes: number): number {
    const { r } = this
    switch (r.below(8)) {
      case 0:
      case 1:
        return WINDOW + 64 + r.below(3900)
      case 2:
        return WINDOW + 4096 - r.below(bytes + 2)
      case 3:
        return WINDOW + 8192 - r.below(bytes + 2)
      default:
        return WINDOW + 64 * (1 + r.below(62))
    }
  }

  private memory(instruction: Instruction, kind: number): void {
    const { r } = this
    const base = r.pick(BASES)
    const displacement = r.pick([0, 0, 0x40, -0x40, 0x100, 0x11, 0x1230])
    const vsib = /vsib(\d\d)([xyz])/.exec(K[kind])
    let index: Register = Register.None
    let scale = 1
    let address = this.address(64)
    if (vsib !== null) {
      scale = 1 << r.below(4)
      const number = r.below(this.evex ? 32 : 16)
      index = VECTORS[`${vsib[2]}mm`] + number
      address = WINDOW + 0x800
      this.set.z = { [number]: this.indices(Number(vsib[1]) / 8, scale) }
    }
    instruction.memoryBase = Register.RAX + base
    instruction.memoryIndex = index
    instruction.memoryIndexScale = scale
    instruction.memoryDisplacement = BigInt.asUintN(64, BigInt(displacement))
    instruction.memoryDisplSize = displacement === 0 ? 0 : -128 <= displacement && displacement < 128 ? 1 : 8
    this.set.g = { ...this.set.g, [base]: (address - displacement).toString(16) }
  }

  /** Index elements whose addresses lie in the window; now and then one that does not. */
  private indices(size: number, scale: number): string {
    const bytes = new Uint8Array(64)
    const view = new DataView(bytes.buffer)
    const outside = this.r.below(4) === 0
    for (let at = 0; at < 64; at += size) {
      let index = this.r.below(0xf00 / scale) - Math.floor(0x700 / scale)
      if (outside && this.r.below(8) === 0) index += Math.floor(0x2000 / scale)
      if (size === 4) view.setInt32(at, index, true)
      else view.setBigInt64(at, BigInt(index), true)
    }
    return toHex(bytes)
  }

  private decorate(instruction: Instruction, hasMemory: boolean): void {
    const { info, r } = this
    if (!this.evex) return
    if (hasMemory && info.canBroadcast && r.below(3) === 0) instruction.isBroadcast = true
    if (info.requireOpMaskRegister || (info.canUseOpMaskRegister && r.below(3) > 0)) {
      const k = 1 + r.below(7)
      instruction.opMask = Register.K0 + k
      if (info.canUseZeroingMasking && r.below(2) === 0) instruction.zeroingMasking = true
      const value = r.pick([null, null, null, '0', '1', '3', 'ff', 'aa', '7fffffffffffffff'])
      if (value !== null) this.set.k = { [k]: value }
    }
  }
}
