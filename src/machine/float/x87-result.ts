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
  EXCEPTIONS_PRE_COMPUTATION,
  ROUND_DOWN,
  ROUND_NEAREST,
  ROUND_UP,
} from './mxcsr.ts'
import { ROUNDED_INEXACT, ROUNDED_UP, roundingCarries, roundSignificand } from './rounding.ts'
import { Wide } from './wide.ts'
import { FSW_C1, X87State } from './x87-state.ts'

/** Amount by which an unmasked overflow or underflow moves the exponent of a result in a register. */
const BIAS_ADJUSTMENT = 24576

/**
 * Operands and results of arithmetic instructions: NaNs, rounding to extended precision.
 *
 * An instruction collects its exceptions in `flags` and its result in `se`, `hi`, `lo`; `commit` then raises the former and
 * writes the latter, or leaves everything as it was.
 */
export class X87Result extends X87State {
  protected readonly a = new Unpacked()
  protected readonly b = new Unpacked()
  protected readonly z = new Wide()
  protected flags = 0
  protected roundedUp = false

  /** Takes ST(index) apart. */
  protected load(o: Unpacked, index: number): void {
    const at = this.offsetOf(index)
    unpackX80(o, this.u16[(at + 8) >> 1], this.i32[(at + 4) >> 2], this.i32[at >> 2])
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
