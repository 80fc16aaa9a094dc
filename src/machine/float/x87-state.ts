import { X87_FCW, X87_FDP, X87_FIP, X87_FOP, X87_FSW, X87_FTW, X87_REGISTERS } from '../memory-map.ts'
import { INTEGER_BIT, QUIET_BIT, X80_MAX_BIASED } from './format.ts'
import { EXCEPTION_IE, EXCEPTIONS } from './mxcsr.ts'

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

/**
 * The x87 state of one logical processor in wasm memory: control, status and tags, exceptions, the register stack. The
 * register being read or written is in `se` (sign and exponent), `hi` and `lo`.
 */
export class X87State {
  protected readonly u8: Uint8Array
  protected readonly u16: Uint16Array
  protected readonly i32: Int32Array
  /** Offset of the processor's register file. */
  readonly base: number
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

  // ---- the result ----

  protected setResult(se: number, hi: number, lo: number): void {
    this.se = se
    this.hi = hi
    this.lo = lo
  }

  protected setIndefinite(): void {
    this.setResult(0xffff, INTEGER_BIT | QUIET_BIT, 0)
  }
}
