/**
 * Binary floating-point formats and their unpacked form, shared by SSE/AVX and x87.
 *
 * Numbers travel as 32-bit halves. A JavaScript number never carries a packed float: reading a NaN as a double may
 * change its payload.
 */

export interface Format {
  /** Bits of one element in memory. */
  readonly bits: number
  /** Significant bits, the integer bit included. */
  readonly precision: number
  /** Exponent of the smallest and of the largest normal number, as in 1.f * 2^e. */
  readonly minExponent: number
  readonly maxExponent: number
  /** The biased exponent of infinities and NaNs. */
  readonly maxBiased: number
}

export const F16: Format = { bits: 16, precision: 11, minExponent: -14, maxExponent: 15, maxBiased: 0x1f }
export const F32: Format = { bits: 32, precision: 24, minExponent: -126, maxExponent: 127, maxBiased: 0xff }
export const F64: Format = { bits: 64, precision: 53, minExponent: -1022, maxExponent: 1023, maxBiased: 0x7ff }

/** Exponents of the x87 double extended format; its precision is what FCW.PC says. */
export const X80_MIN_EXPONENT = -16382
export const X80_MAX_EXPONENT = 16383
export const X80_MAX_BIASED = 0x7fff

export const KIND_ZERO = 0
export const KIND_NORMAL = 1
export const KIND_DENORMAL = 2
export const KIND_INFINITY = 3
export const KIND_QNAN = 4
export const KIND_SNAN = 5
/** x87 only: pseudo-NaN, pseudo-infinity, unnormal (SDM Vol. 1 §8.2.2). */
export const KIND_UNSUPPORTED = 6

/** Top bit of a significand's upper half: the integer bit. */
export const INTEGER_BIT = 0x80000000 | 0
/** The bit below it tells a quiet NaN from a signaling one. */
export const QUIET_BIT = 0x40000000

/**
 * A number taken apart. Significands are 64 bits with the integer bit on top, in two signed halves, whatever the format;
 * finite non-zero numbers (also denormal ones) are normalized: value = hi:lo / 2^63 * 2^exp.
 */
export class Unpacked {
  kind = KIND_ZERO
  sign = 0
  exp = 0
  hi = 0
  lo = 0

  isNaN(): boolean {
    return this.kind >= KIND_QNAN
  }
  /** Finite and not zero. */
  isFinite(): boolean {
    return this.kind === KIND_NORMAL || this.kind === KIND_DENORMAL
  }
  setZero(): void {
    this.kind = KIND_ZERO
    this.exp = 0
    this.hi = 0
    this.lo = 0
  }
  copyFrom(other: Unpacked): void {
    this.kind = other.kind
    this.sign = other.sign
    this.exp = other.exp
    this.hi = other.hi
    this.lo = other.lo
  }
}

/** Fills in `o` from a fraction left-aligned below an implicit integer bit (bit 31 of hi clear). */
function unpackFields(o: Unpacked, sign: number, biased: number, format: Format, hi: number, lo: number): void {
  o.sign = sign
  if (biased === format.maxBiased) {
    o.kind = (hi | lo) === 0 ? KIND_INFINITY : hi & QUIET_BIT ? KIND_QNAN : KIND_SNAN
    o.exp = format.maxExponent + 1
    o.hi = hi | INTEGER_BIT
    o.lo = lo
  } else if (biased !== 0) {
    o.kind = KIND_NORMAL
    o.exp = biased - format.maxExponent
    o.hi = hi | INTEGER_BIT
    o.lo = lo
  } else if ((hi | lo) === 0) {
    o.setZero()
  } else {
    o.kind = KIND_DENORMAL
    normalizeInto(o, format.minExponent, hi, lo)
  }
}

/** Sets the exponent and significand of `o` to hi:lo / 2^63 * 2^exp, normalized. hi:lo is not 0. */
export function normalizeInto(o: Unpacked, exp: number, hi: number, lo: number): void {
  if (hi === 0) {
    hi = lo
    lo = 0
    exp -= 32
  }
  const shift = Math.clz32(hi)
  if (shift !== 0) {
    hi = (hi << shift) | (lo >>> (32 - shift))
    lo <<= shift
  }
  o.exp = exp - shift
  o.hi = hi
  o.lo = lo
}

/** Takes the element hi:lo of `format` apart (hi is used for 64-bit elements only). */
export function unpack(o: Unpacked, format: Format, hi: number, lo: number): void {
  if (format.bits === 64) unpackFields(o, hi >>> 31, (hi >>> 20) & 0x7ff, format, ((hi & 0xfffff) << 11) | (lo >>> 21), lo << 11)
  else if (format.bits === 32) unpackFields(o, lo >>> 31, (lo >>> 23) & 0xff, format, (lo & 0x7fffff) << 8, 0)
  else unpackFields(o, (lo >>> 15) & 1, (lo >>> 10) & 0x1f, format, (lo & 0x3ff) << 21, 0)
}

/** Takes a double extended number apart; `se` holds sign and biased exponent. */
export function unpackX80(o: Unpacked, se: number, hi: number, lo: number) {
  const biased = se & X80_MAX_BIASED
  o.sign = (se >>> 15) & 1
  if (biased === 0) {
    if ((hi | lo) === 0) return o.setZero()
    // Pseudo-denormals (integer bit set) have the same exponent.
    o.kind = KIND_DENORMAL
    return normalizeInto(o, X80_MIN_EXPONENT, hi, lo)
  }
  o.exp = biased - X80_MAX_EXPONENT
  o.hi = hi
  o.lo = lo
  if (hi >= 0) o.kind = KIND_UNSUPPORTED
  else if (biased !== X80_MAX_BIASED) o.kind = KIND_NORMAL
  else if (((hi & 0x7fffffff) | lo) === 0) o.kind = KIND_INFINITY
  else o.kind = hi & QUIET_BIT ? KIND_QNAN : KIND_SNAN
}

/** Upper half of a packed element; 0 unless it has 64 bits. The significand's integer bit is not looked at. */
export function packHi(format: Format, sign: number, biased: number, hi: number): number {
  return format.bits === 64 ? (sign << 31) | (biased << 20) | ((hi >>> 11) & 0xfffff) : 0
}

/** Lower half, or all, of a packed element. */
export function packLo(format: Format, sign: number, biased: number, hi: number, lo: number): number {
  if (format.bits === 64) return (hi << 21) | (lo >>> 11)
  if (format.bits === 32) return (sign << 31) | (biased << 23) | ((hi >>> 8) & 0x7fffff)
  return (sign << 15) | (biased << 10) | ((hi >>> 21) & 0x3ff)
}
