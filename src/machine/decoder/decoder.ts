import {
  EncodingKind,
  FlowControl,
  MEMORY_SIZE_BYTES,
  MNEMONIC_NAMES,
  OpKind,
  RETFW_IMM16_CODE,
  Register,
} from './iced-tables.ts'

/** One decoded instruction, read out of iced's record once. Numbers only; register and kind numbers are iced's. */
export class Decoded {
  /** Offset of the first byte from the start of the window that was decoded. */
  offset = 0
  length = 0
  /** Index into MNEMONIC_NAMES. */
  mnemonic = 0
  code = 0
  /** EncodingKind: Legacy, VEX, EVEX, XOP, ... */
  encoding = 0
  opCount = 0
  /** Operand size of RETF, by its form (other instructions: 0). */
  operandBits = 0
  /** Opcode of an x87 instruction as FOP holds it: (first byte & 7) << 8 | ModRM. Other instructions: 0. */
  x87Opcode = 0
  readonly opKind = [0, 0, 0, 0, 0]
  readonly opRegister = [0, 0, 0, 0, 0]
  /** Memory operand (at most one, apart from string instructions). */
  memoryBase = 0
  memoryIndex = 0
  memoryScale = 1
  /** Displacement, sign-extended to 64 bits; for RIP-relative operands the displacement from the next instruction. */
  displacementLo = 0
  displacementHi = 0
  ripRelative = false
  /** Segment register of the memory operand (after prefixes). */
  memorySegment = 0
  memorySize = 0
  memoryBytes = 0
  isBroadcast = false
  isVsib = false
  /** Immediate operand, sign- or zero-extended as the operand kind says. */
  immediateLo = 0
  immediateHi = 0
  /** Second immediate (ENTER, EXTRQ, INSERTQ). */
  immediate2 = 0
  /** Near branch: displacement from the next instruction. */
  branchDisplacement = 0
  farSelector = 0
  farOffset = 0
  /** An indirect near branch has the prefix 3EH, NOTRACK. */
  notrack = false
  lock = false
  rep = false
  repne = false
  /** Opmask register number 0..7 (0 = none). */
  opMask = 0
  zeroing = false
  roundingControl = 0
  sae = false
  flowControl = 0
  /** CPUID features (iced's numbering) it needs, all of them. */
  features: readonly number[] = []
}

interface IcedExports {
  memory: WebAssembly.Memory
  [name: string]: unknown
}
type Fn = (...args: (number | bigint)[]) => number

const OPERAND_KIND = [
  'instruction_op0Kind',
  'instruction_op1Kind',
  'instruction_op2Kind',
  'instruction_op3Kind',
  'instruction_op4Kind',
]
const OPERAND_REGISTER = OPERAND_KIND.map((name) => name.replace('Kind', 'Register'))

const RETF = MNEMONIC_NAMES.indexOf('Retf')
/** iced's code numbers of RETF: Retfw_imm16, Retfd_imm16, Retfq_imm16, Retfw, Retfd, Retfq. */
const FIRST_RETF = RETFW_IMM16_CODE

const IS_X87 = MNEMONIC_NAMES.map((name) => /^F(?!xsave|xrstor|emms)/.test(name))

const isIndirect = (flow: number): boolean => flow === FlowControl.IndirectBranch || flow === FlowControl.IndirectCall

/** Bytes a window may hold: one page and the tail of an instruction that crosses into the next. */
const WINDOW = 4096 + 16

/**
 * iced-x86's decoder, used through its .wasm exports (the package's JavaScript glue needs Node). One decoder object per
 * code size; windows of code bytes are copied into its buffer.
 */
export class InstructionDecoder {
  private readonly iced: IcedExports
  private readonly fn: Record<string, Fn>
  private readonly decoders = new Map<number, { pointer: number; buffer: number }>()
  private readonly instruction: number
  /** 16 bytes in iced's memory where its functions put results and errors. */
  private readonly result: number
  private current = { pointer: 0, buffer: 0 }
  private windowLength = 0
  private readonly featuresByCode: (readonly number[] | undefined)[] = []

