import { X87_FCW, X87_FDP, X87_FIP, X87_FOP, X87_FSW, X87_FTW, X87_REGISTERS } from '../memory-map.ts'
import {
  INTEGER_BIT,
  KIND_DENORMAL,
  KIND_INFINITY,
  KIND_NORMAL,
  KIND_QNAN,
  KIND_SNAN,
  KIND_UNSUPPORTED,
  KIND_ZERO,
  QUIET_BIT,
  Unpacked,
  unpackX80,
  X80_MAX_BIASED,
  X80_MAX_EXPONENT,
  X80_MIN_EXPONENT,
} from './format.ts'
import {
  EXCEPTION_DE,
  EXCEPTION_IE,
  EXCEPTION_OE,
  EXCEPTION_PE,
  EXCEPTION_UE,
  EXCEPTIONS,
  EXCEPTIONS_PRE_COMPUTATION,
  ROUND_DOWN,
  ROUND_NEAREST,
  ROUND_UP,
} from './mxcsr.ts'
import { ROUNDED_INEXACT, ROUNDED_UP, roundingCarries, roundSignificand } from './rounding.ts'
import { Wide } from './wide.ts'

/** Status word (SDM Vol. 1 §8.1.3). The six exception flags are those of MXCSR. */
export const FSW_SF = 0x40
export const FSW_ES = 0x80
export const FSW_C0 = 0x100
export const FSW_C1 = 0x200
export const FSW_C2 = 0x400
export const FSW_C3 = 0x4000
export const FSW_CONDITIONS = FSW_C0 | FSW_C1 | FSW_C2 | FSW_C3
export const FSW_TOP = 0x3800
export const FSW_TOP_SHIFT = 11
export const FSW_B = 0x8000

/** Control word: value after FNINIT. Bit 6 reads as 1. */
export const FCW_INIT = 0x37f
const FCW_PC_SHIFT = 8
const FCW_RC_SHIFT = 10
/** Significant bits for each value of FCW.PC; 1 is reserved. */
const PRECISIONS = [24, 64, 53, 64]

/** Result of an instruction: nothing, or the vector of the fault to raise before it. */
export const X87_OK = 0
export const X87_FAULT_MF = 16
export const X87_FAULT_UD = 6

/** Amount by which an unmasked overflow or underflow moves the exponent of a result in a register. */
const BIAS_ADJUSTMENT = 24576

/**
 * The x87 state of one logical processor in wasm memory, with what every instruction needs: the register stack, exceptions,
 * rounding to extended precision.
 *
 * An instruction collects its exceptions in `flags` and its result in `se`, `hi`, `lo`; `commit` then raises the former and
 * writes the latter, or leaves everything as it was.
 */
export class X87State {
  protected readonly u8: Uint8Array
  protected readonly u16: Uint16Array
  protected readonly i32: Int32Array
  /** Offset of the processor's register file. */
  readonly base: number
  protected readonly a = new Unpacked()
  protected readonly b = new Unpacked()
  protected readonly z = new Wide()
  protected flags = 0
  protected roundedUp = false
  protected se = 0
  protected hi = 0
  protected lo = 0
  private fop = 0
  private dpLo = 0
  private dpHi = 0

  constructor(buffer: ArrayBuffer, base: number) {
    this.u8 = new Uint8Array(buffer)
    this.u16 = new Uint16Array(buffer)
    this.i32 = new Int32Array(buffer)
    this.base = base
  }

  // ---- control, status, tags ----

  get fcw(): number {
    return this.u16[(this.base + X87_FCW) >> 1]
  }
  set fcw(value: number) {
    this.u16[(this.base + X87_FCW) >> 1] = value
  }
  get fsw(): number {
    return this.u16[(this.base + X87_FSW) >> 1]
  }
  set fsw(value: number) {
    this.u16[(this.base + X87_FSW) >> 1] = value
  }
  get top(): number {
    return (this.fsw >>> FSW_TOP_SHIFT) & 7
  }
  set top(value: number) {
    this.fsw = (this.fsw & ~FSW_TOP) | ((value & 7) << FSW_TOP_SHIFT)
  }
  /** Abridged tags by physical register: bit set = in use. */
  get abridgedTags(): number {
    return this.u8[this.base + X87_FTW]
  }
  set abridgedTags(value: number) {
    this.u8[this.base + X87_FTW] = value
  }

