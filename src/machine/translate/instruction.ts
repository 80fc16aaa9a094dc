import type { Decoded } from '../decoder/decoder.ts'
import { OpKind, Register } from '../decoder/iced-tables.ts'
import { SEGMENT_BASE } from '../memory-map.ts'
import { MODE_CODE_64, MODE_CODE_MASK, MODE_SSE_UD, MODE_TS, MODE_USER } from '../mode.ts'
import { I64, W } from '../wasm/opcodes.ts'
import { callOutId } from './call-outs.ts'
import { ACCESS_STACK, type Emitter, EXIT_JUMP, loadInt, storeOp } from './emitter.ts'
import { add, and, type Bits, binary, constant, type Expr, gtU, i32, i64, low, or, shl, shrU, wrap, zeroExtend } from './expr.ts'
import type { RegionCompiler } from './region.ts'

/** Width in bits of a general register (iced numbering), or 0 for another register. */
export function gprBits(register: number): Bits | 0 {
  if (register >= Register.AL && register <= Register.R15L) return 8
  if (register >= Register.AX && register <= Register.R15W) return 16
  if (register >= Register.EAX && register <= Register.R15D) return 32
  if (register >= Register.RAX && register <= Register.R15) return 64
  return 0
}

const isHighByte = (register: number): boolean => register >= Register.AH && register <= Register.BH

/** Encoding number 0..15 of the 64-bit register that contains this general register. */
export function gprNumber(register: number): number {
  if (register >= Register.RAX) return register - Register.RAX
  if (register >= Register.EAX) return register - Register.EAX
  if (register >= Register.AX) return register - Register.AX
  const n = register - Register.AL // AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8L ...
  return n < 8 ? n & 3 : n - 4
}

/**
 * One instruction while it is translated: its decoded form, its operands as expressions, and where it is. Definitions see
 * this and the emitter; widths, prefixes, segment bases and memory faults live here.
 */
export class InstructionSite {
  readonly e: Emitter
  /** The instruction's decoded form. */
  d!: Decoded
  /** Linear address of its page, as 32-bit halves, and the mode of the code. */
  pageLo = 0
  pageHi = 0
  mode = 0
  /** The region being written: control-transfer instructions end their block through it. */
  region!: RegionCompiler
  /** Whether the processor has the instruction (CPUID); set by the machine. */
  isAvailable: () => boolean = () => true

  constructor(emitter: Emitter) {
    this.e = emitter
  }

  get codeBits(): 16 | 32 | 64 {
    return (16 << (this.mode & MODE_CODE_MASK)) as 16 | 32 | 64
  }
  get is64(): boolean {
    return (this.mode & MODE_CODE_MASK) === MODE_CODE_64
  }
  get isUser(): boolean {
    return (this.mode & MODE_USER) !== 0
  }

  // ---- addresses ----
  /** RIP of this instruction, or of the one after it, as a constant (code segment base 0). */
  get rip(): Expr {
    return this.ripAt(this.d.offset)
  }
  get nextRip(): Expr {
    return this.ripAt(this.d.offset + this.d.length)
  }
  /** RIP at `offset` bytes from the start of the instruction's page; wraps at the code size. */
  ripAt(offset: number): Expr {
    const lo = (this.pageLo + offset) | 0
    if (!this.is64) return i64(this.codeBits === 16 ? lo & 0xffff : lo, 0)
    let hi = this.pageHi
    if (offset >= 0 ? lo >>> 0 < this.pageLo >>> 0 : lo >>> 0 > this.pageLo >>> 0) hi += offset >= 0 ? 1 : -1
    return i64(lo, hi | 0)
  }

  private addressRegister(register: number): Expr {
    const value = this.e.gprNow(gprNumber(register))
    const bits = gprBits(register)
    return bits === 64 ? value : binary(W.i64_and, I64, value, i64(bits === 32 ? -1 : 0xffff, 0))
  }