  /** @param module the compiled iced_x86_bg.wasm of iced-x86 1.21.0 */
  constructor(module: WebAssembly.Module) {
    const refuse = () => {
      throw new Error('iced-x86 called into its JavaScript glue')
    }
    const imports: Record<string, Record<string, () => never>> = {}
    for (const { module: from, name } of WebAssembly.Module.imports(module)) {
      imports[from] ??= {}
      imports[from][name] = refuse
    }
    this.iced = new WebAssembly.Instance(module, imports).exports as unknown as IcedExports
    this.fn = this.iced as unknown as Record<string, Fn>
    this.instruction = this.fn.instruction_new()
    this.result = this.fn.__wbindgen_malloc(16, 8) >>> 0
  }

  private view(): DataView {
    return new DataView(this.iced.memory.buffer)
  }

  private decoderFor(bitness: number): { pointer: number; buffer: number } {
    let found = this.decoders.get(bitness)
    if (found === undefined) {
      const buffer = this.fn.__wbindgen_malloc(WINDOW, 1) >>> 0
      this.fn.decoder_new(this.result, bitness, buffer, WINDOW, 0)
      const pointer = this.view().getUint32(this.result, true)
      found = { pointer, buffer }
      this.decoders.set(bitness, found)
    }
    return found
  }

  /**
   * Loads a window of code: `length` bytes (at most 4112) of `source` from `offset` on. Decoding past the window finds
   * invalid bytes (the rest is filled with 0x06, which is invalid in 64-bit mode).
   */
  setWindow(bitness: 16 | 32 | 64, source: Uint8Array, offset: number, length: number): void {
    this.current = this.decoderFor(bitness)
    const bytes = new Uint8Array(this.iced.memory.buffer, this.current.buffer, WINDOW)
    bytes.set(source.subarray(offset, offset + length))
    bytes.fill(0x06, length)
    this.windowLength = length
  }

  /** Decodes at `offset` of the window into `out`; false when the bytes are no instruction or leave the window. */
  decode(offset: number, out: Decoded): boolean {
    const fn = this.fn
    const p = this.instruction
    fn.decoder_set_position(this.result, this.current.pointer, offset)
    fn.decoder_set_ip(this.current.pointer, BigInt(offset))
    fn.decoder_decodeOut(this.current.pointer, p)
    out.offset = offset
    out.length = fn.instruction_length(p)
    out.code = fn.instruction_code(p)
    if (out.code === 0 || offset + out.length > this.windowLength) return false
    out.mnemonic = fn.instruction_mnemonic(p)
    out.features = this.featuresByCode[out.code] ??= this.cpuidFeatures()
    out.encoding = fn.instruction_encoding(p)
    out.flowControl = fn.instruction_flowControl(p)
    out.notrack = isIndirect(out.flowControl) && fn.instruction_segmentPrefix(p) === Register.DS
    out.lock = fn.instruction_hasLockPrefix(p) !== 0
    out.rep = fn.instruction_hasRepPrefix(p) !== 0
    out.repne = fn.instruction_hasRepnePrefix(p) !== 0
    out.opCount = fn.instruction_opCount(p)
    out.operandBits = out.mnemonic === RETF ? 16 << ((out.code - FIRST_RETF) % 3) : 0
    out.x87Opcode = IS_X87[out.mnemonic] ? this.x87Opcode(offset) : 0
    for (let i = 0; i < out.opCount; i++) this.readOperand(i, out)
    if (out.encoding === EncodingKind.EVEX) this.readEvex(out)
    else {
      out.opMask = 0
      out.zeroing = out.isBroadcast = out.sae = false
      out.roundingControl = 0
    }
    return true
  }