  /** The full tag word: 00 valid, 01 zero, 10 special, 11 empty, two bits per physical register. */
  get tags(): number {
    let tags = 0
    for (let p = 0; p < 8; p++) {
      const at = this.base + X87_REGISTERS + 16 * p
      let tag = 3
      if ((this.abridgedTags >>> p) & 1) {
        const biased = this.u16[(at + 8) >> 1] & X80_MAX_BIASED
        const lo = this.i32[at >> 2]
        const hi = this.i32[(at + 4) >> 2]
        if (biased === 0 && (hi | lo) === 0) tag = 1
        else tag = biased === 0 || biased === X80_MAX_BIASED || hi >= 0 ? 2 : 0
      }
      tags |= tag << (2 * p)
    }
    return tags
  }
  set tags(value: number) {
    let abridged = 0
    for (let p = 0; p < 8; p++) if (((value >>> (2 * p)) & 3) !== 3) abridged |= 1 << p
    this.abridgedTags = abridged
  }

  protected get rounding(): number {
    return (this.fcw >>> FCW_RC_SHIFT) & 3
  }
  protected get precision(): number {
    return PRECISIONS[(this.fcw >>> FCW_PC_SHIFT) & 3]
  }
  protected get unmasked(): number {
    return ~this.fcw & EXCEPTIONS
  }

  protected setCondition(bits: number, mask = FSW_CONDITIONS): void {
    this.fsw = (this.fsw & ~mask) | bits
  }

  /** Makes ES and B agree with the flags and masks, as loading either does. */
  protected updateSummary(): void {
    this.fsw = (this.fsw & this.unmasked) !== 0 ? this.fsw | FSW_ES | FSW_B : this.fsw & ~(FSW_ES | FSW_B)
  }

  /**
   * Notes where a non-control instruction is: FIP at once; FOP and FDP only when it raises an unmasked exception, as processors
   * with CPUID.(7,0):EBX.FDP_EXCPTN_ONLY[6] do. `fop` is the 11-bit opcode.
   */
  locate(fop: number, ipLo: number, ipHi: number, dpLo: number, dpHi: number): void {
    this.i32[(this.base + X87_FIP) >> 2] = ipLo
    this.i32[(this.base + X87_FIP + 4) >> 2] = ipHi
    this.fop = fop
    this.dpLo = dpLo
    this.dpHi = dpHi
  }

  /** #MF is due: an earlier instruction raised an unmasked exception. Tested by every waiting instruction first. */
  protected get pending(): boolean {
    return (this.fsw & FSW_ES) !== 0
  }

  /** Raises exceptions; returns those that are not masked. */
  protected raise(flags: number): number {
    const unmasked = flags & this.unmasked
    this.fsw |= unmasked !== 0 ? flags | FSW_ES | FSW_B : flags
    if (unmasked !== 0) {
      this.u16[(this.base + X87_FOP) >> 1] = this.fop & 0x7ff
      this.i32[(this.base + X87_FDP) >> 2] = this.dpLo
      this.i32[(this.base + X87_FDP + 4) >> 2] = this.dpHi
    }
    return unmasked
  }

  // ---- register stack ----

  protected offsetOf(index: number): number {
    return this.base + X87_REGISTERS + 16 * ((this.top + index) & 7)
  }
  protected isEmpty(index: number): boolean {
    return ((this.abridgedTags >>> ((this.top + index) & 7)) & 1) === 0
  }
  protected markEmpty(index: number): void {
    this.abridgedTags &= ~(1 << ((this.top + index) & 7))
  }

  /** Takes ST(index) apart. */
  protected load(o: Unpacked, index: number): void {
    const at = this.offsetOf(index)
    unpackX80(o, this.u16[(at + 8) >> 1], this.i32[(at + 4) >> 2], this.i32[at >> 2])
  }

