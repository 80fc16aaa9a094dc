import type { Unpacked } from './format.ts'
import { LIMB, LIMB_MASK, PER_LIMB, quotientDigit, rootDigit } from './limbs.ts'
import { add128, compare128, leadingZeros128, shiftLeft128, shiftRight128, subtract128 } from './words128.ts'

/**
 * An exact, or truncated but sticky, result before rounding: (hi:lo + rest / 2^32) / 2^63 * 2^exp, normalized unless zero.
 * `rest` holds guard bits; its bit 0 is sticky: set when anything non-zero was lost below.
 *
 * The operations take finite non-zero operands with normalized 64-bit significands, so that they serve every format.
 */
export class Wide {
  sign = 0
  exp = 0
  hi = 0
  lo = 0
  rest = 0
  /** 22-bit limbs of a product, quotient or root in progress; doubles hold sums of their products exactly. */
  private readonly limbs = new Float64Array(6)
  private readonly product = new Int32Array(4)
  private readonly addend = new Int32Array(4)

  isZero(): boolean {
    return (this.hi | this.lo | this.rest) === 0
  }

  set(sign: number, exp: number, hi: number, lo: number): void {
    this.sign = sign
    this.exp = exp
    this.hi = hi
    this.lo = lo
    this.rest = 0
  }

  setZero(sign: number): void {
    this.set(sign, 0, 0, 0)
  }

  setFrom(a: Unpacked): void {
    this.set(a.sign, a.exp, a.hi, a.lo)
  }

  copyFrom(other: Wide): void {
    this.set(other.sign, other.exp, other.hi, other.lo)
    this.rest = other.rest
  }

  /** Shifts the significand right by n >= 0, keeping what falls out as the sticky bit. The exponent stays. */
  shiftRight(n: number): void {
    let { hi, lo, rest } = this
    if (n >= 96) {
      rest = (hi | lo | rest) !== 0 ? 1 : 0
      hi = lo = 0
    } else {
      let lost = 0
      for (; n >= 32; n -= 32) {
        lost |= rest
        rest = lo
        lo = hi
        hi = 0
      }
      if (n !== 0) {
        lost |= rest << (32 - n)
        rest = (rest >>> n) | (lo << (32 - n))
        lo = (lo >>> n) | (hi << (32 - n))
        hi >>>= n
      }
      if (lost !== 0) rest |= 1
    }
    this.hi = hi | 0
    this.lo = lo
    this.rest = rest
  }

  /** Moves the leading one to bit 63 and adjusts the exponent; zero stays. */
  normalize(): void {
    let { hi, lo, rest } = this
    if (hi < 0 || (hi | lo | rest) === 0) return
    while (hi === 0) {
      hi = lo
      lo = rest
      rest = 0
      this.exp -= 32
    }
    const n = Math.clz32(hi)
    if (n !== 0) {
      hi = (hi << n) | (lo >>> (32 - n))
      lo = (lo << n) | (rest >>> (32 - n))
      rest <<= n
      this.exp -= n
    }
    this.hi = hi
    this.lo = lo
    this.rest = rest
  }

  /** a + b, with b's sign given apart. An exact zero gets the sign `zeroSign` (SDM Vol. 1 §4.8.3.1). */
  add(a: Unpacked, b: Unpacked, signOfB: number, zeroSign: number): void {
    if (a.sign === signOfB) {
      if (a.exp >= b.exp) this.addMagnitudes(a, b)
      else this.addMagnitudes(b, a)
      this.sign = a.sign
      return
    }
    const aIsLarger = a.exp !== b.exp ? a.exp > b.exp : a.hi !== b.hi ? a.hi >>> 0 > b.hi >>> 0 : a.lo >>> 0 >= b.lo >>> 0
    if (aIsLarger) this.subtractMagnitudes(a, b)
    else this.subtractMagnitudes(b, a)
    this.sign = this.isZero() ? zeroSign : aIsLarger ? a.sign : signOfB
  }

