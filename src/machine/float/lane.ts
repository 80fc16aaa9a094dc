import {
  type Format,
  INTEGER_BIT,
  KIND_DENORMAL,
  KIND_QNAN,
  KIND_SNAN,
  packHi,
  packLo,
  QUIET_BIT,
  Unpacked,
  unpack,
} from './format.ts'
import {
  EXCEPTION_DE,
  EXCEPTION_IE,
  EXCEPTION_OE,
  EXCEPTION_PE,
  EXCEPTION_UE,
  EXCEPTIONS,
  MXCSR_DAZ,
  MXCSR_FTZ,
  MXCSR_MASKS_SHIFT,
  MXCSR_RC_SHIFT,
  ROUND_DOWN,
  ROUND_NEAREST,
  ROUND_UP,
} from './mxcsr.ts'
import { ROUNDED_INEXACT, roundingCarries, roundSignificand } from './rounding.ts'
import { Wide } from './wide.ts'

/**
 * One lane of an SSE/AVX operation: operands, the exact result before rounding, the packed result and the exceptions it
 * raises. An operation reads `a`, `b`, `c`, ends in one of the deliver methods and leaves the result in `hi` and `lo`.
 */
export class Lane {
  readonly a = new Unpacked()
  readonly b = new Unpacked()
  readonly c = new Unpacked()
  readonly z = new Wide()
  /** The operands as they came, except that DAZ has replaced denormals by zeros. */
  aHi = 0
  aLo = 0
  /** Operand a as it came. */
  rawHi = 0
  rawLo = 0
  bHi = 0
  bLo = 0
  cHi = 0
  cLo = 0
  /** Packed result. `hi` counts for 64-bit elements only. */
  hi = 0
  lo = 0
  /** Exceptions raised, as MXCSR flags. */
  flags = 0
  rounding = ROUND_NEAREST
  /** Exceptions that are not masked, as MXCSR flags. */
  unmasked = 0
  daz = false
  ftz = false

  control(mxcsr: number): void {
    this.rounding = (mxcsr >>> MXCSR_RC_SHIFT) & 3
    this.unmasked = ~(mxcsr >>> MXCSR_MASKS_SHIFT) & EXCEPTIONS
    this.daz = (mxcsr & MXCSR_DAZ) !== 0
    this.ftz = (mxcsr & MXCSR_FTZ) !== 0
  }

  setA(format: Format, hi: number, lo: number): void {
    this.aHi = this.rawHi = hi
    this.aLo = this.rawLo = lo
    unpack(this.a, format, hi, lo)
    if (this.daz && this.a.kind === KIND_DENORMAL) {
      this.a.setZero()
      this.aHi = packHi(format, this.a.sign, 0, 0)
      this.aLo = packLo(format, this.a.sign, 0, 0, 0)
    }
  }

  setB(format: Format, hi: number, lo: number): void {
    this.bHi = hi
    this.bLo = lo
    unpack(this.b, format, hi, lo)
    if (this.daz && this.b.kind === KIND_DENORMAL) {
      this.b.setZero()
      this.bHi = packHi(format, this.b.sign, 0, 0)
      this.bLo = packLo(format, this.b.sign, 0, 0, 0)
    }
  }

  setC(format: Format, hi: number, lo: number): void {
    this.cHi = hi
    this.cLo = lo
    unpack(this.c, format, hi, lo)
    if (this.daz && this.c.kind === KIND_DENORMAL) this.c.setZero()
  }

  /** Notes a denormal operand. */
  noteDenormal(a: Unpacked): void {
    if (a.kind === KIND_DENORMAL) this.flags |= EXCEPTION_DE
  }

  /** The sign of an exact zero difference (SDM Vol. 1 §4.8.3.1). */
  zeroSign(): number {
    return this.rounding === ROUND_DOWN ? 1 : 0
  }