  /** Makes the contents of ST(index) the result. */
  protected take(index: number): void {
    const at = this.offsetOf(index)
    this.setResult(this.u16[(at + 8) >> 1], this.i32[(at + 4) >> 2], this.i32[at >> 2])
  }

  /** Writes the result to ST(index) and marks it in use. */
  protected write(index: number): void {
    const at = this.offsetOf(index)
    this.i32[at >> 2] = this.lo
    this.i32[(at + 4) >> 2] = this.hi
    this.u16[(at + 8) >> 1] = this.se
    this.abridgedTags |= 1 << ((this.top + index) & 7)
  }

  protected push(): void {
    this.top = this.top - 1
    this.write(0)
  }

  protected pop(): void {
    this.markEmpty(0)
    this.top = this.top + 1
  }

  /** Stack underflow (an empty register is read): true when it is unmasked; otherwise the result is the indefinite. */
  protected stackUnderflow(): boolean {
    this.setCondition(0, FSW_C1)
    this.setIndefinite()
    return this.raise(EXCEPTION_IE | FSW_SF) !== 0
  }

  /** Stack overflow (a register in use would be pushed over). */
  protected stackOverflow(): boolean {
    this.setCondition(FSW_C1, FSW_C1)
    this.setIndefinite()
    return this.raise(EXCEPTION_IE | FSW_SF) !== 0
  }

  // ---- results ----

  protected setResult(se: number, hi: number, lo: number): void {
    this.se = se
    this.hi = hi
    this.lo = lo
  }

  protected setIndefinite(): void {
    this.setResult(0xffff, INTEGER_BIT | QUIET_BIT, 0)
  }

  protected setZero(sign: number): void {
    this.setResult(sign << 15, 0, 0)
  }

  protected setInfinity(sign: number): void {
    this.setResult((sign << 15) | X80_MAX_BIASED, INTEGER_BIT, 0)
  }

  protected setOne(): void {
    this.setResult(X80_MAX_EXPONENT, INTEGER_BIT, 0)
  }

  /** Starts an arithmetic instruction: no exceptions yet. */
  protected begin(): void {
    this.flags = 0
    this.roundedUp = false
  }

  protected setInvalid(): void {
    this.flags |= EXCEPTION_IE
    this.setIndefinite()
  }

  protected setNaN(o: Unpacked): void {
    this.setResult((o.sign << 15) | X80_MAX_BIASED, o.hi | QUIET_BIT, o.lo)
  }

  protected noteDenormal(o: Unpacked): void {
    if (o.kind === KIND_DENORMAL) this.flags |= EXCEPTION_DE
  }

  /** Sets the result to a number exactly as it is, a normal one. */
  protected setNumber(o: Unpacked) {
    switch (o.kind) {
      case KIND_ZERO:
        return this.setZero(o.sign)
      case KIND_INFINITY:
        return this.setInfinity(o.sign)
      case KIND_NORMAL:
      case KIND_DENORMAL:
        this.z.setFrom(o)
        return this.setRounded(64)
      default:
        return this.setNaN(o)
    }
  }

  /** A NaN or unsupported operand: sets the result (SDM Vol. 1 Table 4-7, x87 column; §8.5.1.2) and returns true. */
  protected setNaN1(): boolean {
    const a = this.a
    if (a.kind < KIND_QNAN) return false
    if (a.kind === KIND_UNSUPPORTED) {
      this.setInvalid()
    } else {
      if (a.kind === KIND_SNAN) this.flags |= EXCEPTION_IE
      this.setNaN(a)
    }
    return true
  }

  /** The same for two operands: of two NaNs of a kind the larger significand wins, then the positive one; QNaN beats SNaN. */
  protected setNaN2(): boolean {
    const { a, b } = this
    if (a.kind < KIND_QNAN && b.kind < KIND_QNAN) return false
    if (a.kind === KIND_UNSUPPORTED || b.kind === KIND_UNSUPPORTED) {
      this.setInvalid()
      return true
    }
    if (a.kind === KIND_SNAN || b.kind === KIND_SNAN) this.flags |= EXCEPTION_IE
    if (a.kind < KIND_QNAN) this.setNaN(b)
    else if (b.kind < KIND_QNAN) this.setNaN(a)
    else if (a.kind !== b.kind) this.setNaN(a.kind === KIND_QNAN ? a : b)
    else if (a.hi !== b.hi) this.setNaN(a.hi >>> 0 > b.hi >>> 0 ? a : b)
    else if (a.lo !== b.lo) this.setNaN(a.lo >>> 0 > b.lo >>> 0 ? a : b)
    else this.setNaN(a.sign === 0 ? a : b)
    return true
  }