  /** No prefix looks like the escape opcodes D8..DF. */
  private x87Opcode(offset: number): number {
    const bytes = new Uint8Array(this.iced.memory.buffer, this.current.buffer, WINDOW)
    let at = offset
    while ((bytes[at] & 0xf8) !== 0xd8) at++
    return ((bytes[at] & 7) << 8) | bytes[at + 1]
  }

  private readEvex(out: Decoded): void {
    const fn = this.fn
    const p = this.instruction
    const mask = fn.instruction_opMask(p)
    out.opMask = mask === 0 ? 0 : mask - Register.K0
    out.zeroing = fn.instruction_zeroingMasking(p) !== 0
    out.isBroadcast = fn.instruction_isBroadcast(p) !== 0
    out.roundingControl = fn.instruction_roundingControl(p)
    out.sae = fn.instruction_suppressAllExceptions(p) !== 0
  }

  private readOperand(i: number, out: Decoded): void {
    const fn = this.fn
    const p = this.instruction
    const kind = fn[OPERAND_KIND[i]](p)
    out.opKind[i] = kind
    switch (kind) {
      case OpKind.Register:
        out.opRegister[i] = fn[OPERAND_REGISTER[i]](p)
        return
      case OpKind.NearBranch16:
      case OpKind.NearBranch32:
      case OpKind.NearBranch64: {
        const target = BigInt.asIntN(64, BigInt(fn.instruction_nearBranchTarget(p) as unknown as bigint))
        out.branchDisplacement = Number(BigInt.asIntN(64, target - BigInt(out.offset + out.length)))
        return
      }
      case OpKind.FarBranch16:
      case OpKind.FarBranch32:
        out.farSelector = fn.instruction_farBranchSelector(p)
        out.farOffset = kind === OpKind.FarBranch16 ? fn.instruction_farBranch16(p) : fn.instruction_farBranch32(p)
        return
      case OpKind.Immediate8_2nd:
        out.immediate2 = fn.instruction_immediate8_2nd(p)
        return
      default:
        if (kind >= OpKind.Immediate8 && kind <= OpKind.Immediate32to64) this.readImmediate(i, out)
        else this.readMemory(kind, out)
    }
  }

  private readImmediate(i: number, out: Decoded): void {
    this.fn.instruction_immediate(this.result, this.instruction, i)
    const view = this.view()
    out.immediateLo = view.getInt32(this.result, true)
    out.immediateHi = view.getInt32(this.result + 4, true)
  }

  private readMemory(kind: number, out: Decoded): void {
    const fn = this.fn
    const p = this.instruction
    out.memorySize = fn.instruction_memorySize(p)
    out.memoryBytes = MEMORY_SIZE_BYTES[out.memorySize]
    out.memorySegment = fn.instruction_memorySegment(p)
    if (kind !== OpKind.Memory) return
    out.memoryBase = fn.instruction_memoryBase(p)
    out.memoryIndex = fn.instruction_memoryIndex(p)
    out.memoryScale = fn.instruction_memoryIndexScale(p)
    out.isVsib = fn.instruction_isVsib(p) !== 0
    out.ripRelative = out.memoryBase === Register.RIP || out.memoryBase === Register.EIP
    let displacement = BigInt.asIntN(64, fn.instruction_memoryDisplacementU64(p) as unknown as bigint)
    if (out.ripRelative) displacement -= BigInt(out.offset + out.length)
    out.displacementLo = Number(BigInt.asIntN(32, displacement))
    out.displacementHi = Number(BigInt.asIntN(32, displacement >> 32n))
  }

  /** CPUID features of the instruction decoded last. */
  private cpuidFeatures(): number[] {
    this.fn.instruction_cpuidFeatures(this.result, this.instruction)
    const view = this.view()
    const at = view.getUint32(this.result, true)
    const count = view.getUint32(this.result + 4, true)
    const features = Array.from(new Int32Array(this.iced.memory.buffer, at, count))
    this.fn.__wbindgen_free(at, count * 4, 4)
    return features
  }
}