  deliverPacked(format: Format, sign: number, biased: number, hi: number, lo: number): void {
    this.hi = packHi(format, sign, biased, hi)
    this.lo = packLo(format, sign, biased, hi, lo)
  }

  deliverZero(format: Format, sign: number): void {
    this.deliverPacked(format, sign, 0, 0, 0)
  }

  deliverInfinity(format: Format, sign: number): void {
    this.deliverPacked(format, sign, format.maxBiased, INTEGER_BIT, 0)
  }

  /** The NaN `a`, made quiet; a signaling one raises IE. Conversions lose the payload bits that do not fit. */
  deliverNaN(format: Format, a: Unpacked): void {
    if (a.kind === KIND_SNAN) this.flags |= EXCEPTION_IE
    this.deliverPacked(format, a.sign, format.maxBiased, a.hi | QUIET_BIT, a.lo)
  }

  /** QNaN floating-point indefinite, with IE. */
  deliverInvalid(format: Format): void {
    this.flags |= EXCEPTION_IE
    this.deliverPacked(format, 1, format.maxBiased, INTEGER_BIT | QUIET_BIT, 0)
  }

  /** If an operand is a NaN, the result is the first one that is, quiet (SDM Vol. 1 Table 4-7, SSE column); true then. */
  deliveredNaN2(format: Format): boolean {
    const { a, b } = this
    if (a.kind < KIND_QNAN && b.kind < KIND_QNAN) return false
    if (a.kind === KIND_SNAN || b.kind === KIND_SNAN) this.flags |= EXCEPTION_IE
    this.deliverNaN(format, a.kind >= KIND_QNAN ? a : b)
    return true
  }

  /** Rounds `z` to the format and sets OE, UE, PE. Without a masked response (unmasked OE, UE) there is no result. */
  deliverRounded(format: Format) {
    const z = this.z
    if (z.isZero()) return this.deliverZero(format, z.sign)
    if (z.exp < format.minExponent) {
      // Tininess is found after rounding as if the exponent had no bounds (SDM Vol. 1 §4.9.1.5).
      const tiny = z.exp < format.minExponent - 1 || !roundingCarries(z, format.precision, this.rounding)
      if (tiny) return this.deliverTiny(format)
    }
    const rounded = roundSignificand(z, format.precision, this.rounding)
    if ((rounded & ROUNDED_INEXACT) !== 0) this.flags |= EXCEPTION_PE
    if (z.exp > format.maxExponent) return this.deliverOverflow(format)
    this.deliverPacked(format, z.sign, z.exp + format.maxExponent, z.hi, z.lo)
  }

  private deliverTiny(format: Format) {
    const z = this.z
    if ((this.unmasked & EXCEPTION_UE) !== 0) {
      this.flags |= EXCEPTION_UE
      if ((roundSignificand(z, format.precision, this.rounding) & ROUNDED_INEXACT) !== 0) this.flags |= EXCEPTION_PE
      return
    }
    if (this.ftz) {
      this.flags |= EXCEPTION_UE | EXCEPTION_PE
      return this.deliverZero(format, z.sign)
    }
    z.shiftRight(format.minExponent - z.exp)
    if ((roundSignificand(z, format.precision, this.rounding) & ROUNDED_INEXACT) !== 0) this.flags |= EXCEPTION_UE | EXCEPTION_PE
    this.deliverPacked(format, z.sign, z.hi < 0 ? 1 : 0, z.hi, z.lo)
  }

  private deliverOverflow(format: Format) {
    this.flags |= EXCEPTION_OE
    if ((this.unmasked & EXCEPTION_OE) !== 0) return
    this.flags |= EXCEPTION_PE
    const sign = this.z.sign
    if (this.rounding === ROUND_NEAREST || this.rounding === (sign !== 0 ? ROUND_DOWN : ROUND_UP))
      return this.deliverInfinity(format, sign)
    this.deliverPacked(format, sign, format.maxBiased - 1, -1, -1)
  }
}