  /** Rounds `z` to `precision` bits in the extended format's range; sets OE, UE, PE. */
  protected setRounded(precision: number) {
    const z = this.z
    if (z.isZero()) return this.setZero(z.sign)
    const mode = this.rounding
    if (z.exp < X80_MIN_EXPONENT && (z.exp < X80_MIN_EXPONENT - 1 || !roundingCarries(z, precision, mode)))
      return this.setTiny(precision, mode)
    this.round(precision, mode)
    if (z.exp > X80_MAX_EXPONENT) return this.setOverflow(precision, mode)
    this.setResult((z.sign << 15) | (z.exp + X80_MAX_EXPONENT), z.hi, z.lo)
  }

  protected round(precision: number, mode: number): void {
    const rounded = roundSignificand(this.z, precision, mode)
    if ((rounded & ROUNDED_INEXACT) !== 0) this.flags |= EXCEPTION_PE
    this.roundedUp = (rounded & ROUNDED_UP) !== 0
  }

  private setTiny(precision: number, mode: number) {
    const z = this.z
    if ((this.unmasked & EXCEPTION_UE) !== 0) {
      this.flags |= EXCEPTION_UE
      z.exp += BIAS_ADJUSTMENT
      // FSCALE alone can fall below even this range.
      if (z.exp < X80_MIN_EXPONENT) {
        this.flags |= EXCEPTION_PE
        return this.setZero(z.sign)
      }
      this.round(precision, mode)
      return this.setResult((z.sign << 15) | (z.exp + X80_MAX_EXPONENT), z.hi, z.lo)
    }
    z.shiftRight(X80_MIN_EXPONENT - z.exp)
    const before = this.flags
    this.flags = 0
    this.round(precision, mode)
    this.flags = before | (this.flags !== 0 ? EXCEPTION_UE | EXCEPTION_PE : 0)
    this.setResult((z.sign << 15) | (z.hi < 0 ? 1 : 0), z.hi, z.lo)
  }

  private setOverflow(precision: number, mode: number) {
    const z = this.z
    this.flags |= EXCEPTION_OE
    if ((this.unmasked & EXCEPTION_OE) !== 0) {
      z.exp -= BIAS_ADJUSTMENT
      if (z.exp > X80_MAX_EXPONENT) {
        this.flags |= EXCEPTION_PE
        this.roundedUp = true
        return this.setInfinity(z.sign)
      }
      return this.setResult((z.sign << 15) | (z.exp + X80_MAX_EXPONENT), z.hi, z.lo)
    }
    this.flags |= EXCEPTION_PE
    this.roundedUp = mode === ROUND_NEAREST || mode === (z.sign !== 0 ? ROUND_DOWN : ROUND_UP)
    if (this.roundedUp) return this.setInfinity(z.sign)
    // The largest number of the precision in use.
    this.setResult(
      (z.sign << 15) | (X80_MAX_BIASED - 1),
      precision === 24 ? -0x100 : -1,
      precision === 24 ? 0 : precision === 53 ? -0x800 : -1,
    )
  }

  /** Raises what was collected, with C1. False when an unmasked exception keeps the result from being written. */
  protected finish(): boolean {
    if ((this.flags & this.unmasked & EXCEPTIONS_PRE_COMPUTATION) !== 0) {
      this.setCondition(0, FSW_C1)
      this.raise(this.flags & EXCEPTIONS_PRE_COMPUTATION)
      return false
    }
    this.setCondition(this.roundedUp ? FSW_C1 : 0, FSW_C1)
    this.raise(this.flags)
    return true
  }

  /** finish, then the result into ST(index). */
  protected commit(index: number): boolean {
    if (!this.finish()) return false
    this.write(index)
    return true
  }
}
