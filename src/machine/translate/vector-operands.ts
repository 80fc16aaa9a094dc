import { EncodingKind, MEMORY_ELEMENT_BYTES, OpKind, Register } from '../decoder/iced-tables.ts'
import { OPMASK, SPILL, VECTOR, VECTOR_STRIDE, X87_REGISTERS } from '../memory-map.ts'
import { I32, I64, V, V128, W, type WasmType } from '../wasm/opcodes.ts'
import type { Emitter } from './emitter.ts'
import { and, type Bits, binary, type Expr, eq, i32, i64, load, select, wrap } from './expr.ts'
import type { InstructionSite } from './instruction.ts'
import { bitselect, extractLane, LOAD_SPLAT, vand, zero } from './lanes.ts'
import { MaskedMemory } from './masked-memory.ts'
import { ElementMask } from './write-mask.ts'

const GP = 13

/** Bytes of a vector register (iced numbering): 8 for MMX, 16, 32, 64; 0 for another register. */
export function vectorBytes(register: number): 0 | 8 | 16 | 32 | 64 {
  if (register >= Register.XMM0 && register <= Register.XMM31) return 16
  if (register >= Register.YMM0 && register <= Register.YMM31) return 32
  if (register >= Register.ZMM0 && register <= Register.ZMM31) return 64
  if (register >= Register.MM0 && register <= Register.MM7) return 8
  return 0
}
export const isMmx = (register: number): boolean => vectorBytes(register) === 8
export const isOpmask = (register: number): boolean => register >= Register.K0 && register <= Register.K7

/** Offset of a vector register in the register file. */
export function registerOffset(register: number): number {
  if (isMmx(register)) return X87_REGISTERS + (register - Register.MM0) * 16
  return VECTOR + ((register - Register.XMM0) & 31) * VECTOR_STRIDE
}

/** Where a vector operand can be read: each request makes a new expression. */
export class VectorSource {
  private readonly base: Expr
  private readonly offset: number
  private readonly bytes: number
  /** The value of every chunk of a broadcast operand. */
  private readonly repeated: Expr | null

  constructor(base: Expr, offset: number, bytes: number, repeated: Expr | null = null) {
    this.base = base
    this.offset = offset
    this.bytes = bytes
    this.repeated = repeated
  }

  /** Bytes 16c .. 16c+15. Operands of 8 bytes have zeros above. */
  chunk(c: number): Expr {
    if (this.repeated !== null) return this.repeated
    return load(this.bytes === 8 ? V.load64_zero : V.load, V128, this.base, this.offset + c * 16)
  }
  /** A wasm load instruction at byte `at` of the operand. */
  part(op: number, type: WasmType, at: number): Expr {
    if (this.repeated !== null) throw new Error('a broadcast operand is read whole')
    return load(op, type, this.base, this.offset + at)
  }
  /** Wasm address of byte 0. */
  get pointer(): Expr {
    return binary(W.i32_add, I32, this.base, i32(this.offset))
  }
}

/** A vector register: hot code has it in locals. */
class RegisterSource extends VectorSource {
  private readonly e: Emitter
  private readonly at: number

  constructor(e: Emitter, register: number) {
    super(e.fpu, registerOffset(register), vectorBytes(register))
    this.e = e
    this.at = registerOffset(register)
  }
  override chunk(c: number): Expr {
    return this.at < VECTOR ? super.chunk(c) : this.e.vectors.chunk(this.at + c * 16)
  }
}

export interface AccessOptions {
  /** Bytes of the operand in memory when not the whole vector. */
  bytes?: number
  /** Masked-off elements of this width are not accessed, so they do not fault (SDM Vol. 2, exception classes E4, E5, E6). */
  suppress?: Bits
  /** Legacy SSE operand of 16 bytes that need not be aligned. */
  unaligned?: boolean
  /** VEX and EVEX operand that must be aligned. */
  aligned?: boolean
  /** Store that accesses masked-off elements too. */
  whole?: boolean
}

/** One vector instruction while it is translated: vector length, opmask, operands in 16-byte chunks. */
export class VectorInstruction {
  readonly s: InstructionSite
  readonly e: Emitter
  /** Vector length: the widest vector register among the operands. */
  readonly bytes: number
  private mask_: ElementMask | null = null

  constructor(s: InstructionSite) {
    this.s = s
    this.e = s.e
    let bytes = 0
    for (let i = 0; i < s.d.opCount; i++) if (s.isRegister(i)) bytes = Math.max(bytes, vectorBytes(s.d.opRegister[i]))
    this.bytes = bytes
  }

