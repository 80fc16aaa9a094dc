import type * as Iced from 'iced-x86'
import { iced } from '../../differential/forms.ts'
import type { Overrides, Random } from '../../differential/initial-state.ts'
import { fromHex, toHex, WINDOW, X87_BYTES } from '../../differential/record-layout.ts'

// Development only: encodes vector instructions with random operands. Unlike differential/forms.ts it knows about alignment,
// opmasks, broadcasts and vectors of addresses.
const { Code, CodeExt, Decoder, Encoder, Instruction, OpCodeOperandKind: K, OpKind, Register } = iced

/** One instruction with operands chosen at random, and what its initial state must have for them to make sense. */
export interface Encoded {
  code: Uint8Array
  text: string
  set: Overrides
}

/** Where a memory operand may be. 'aligned': always inside and aligned; 'inside': never faults but for alignment. */
export type Placement = 'anywhere' | 'inside' | 'aligned'

export interface EncodingOptions {
  mode: 32 | 64
  /** An operand that may be a register or memory is memory. */
  memory: boolean
  placement: Placement
  /** Registers and memory hold few different elements, so that some are equal, zero or extreme. */
  fewValues: boolean
}

const VECTORS: Record<string, number> = { xmm: Register.XMM0, ymm: Register.YMM0, zmm: Register.ZMM0 }
const GENERAL: Record<string, number> = { r16: Register.AX, r32: Register.EAX, r64: Register.RAX }
/** RBX RSI R8 R13: registers that hold addresses. */
const BASES = { 64: [3, 6, 8, 13], 32: [3, 6] }
const WINDOW_BYTES = 3 * 4096

/** Builds random encodings of one code. */
export class FormEncoder {
  private readonly info: Iced.OpCodeInfo
  private readonly kinds: number[]
  private readonly evex: boolean
  private readonly r: Random
  private readonly code: number
  private set: Overrides = {}
  private options!: EncodingOptions
  private vectors: number[] = []
  private address = 0

  constructor(code: number, r: Random) {
    this.code = code
    this.r = r
    this.info = CodeExt.opCode(code)
    this.kinds = Array.from({ length: this.info.opCount }, (_, i) => this.info.opKind(i))
    this.evex = this.info.encoding === iced.EncodingKind.EVEX
  }

  get usesMmx(): boolean {
    return this.kinds.some((k) => K[k].startsWith('mm_'))
  }
  get isGather(): boolean {
    return this.kinds.some((k) => K[k].includes('vsib'))
  }
  get choices(): boolean[] {
    const either = this.kinds.some((k) => K[k].includes('_or_mem'))
    return either ? [false, true] : [true]
  }
  existsIn(mode: 32 | 64): boolean {
    return this.info.isInstruction && (mode === 64 ? this.info.mode64 : this.info.mode32)
  }

  next(options: EncodingOptions): Encoded {
    this.options = options
    for (let attempt = 0; attempt < 100; attempt++) {
      const encoded = this.attempt()
      if (encoded !== null) return encoded
    }
    throw new Error(`no encoding of ${Code[this.code]} found`)
  }

  private attempt(): Encoded | null {
    this.set = {}
    this.vectors = []
    this.address = 0
    const instruction = new Instruction()
    instruction.code = this.code
    let immediates = 0
    let hasMemory = false
    this.kinds.forEach((kind, i) => {
      if (K[kind].startsWith('mem') || (this.options.memory && K[kind].includes('_or_mem'))) {
        instruction.setOpKind(i, OpKind.Memory)
        this.memory(instruction, kind)
        hasMemory = true
      } else if (K[kind].startsWith('imm')) this.immediate(instruction, i, immediates++)
      else this.operand(instruction, i, kind)
    })
    this.decorate(instruction, hasMemory)
    if (this.usesMmx) this.set.x87 = this.mmxState()
    if (this.options.fewValues) this.fillWithFewValues()
    return this.encoded(instruction)
  }

  private encoded(instruction: Iced.Instruction): Encoded | null {
    const encoder = new Encoder(this.options.mode)
    try {
      encoder.encode(instruction, 0n)
    } catch {
      return null
    }
    const code = encoder.takeBuffer()
    encoder.free()
    const decoder = new Decoder(this.options.mode, code, 0)
    const back = decoder.decode()
    const found = back.code === this.code && back.length === code.length ? { code, text: back.toString(), set: this.set } : null
    for (const used of [back, decoder, instruction]) used.free()
    return found
  }

  // ---- operands ----
  private immediate(instruction: Iced.Instruction, i: number, before: number): void {
    const value = this.r.below(3) === 0 ? this.r.below(8) : this.r.below(256)
    if (before > 0) {
      instruction.setOpKind(i, OpKind.Immediate8_2nd)
      instruction.immediate8_2nd = value
    } else {
      instruction.setOpKind(i, OpKind.Immediate8)
      instruction.immediate8 = value
    }
  }

  private operand(instruction: Iced.Instruction, i: number, kind: number): void {
    if (kind === K.seg_rDI) {
      instruction.setOpKind(i, this.options.mode === 64 ? OpKind.MemorySegRDI : OpKind.MemorySegEDI)
      this.address = this.place(16)
      this.set.g = { ...this.set.g, 7: this.address.toString(16) }
      return
    }
    instruction.setOpKind(i, OpKind.Register)
    instruction.setOpRegister(
      i,
      this.register(
        K[kind]
          .replace('_or_mem', '')
          .split('_')[0]
          .replace(/p[13]$/, ''),
      ),
    )
  }