  /** Effective address of the memory operand without segment base, as i64 (truncated to the address size). */
  effectiveAddress(): Expr {
    const d = this.d
    if (d.ripRelative) {
      const end = this.ripAt(d.offset + d.length)
      const lo = (end.lo + d.displacementLo) | 0
      const carry = (end.lo >>> 0) + (d.displacementLo >>> 0) > 0xffffffff ? 1 : 0
      const hi = (end.hi + d.displacementHi + carry) | 0
      return i64(lo, d.memoryBase === Register.EIP ? 0 : hi)
    }
    let address: Expr | null = null
    const bits = this.addressBits()
    if (d.memoryBase !== 0) address = this.addressRegister(d.memoryBase)
    if (d.memoryIndex !== 0 && !d.isVsib) {
      let index = this.addressRegister(d.memoryIndex)
      if (d.memoryScale > 1) index = binary(W.i64_shl, I64, index, i64(Math.log2(d.memoryScale)))
      address = address === null ? index : binary(W.i64_add, I64, address, index)
    }
    if (address === null)
      return bits === 64
        ? i64(d.displacementLo, d.displacementHi)
        : i64(bits === 16 ? d.displacementLo & 0xffff : d.displacementLo, 0)
    if (d.displacementLo !== 0 || d.displacementHi !== 0)
      address = binary(W.i64_add, I64, address, i64(d.displacementLo, d.displacementHi))
    return bits === 64 ? address : binary(W.i64_and, I64, address, i64(bits === 32 ? -1 : 0xffff, 0))
  }

  /** First-row address of a tile operand: base and displacement; the index register is the row distance (segment base added). */
  rowAddress(): Expr {
    const { memoryIndex } = this.d
    this.d.memoryIndex = 0
    const address = this.memoryAddress()
    this.d.memoryIndex = memoryIndex
    return address
  }

  /** #UD or #NM when SSE instructions are not enabled (the code after it is then not reached). */
  requireSse(): void {
    if (this.mode & MODE_SSE_UD) this.raise(6)
    else if (this.mode & MODE_TS) this.raise(7)
  }

  /** Address size of the memory operand. */
  addressBits(): 16 | 32 | 64 {
    const register = this.d.memoryBase !== 0 ? this.d.memoryBase : this.d.isVsib ? 0 : this.d.memoryIndex
    if (register === Register.EIP) return 32
    if (register === 0 || register === Register.RIP) return this.is64 ? 64 : this.codeBits
    return gprBits(register) as 16 | 32 | 64
  }

  /** Linear address for an effective address in a segment (iced register number; bases of ES CS SS DS are 0 in 64-bit mode). */
  linear(effective: Expr, segment: number): Expr {
    if (this.is64) {
      if (segment !== Register.FS && segment !== Register.GS) return effective
      return add(64, effective, this.e.ctx64(SEGMENT_BASE + (segment - Register.ES) * 8))
    }
    const sum = add(64, effective, this.e.ctx64(SEGMENT_BASE + (segment - Register.ES) * 8))
    return and(64, sum, i64(-1, 0))
  }
  /** Linear address of the memory operand, kept. */
  memoryAddress(): Expr {
    this.e.accessSegment = this.d.memorySegment === Register.SS ? ACCESS_STACK : 0
    return this.e.let(this.linear(this.effectiveAddress(), this.d.memorySegment))
  }
  stackAddress(offset: Expr): Expr {
    this.e.accessSegment = ACCESS_STACK
    return this.e.let(this.linear(offset, Register.SS))
  }