  get chunks(): number {
    return Math.max(1, this.bytes >> 4)
  }
  get isLegacy(): boolean {
    return this.s.d.encoding === EncodingKind.Legacy
  }
  get isEvex(): boolean {
    return this.s.d.encoding === EncodingKind.EVEX
  }
  get isMmx(): boolean {
    return this.bytes === 8
  }
  /** The immediate operand, 0..255. */
  get immediate(): number {
    return this.s.d.immediateLo & 0xff
  }
  register(op: number): number {
    return this.s.d.opRegister[op]
  }
  /** Number of the first source: legacy instructions overwrite it. */
  get firstSource(): number {
    return this.isLegacy ? 0 : 1
  }

  // ---- opmask ----
  get isMasked(): boolean {
    return this.s.d.opMask !== 0
  }
  /** The write mask for elements of a width (`count`: fewer of them than the vector holds), or null without one. */
  mask(elementBits: Bits, count = (this.bytes * 8) / elementBits): ElementMask | null {
    if (!this.isMasked) return null
    const known = this.mask_
    if (known !== null && known.elementBits === elementBits && known.count === count) return known
    return (this.mask_ = ElementMask.ofOpmask(this.e, this.s.d.opMask, elementBits, count))
  }

  // ---- reading ----
  source(op: number, options: AccessOptions = {}): VectorSource {
    if (this.s.isRegister(op)) {
      const register = this.register(op)
      return new RegisterSource(this.e, register)
    }
    return this.s.d.isBroadcast ? this.broadcastElement(options) : this.memorySource(options)
  }

  private memorySource(options: AccessOptions): VectorSource {
    const bytes = options.bytes ?? this.bytes
    const mask = options.suppress === undefined ? null : this.mask(options.suppress, (bytes * 8) / options.suppress)
    const linear = this.alignedAddress(bytes, options, mask)
    const pointer = mask === null ? this.e.readPointer(linear, bytes) : new MaskedMemory(this.e, linear, mask).readPointer()
    return new VectorSource(pointer, 0, bytes)
  }

  /** Linear address of the memory operand; #GP(0) when it has to be aligned and is not. */
  alignedAddress(bytes: number, { unaligned = false, aligned = false }: AccessOptions, mask: ElementMask | null): Expr {
    const linear = this.s.memoryAddress()
    if (this.isLegacy ? bytes === 16 && !unaligned : aligned) {
      const misaligned = and(32, wrap(linear), i32(bytes - 1))
      // with no element selected there is no access that could be misaligned (measured on Zen 4)
      if (mask === null) this.s.raiseIf(misaligned, GP)
      else this.s.raiseIf(select(mask.isEmpty(), i32(0), misaligned), GP)
    }
    return linear
  }

  /** The memory operand's one element in every lane. */
  private broadcastElement({ suppress, bytes }: AccessOptions): VectorSource {
    const bits = (MEMORY_ELEMENT_BYTES[this.s.d.memorySize] === 2 ? 16 : this.s.d.memoryBytes * 8) as Bits
    const count = bytes === undefined || suppress === undefined ? undefined : (bytes * 8) / suppress
    const pointer = this.elementPointer(bits, suppress === undefined ? null : this.mask(suppress, count))
    return new VectorSource(pointer, 0, this.bytes, this.e.let(load(LOAD_SPLAT[bits], V128, pointer, 0)))
  }

  /** Where the one element of `bits` in memory is; not accessed when no element of the mask is selected. */
  elementPointer(bits: number, mask: ElementMask | null): Expr {
    const linear = this.s.memoryAddress()
    if (mask === null) return this.e.readPointer(linear, bits / 8)
    const pointer = this.e.variable(binary(W.i32_add, I32, this.e.ctx, i32(SPILL)))
    this.e.if(eq(32, mask.isEmpty(), i32(0)), () => this.e.assign(pointer, this.e.readPointer(linear, bits / 8)))
    return pointer
  }