  private addMagnitudes(large: Unpacked, small: Unpacked): void {
    this.setFrom(small)
    this.shiftRight(large.exp - small.exp)
    this.exp = large.exp
    const lo = (this.lo >>> 0) + (large.lo >>> 0)
    const hi = (this.hi >>> 0) + (large.hi >>> 0) + (lo > 0xffffffff ? 1 : 0)
    this.lo = lo | 0
    this.hi = hi | 0
    if (hi > 0xffffffff) {
      this.shiftRight(1)
      this.hi |= 0x80000000
      this.exp++
    }
  }

  private subtractMagnitudes(large: Unpacked, small: Unpacked): void {
    this.setFrom(small)
    this.shiftRight(large.exp - small.exp)
    this.exp = large.exp
    const rest = -(this.rest >>> 0)
    const lo = (large.lo >>> 0) - (this.lo >>> 0) - (rest < 0 ? 1 : 0)
    const hi = (large.hi >>> 0) - (this.hi >>> 0) - (lo < 0 ? 1 : 0)
    this.rest = rest | 0
    this.lo = lo | 0
    this.hi = hi | 0
    this.normalize()
  }

  multiply(a: Unpacked, b: Unpacked): void {
    this.multiplyInto(this.product, a, b)
    const p = this.product
    this.sign = a.sign ^ b.sign
    this.exp = a.exp + b.exp + 1
    this.hi = p[3]
    this.lo = p[2]
    this.rest = p[1] | (p[0] !== 0 ? 1 : 0)
    if (this.hi >= 0) {
      this.hi = (this.hi << 1) | (this.lo >>> 31)
      this.lo = (this.lo << 1) | (this.rest >>> 31)
      // The product's own next bit may be the sticky one; both stand for "not zero".
      this.rest = (this.rest << 1) | (p[0] !== 0 ? 1 : 0)
      this.exp--
    }
  }

  /** The 128-bit product of two significands as four words, lowest first. */
  private multiplyInto(words: Int32Array, a: Unpacked, b: Unpacked): void {
    const a0 = a.lo & LIMB_MASK
    const a1 = (a.lo >>> 22) | ((a.hi & 0xfff) << 10)
    const a2 = a.hi >>> 12
    const b0 = b.lo & LIMB_MASK
    const b1 = (b.lo >>> 22) | ((b.hi & 0xfff) << 10)
    const b2 = b.hi >>> 12
    const p0 = a0 * b0
    const c0 = Math.floor(p0 * PER_LIMB)
    const p1 = a0 * b1 + a1 * b0 + c0
    const c1 = Math.floor(p1 * PER_LIMB)
    const p2 = a0 * b2 + a1 * b1 + a2 * b0 + c1
    const c2 = Math.floor(p2 * PER_LIMB)
    const p3 = a1 * b2 + a2 * b1 + c2
    const c3 = Math.floor(p3 * PER_LIMB)
    const p4 = a2 * b2 + c3
    const l0 = p0 - c0 * LIMB
    const l1 = p1 - c1 * LIMB
    const l2 = p2 - c2 * LIMB
    const l3 = p3 - c3 * LIMB
    words[0] = l0 | (l1 << 22)
    words[1] = (l1 >>> 10) | (l2 << 12)
    words[2] = (l2 >>> 20) | (l3 << 2) | (p4 << 24)
    words[3] = Math.floor(p4 / 256)
  }