  private register(family: string): number {
    const { r } = this
    const wide = this.options.mode === 64
    if (family in VECTORS) {
      const n = r.below(wide ? (this.evex ? 32 : 16) : 8)
      this.vectors.push(n)
      return VECTORS[family] + n
    }
    if (family in GENERAL) return GENERAL[family] + r.pick(wide ? [0, 1, 2, 3, 5, 6, 7, 8, 11, 15] : [0, 1, 2, 3, 5, 6, 7])
    if (family === 'mm') return Register.MM0 + r.below(8)
    if (family === 'k') return Register.K0 + r.below(8)
    throw new Error(`operand kind ${family} of ${Code[this.code]}`)
  }

  /** An address in or near the window. */
  private place(bytes: number): number {
    const { r } = this
    const aligned = WINDOW + 64 * (1 + r.below(62))
    if (this.options.placement === 'aligned') return aligned
    const loose = WINDOW + 64 + r.below(3900)
    if (this.options.placement === 'inside') return r.below(2) ? aligned : loose
    switch (r.below(10)) {
      case 0:
      case 1:
        return loose
      case 2: // across the boundary of two pages
        return WINDOW + 4096 - r.below(bytes + 2)
      case 3: // into the read-only page
        return WINDOW + 8192 - r.below(bytes + 2)
      case 4: // out of the window
        return WINDOW + WINDOW_BYTES - r.below(bytes + 2)
      default:
        return aligned
    }
  }

  private memory(instruction: Iced.Instruction, kind: number): void {
    const { r } = this
    const { mode } = this.options
    const base = r.pick(BASES[mode])
    const displacement = r.pick([0, 0, 0x40, -0x40, 0x100, 0x11, 0x1230])
    this.address = this.place(64)
    const vsib = /vsib(\d\d)([xyz])/.exec(K[kind])
    if (vsib !== null) this.addresses(instruction, Number(vsib[1]) / 8, `${vsib[2]}mm`)
    instruction.memoryBase = (mode === 64 ? Register.RAX : Register.EAX) + base
    instruction.memoryDisplacement = BigInt.asUintN(64, BigInt(displacement))
    instruction.memoryDisplSize = displacement === 0 ? 0 : -128 <= displacement && displacement < 128 ? 1 : mode / 8
    this.set.g = { ...this.set.g, [base]: (this.address - displacement).toString(16) }
  }

  /** A vector of indices whose addresses lie in the window; unless they must be inside, now and then one that does not. */
  private addresses(instruction: Iced.Instruction, size: number, family: string): void {
    const { r } = this
    const number = r.below(this.options.mode === 32 ? 8 : this.evex ? 32 : 16)
    const scale = 1 << r.below(4)
    instruction.memoryIndex = VECTORS[family] + number
    instruction.memoryIndexScale = scale
    this.address = WINDOW + 0x800
    const bytes = new Uint8Array(64)
    const view = new DataView(bytes.buffer)
    const outside = this.options.placement === 'anywhere' && r.below(4) === 0
    for (let at = 0; at < 64; at += size) {
      let index = r.below(Math.floor(0xf00 / scale)) - Math.floor(0x700 / scale)
      if (outside && r.below(8) === 0) index += Math.floor(0x3000 / scale)
      if (size === 4) view.setInt32(at, index, true)
      else view.setBigInt64(at, BigInt(index), true)
    }
    this.set.z = { [number]: toHex(bytes) }
  }

  private decorate(instruction: Iced.Instruction, hasMemory: boolean): void {
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

  // ---- data ----
  /** x87 registers with random significands, TOP and tags. */
  private mmxState(): string {
    const image = new Uint8Array(X87_BYTES)
    image.set([0x7f, 0x03, 0, this.r.below(8) << 3, this.r.below(256)])
    for (let i = 0; i < 8; i++) for (let j = 0; j < 10; j++) image[32 + 16 * i + j] = this.r.below(256)
    return toHex(image)
  }

  private fillWithFewValues(): void {
    const size = this.r.pick([1, 2, 4, 8])
    const values = [
      '00'.repeat(size),
      `01${'00'.repeat(size - 1)}`,
      'ff'.repeat(size),
      `${'00'.repeat(size - 1)}80`,
      `${'ff'.repeat(size - 1)}7f`,
    ]
    const some = values.filter(() => this.r.below(3) > 0).concat(values[this.r.below(5)])
    const vector = () => Array.from({ length: 64 / size }, () => this.r.pick(some)).join('')
    const z = { ...this.set.z }
    for (const n of this.vectors) z[n] ??= vector()
    if (Object.keys(z).length > 0) this.set.z = z
    if (this.address >= WINDOW && this.address + 64 <= WINDOW + WINDOW_BYTES) this.set.m = [[this.address - WINDOW, vector()]]
    if (this.set.x87 !== undefined) {
      const image = fromHex(this.set.x87)
      for (let i = 0; i < 8; i++) image.set(fromHex(vector().slice(0, 16)), 32 + 16 * i)
      this.set.x87 = toHex(image)
    }
  }
}