  // ---- operands ----
  isMemory(op: number): boolean {
    return this.d.opKind[op] === OpKind.Memory
  }
  isRegister(op: number): boolean {
    return this.d.opKind[op] === OpKind.Register
  }
  /** Width of an integer operand in bits. Immediates have the width of operand 0. */
  bitsOf(op: number): Bits {
    const kind = this.d.opKind[op]
    if (kind === OpKind.Register) return gprBits(this.d.opRegister[op]) as Bits
    if (kind === OpKind.Memory) return (this.d.memoryBytes * 8) as Bits
    return this.bitsOf(0)
  }
  /** The integer operand's value, kept (a leaf). */
  read(op: number, bits: Bits = this.bitsOf(op)): Expr {
    const kind = this.d.opKind[op]
    if (kind === OpKind.Register) return this.readGpr(this.d.opRegister[op])
    if (kind === OpKind.Memory) return this.e.loadInt(this.memoryAddress(), bits)
    return constant(bits, this.d.immediateLo, this.d.immediateHi)
  }
  readGpr(register: number): Expr {
    const bits = gprBits(register) as Bits
    const whole = this.e.gprNow(gprNumber(register))
    if (isHighByte(register)) return this.e.let(and(32, shrU(32, wrap(whole), i32(8)), i32(0xff)))
    return this.e.let(low(64, bits, whole))
  }
  write(op: number, value: Expr): void {
    if (this.d.opKind[op] === OpKind.Register) this.writeGpr(this.d.opRegister[op], value)
    else {
      const bits = this.bitsOf(op)
      this.e.storeInt(this.memoryAddress(), bits, value)
    }
  }
  /** A 32-bit write clears the upper half; narrower writes keep the rest. */
  writeGpr(register: number, value: Expr): void {
    const n = gprNumber(register)
    const bits = gprBits(register)
    if (bits === 64) this.e.setGpr(n, value)
    else if (bits === 32) this.e.setGpr(n, zeroExtend(32, 64, value))
    else if (bits === 16) this.merge(n, value, 0xffff, 0)
    else this.merge(n, value, 0xff, isHighByte(register) ? 8 : 0)
  }
  private merge(n: number, value: Expr, mask: number, shift: number): void {
    const wide = zeroExtend(32, 64, value)
    const placed = shift === 0 ? wide : shl(64, wide, i64(shift))
    const kept = and(64, this.e.gprNow(n), i64(~(mask << shift), -1))
    this.e.setGpr(n, or(64, kept, placed))
  }
  /**
   * Reads, changes and writes an operand; memory is checked for writing before `change` runs, so that nothing is changed
   * when it faults. `change` returns the new value.
   */
  modify(op: number, change: (old: Expr, bits: Bits) => Expr): void {
    const bits = this.bitsOf(op)
    if (this.d.opKind[op] === OpKind.Register) {
      this.write(op, change(this.read(op), bits))
      return
    }
    const pointer = this.modifyPointer(this.memoryAddress(), bits / 8)
    const old = this.e.let(loadInt(pointer, bits))
    this.e.store(storeOp(bits), pointer, 0, change(old, bits))
    this.e.commit(pointer)
  }
  /** Emitter.modifyPointer, after the split-lock check of a locked access. `address` is a leaf. */
  modifyPointer(address: Expr, bytes: number, locked = this.d.lock): Expr {
    if (locked && bytes > 1) {
      // [SLD-01] split: the access crosses a 64-byte line.
      const lastOffset = add(32, and(32, wrap(address), i32(63)), i32(bytes))
      this.e.if(gtU(32, lastOffset, i32(64)), () => this.assist('split-lock', i32(bytes)))
    }
    return this.e.modifyPointer(address, bytes)
  }

  // ---- out of line and faults ----
  /** Runs the named call-out (see Emitter.callOut); on CONTINUE the next instruction follows. */
  callOut(name: string, argument: Expr = i32(0)): void {
    this.e.instructionInfo |= this.d.length
    this.e.callOut(callOutId(name), argument, this.rip)
  }
  /** A call-out that ends the block: it always leaves the region or sets RIP, where execution goes on. */
  callOutAndJump(name: string, argument: Expr = i32(0)): void {
    this.callOut(name, argument)
    this.e.leave(EXIT_JUMP)
  }
  /** Runs the named assist (see Emitter.assist): no general registers; non-zero is a fault it raised. */
  assist(name: string, argument: Expr = i32(0)): void {
    this.e.assist(callOutId(name), argument)
  }
  /** Raises an exception here, unconditionally. `errorCode` only for vectors that have one. */
  raise(vector: number, errorCode = 0): void {
    this.assist('raise', i32(vector | (errorCode << 8)))
    this.e.op(W.unreachable)
  }
  raiseIf(condition: Expr, vector: number, errorCode = 0): void {
    this.e.if(condition, () => this.raise(vector, errorCode))
  }
  /** #UD, noted as an instruction that is not supported (or not by this CPU model). */
  raiseUndefined(): void {
    this.assist('undefined', i32(this.d.length))
    this.e.op(W.unreachable)
  }
}