  /**
   * a * b + c with one rounding to come. The 128-bit product and the addend meet exactly, or at a distance at which a sticky
   * bit says enough, because the operands have at most 53 significant bits.
   */
  multiplyAdd(a: Unpacked, b: Unpacked, signOfProduct: number, c: Unpacked, signOfC: number, zeroSign: number) {
    const p = this.product
    const q = this.addend
    this.multiplyInto(p, a, b)
    let exp = a.exp + b.exp + 1
    if (p[3] >= 0) {
      shiftLeft128(p, 1)
      exp--
    }
    q[0] = q[1] = 0
    q[2] = c.lo
    q[3] = c.hi
    const difference = exp - c.exp
    if (difference > 0) shiftRight128(q, difference)
    else if (difference < 0) shiftRight128(p, -difference)
    if (difference < 0) exp = c.exp
    let sign = signOfProduct
    if (signOfProduct === signOfC) {
      if (add128(p, q)) {
        shiftRight128(p, 1)
        p[3] |= 0x80000000
        exp++
      }
    } else if (compare128(p, q) >= 0) {
      subtract128(p, p, q)
    } else {
      subtract128(p, q, p)
      sign = signOfC
    }
    if ((p[0] | p[1] | p[2] | p[3]) === 0) return this.setZero(zeroSign)
    const n = leadingZeros128(p)
    shiftLeft128(p, n)
    this.set(sign, exp - n, p[3], p[2])
    this.rest = p[1] | (p[0] !== 0 ? 1 : 0)
  }

  /** a / b: 66 or 67 quotient bits in three digits of 22, then a sticky bit. */
  divide(a: Unpacked, b: Unpacked): void {
    const r = this.limbs
    const b0 = b.lo & LIMB_MASK
    const b1 = (b.lo >>> 22) | ((b.hi & 0xfff) << 10)
    const b2 = b.hi >>> 12
    const divisor = (b2 * LIMB + b1) * LIMB + b0
    r[0] = a.lo & LIMB_MASK
    r[1] = (a.lo >>> 22) | ((a.hi & 0xfff) << 10)
    r[2] = a.hi >>> 12
    const q2 = quotientDigit(r, divisor, b2, b1, b0)
    const q1 = quotientDigit(r, divisor, b2, b1, b0)
    const q0 = quotientDigit(r, divisor, b2, b1, b0)
    // q2 is up to 23 bits long: the quotient lies in (2^65, 2^67).
    const sticky = r[0] !== 0 || r[1] !== 0 || r[2] !== 0 ? 1 : 0
    this.sign = a.sign ^ b.sign
    this.exp = a.exp - b.exp
    // Bit 66 has the weight 2^exp: 3 bits lie below the significand.
    this.hi = (q2 << 9) | (q1 >>> 13)
    this.lo = (q1 << 19) | (q0 >>> 3)
    this.rest = (q0 << 29) | sticky
    if (q2 < LIMB) {
      this.hi = (q2 << 10) | (q1 >>> 12)
      this.lo = (q1 << 20) | (q0 >>> 2)
      this.rest = (q0 << 30) | sticky
      this.exp--
    }
  }

  /** Square root of a positive number: 66 bits in three digits of 22, then a sticky bit. */
  squareRoot(a: Unpacked): void {
    // The radicand as 132 bits, six limbs; an even exponent keeps the root's leading bit at the top.
    const odd = a.exp & 1
    const hi = odd ? a.hi : a.hi >>> 1
    const lo = odd ? a.lo : (a.lo >>> 1) | (a.hi << 31)
    const below = odd ? 0 : a.lo & 1
    const n5 = hi >>> 10
    const n4 = ((hi & 0x3ff) << 12) | (lo >>> 20)
    const n3 = ((lo & 0xfffff) << 2) | (below << 1)
    const top = n5 * LIMB + n4
    const s2 = Math.floor(Math.sqrt(top))
    const r = this.limbs
    r[0] = top - s2 * s2
    r[1] = r[2] = r[3] = 0
    const s1 = rootDigit(r, s2, 0, n3, 0)
    const s0 = rootDigit(r, s2 * LIMB + s1, 1, 0, 0)
    const sticky = r[0] !== 0 || r[1] !== 0 || r[2] !== 0 || r[3] !== 0 ? 1 : 0
    this.sign = 0
    this.exp = (a.exp - odd) / 2
    this.hi = (s2 << 10) | (s1 >>> 12)
    this.lo = (s1 << 20) | (s0 >>> 2)
    this.rest = (s0 << 30) | sticky
  }
}