  // ---- writing registers ----
  /**
   * Writes chunk after chunk to register operand `op` (`bytes` of it). Chunk c of the result may only depend on chunk c of
   * the sources, or on kept values. Legacy instructions keep what lies above 16 bytes; VEX and EVEX clear what lies above
   * `bytes`; EVEX merges or zeroes by the opmask in elements of `elementBits`.
   */
  write(op: number, elementBits: Bits, result: (chunk: number) => Expr, bytes = this.bytes): void {
    const register = this.register(op)
    const at = registerOffset(register)
    if (isMmx(register)) {
      this.writeMmx(at, result(0))
      return
    }
    const mask = this.isEvex ? this.mask(elementBits, (bytes * 8) / elementBits) : null
    for (let c = 0; c < bytes >> 4; c++) {
      const value = result(c)
      this.e.store(V.store, this.e.fpu, at + c * 16, mask === null ? value : this.masked(mask, c, value, at))
    }
    if (!this.isLegacy) this.clearFrom(register, Math.max(16, bytes))
  }
  /** `write` for results to which the opmask has been applied already. */
  writeUnmasked(op: number, result: (chunk: number) => Expr, bytes = this.bytes): void {
    const register = this.register(op)
    for (let c = 0; c < bytes >> 4; c++) this.e.store(V.store, this.e.fpu, registerOffset(register) + c * 16, result(c))
    if (!this.isLegacy) this.clearFrom(register, bytes)
  }
  private masked(mask: ElementMask, c: number, value: Expr, at: number): Expr {
    if (this.s.d.zeroing) return vand(value, mask.lanes(c))
    const old = this.e.vectors.chunk(at + c * 16)
    return bitselect(value, old, mask.lanes(c))
  }
  /** Merges or zeroes one chunk of result by the opmask, for instructions that write it themselves. */
  mergeChunk(op: number, elementBits: Bits, c: number, value: Expr, count?: number): Expr {
    const mask = this.mask(elementBits, count)
    return mask === null ? value : this.masked(mask, c, value, registerOffset(this.register(op)))
  }
  /** Clears a register from byte `from` (16, 32, 64) up. */
  clearFrom(register: number, from: number): void {
    for (let at = from; at < 64; at += 16) this.e.store(V.store, this.e.fpu, registerOffset(register) + at, zero())
  }
  /** MMX register: the significand of the x87 register; its sign and exponent become ones (SDM Vol. 1, 9.2). */
  private writeMmx(at: number, value: Expr): void {
    this.e.store(W.i64_store, this.e.fpu, at, extractLane(64, value, 0))
    this.e.store(W.i32_store16, this.e.fpu, at + 8, i32(0xffff))
  }
  /** Keeps all chunks of a result before any is written. */
  keep(result: (chunk: number) => Expr, chunks = this.chunks): Expr[] {
    const kept: Expr[] = []
    for (let c = 0; c < chunks; c++) kept.push(this.e.let(result(c)))
    return kept
  }

  // ---- writing memory ----
  /** Stores `bytes` (2..64) from kept chunks at the memory operand; masked-off elements are left alone. */
  store(elementBits: Bits, chunks: readonly Expr[], bytes: number, options: AccessOptions = {}): void {
    const mask = this.isEvex ? this.mask(elementBits, (bytes * 8) / elementBits) : null
    const linear = this.alignedAddress(bytes, options, mask)
    if (mask !== null && options.whole) new MaskedMemory(this.e, linear, mask).storeWhole(chunks)
    else if (mask !== null) new MaskedMemory(this.e, linear, mask).store(chunks)
    else this.storeWhole(linear, chunks, bytes)
  }
  storeWhole(linear: Expr, chunks: readonly Expr[], bytes: number): void {
    const e = this.e
    if (bytes === 16) e.storeMemory(linear, 16, V.store, chunks[0])
    else if (bytes < 16) e.storeInt(linear, (bytes * 8) as Bits, extractLane((bytes * 8) as Bits, chunks[0], 0))
    else {
      const pointer = e.modifyPointer(linear, bytes)
      for (let c = 0; c < bytes >> 4; c++) e.store(V.store, pointer, c * 16, chunks[c])
      e.commit(pointer)
    }
  }

  // ---- opmask and general registers as destinations ----
  /** Writes the bits (i32 or i64, zero-extended) to opmask register operand `op`, under the write mask. */
  writeOpmask(op: number, bits: Expr, mask: ElementMask | null): void {
    let value = bits
    if (mask !== null) value = binary(bits.type === I64 ? W.i64_and : W.i32_and, bits.type, bits, mask.bits)
    setOpmask(this.e, this.register(op) - Register.K0, value)
  }

  /** The segment and RDI of MASKMOVQ and MASKMOVDQU, as a linear address. */
  implicitDestination(): Expr {
    const s = this.s
    const kind = s.d.opKind[0]
    const rdi = s.e.gpr(Register.RDI - Register.RAX)
    const effective = kind === OpKind.MemorySegRDI ? rdi : and(64, rdi, i64(kind === OpKind.MemorySegEDI ? -1 : 0xffff, 0))
    return s.e.let(s.linear(effective, s.d.memorySegment))
  }
}

/** Writes opmask register k: an i32 is zero-extended. */
export function setOpmask(e: Emitter, k: number, value: Expr): void {
  if (value.type === I64) e.store(W.i64_store, e.fpu, OPMASK + k * 8, value)
  else {
    e.store(W.i32_store, e.fpu, OPMASK + k * 8, value)
    e.store(W.i32_store, e.fpu, OPMASK + k * 8 + 4, i32(0))
  }
}
