import {
  type BigFloat,
  bigAtan,
  bigCosine,
  bigFloat,
  bigLog2,
  bigMultiply,
  bigPi,
  bigPowerOfTwoMinusOne,
  bigSine,
  bitLength,
  reduceByQuarterTurns,
} from './big-float.ts'
import { INTEGER_BIT, KIND_INFINITY, KIND_ZERO, type Unpacked, X80_MAX_BIASED } from './format.ts'
import { EXCEPTION_PE, EXCEPTION_UE, EXCEPTION_ZE } from './mxcsr.ts'
import { FSW_C1, FSW_C2, X87_FAULT_MF, X87_OK } from './x87-state.ts'
import { X87Store } from './x87-store.ts'

/**
 * F2XM1, FYL2X, FYL2XP1, FPATAN, FPTAN, FSIN, FCOS, FSINCOS.
 *
 * Results are computed to more than 128 bits and rounded once to 64 as FCW.RC says, so they are the correctly rounded ones
 * but for undetectably close cases; processors promise less than 1 ulp. Arguments of the trigonometric functions are first
 * reduced by pi with 66 significant bits, as processors do (SDM Vol. 1 §8.3.8): FSIN of a number near pi shows the
 * difference. Special cases: the tables of SDM Vol. 2.
 */
export class X87Transcendental extends X87Store {
  private toBig(o: Unpacked): BigFloat {
    return bigFloat(o.sign !== 0, (BigInt(o.hi >>> 0) << 32n) | BigInt(o.lo >>> 0), o.exp - 63)
  }

  /** Rounds a result to 64 bits. `inexact`: the value stands for one with more bits. */
  private setBig(value: BigFloat, inexact: boolean): void {
    const z = this.z
    let { magnitude, exponent } = value
    const length = bitLength(magnitude)
    const excess = length - 96
    if (excess > 0) {
      inexact ||= (magnitude & ((1n << BigInt(excess)) - 1n)) !== 0n
      magnitude >>= BigInt(excess)
    } else {
      magnitude <<= BigInt(-excess)
    }
    exponent += excess
    z.set(value.negative ? 1 : 0, exponent + 95, Number(magnitude >> 64n) | 0, Number((magnitude >> 32n) & 0xffffffffn) | 0)
    z.rest = Number(magnitude & 0xffffffffn) | (inexact ? 1 : 0)
    this.setRounded(64)
    // Processors report every such result as inexact, also those that are not.
    this.flags |= (this.se & X80_MAX_BIASED) === 0 ? EXCEPTION_PE | EXCEPTION_UE : EXCEPTION_PE
  }

  f2xm1(): number {
    if (this.pending) return X87_FAULT_MF
    if (!this.beginUnary()) return X87_OK
    const a = this.a
    if (!this.setNaN1()) {
      this.noteDenormal(a)
      if (a.kind === KIND_ZERO) {
        this.setZero(a.sign)
      } else if (a.kind === KIND_INFINITY) {
        if (a.sign === 0) this.setInfinity(0)
        else this.setResult(0xbfff, INTEGER_BIT, 0)
      } else if (a.exp > 0 || (a.exp === 0 && (a.hi !== INTEGER_BIT || a.lo !== 0))) {
        // |x| > 1: undefined. Processors leave the operand and report it as inexact.
        this.setUndefined()
      } else if (a.exp === 0) {
        // 2^1 - 1 = 1, 2^-1 - 1 = -1/2
        this.setResult(a.sign !== 0 ? 0xbffe : 0x3fff, INTEGER_BIT, 0)
        this.flags |= EXCEPTION_PE
      } else {
        this.setBig(bigPowerOfTwoMinusOne(this.toBig(a)), true)
      }
    }
    this.commit(0)
    return X87_OK
  }

  private setUndefined(): void {
    this.setNumber(this.a)
    this.flags |= EXCEPTION_PE
  }

  /** ST(1) = ST(1) * log2(ST(0) + plusOne), pop. */
  fyl2x(plusOne: boolean): number {
    if (this.pending) return X87_FAULT_MF
    if (!this.beginBinary(1)) return X87_OK
    if (!this.setNaN2()) {
      if (plusOne) this.computeLogPlusOne()
      else this.computeLog()
    }
    if (this.commit(1)) this.pop()
    return X87_OK
  }

  private computeLog() {
    const { a, b } = this
    if (a.kind === KIND_ZERO) {
      if (b.kind === KIND_ZERO) return this.setInvalid()
      if (b.kind !== KIND_INFINITY) this.flags |= EXCEPTION_ZE
      return this.setInfinity(b.sign ^ 1)
    }
    if (a.sign !== 0) return this.setInvalid()
    if (a.kind === KIND_INFINITY) {
      if (b.kind === KIND_ZERO) return this.setInvalid()
      this.noteDenormal(b)
      return this.setInfinity(b.sign)
    }
    const isOne = a.exp === 0 && a.hi === INTEGER_BIT && a.lo === 0
    const logIsNegative = a.exp < 0 ? 1 : 0
    if (b.kind === KIND_INFINITY) {
      if (isOne) return this.setInvalid()
      this.noteDenormal(a)
      return this.setInfinity(b.sign ^ logIsNegative)
    }
    this.noteDenormal(a)
    this.noteDenormal(b)
    if (isOne || b.kind === KIND_ZERO) return this.setZero(b.sign ^ logIsNegative)
    const isPowerOfTwo = a.hi === INTEGER_BIT && a.lo === 0
    this.setBig(bigMultiply(bigLog2(this.toBig(a), false), this.toBig(b)), !isPowerOfTwo)
  }

  private computeLogPlusOne() {
    const { a, b } = this
    if (a.kind === KIND_INFINITY) {
      if (a.sign !== 0 || b.kind === KIND_ZERO) return this.setInvalid()
      this.noteDenormal(b)
      return this.setInfinity(b.sign)
    }
    if (b.kind === KIND_INFINITY) {
      if (a.kind === KIND_ZERO) return this.setInvalid()
      this.noteDenormal(a)
      return this.setInfinity(a.sign ^ b.sign)
    }
    this.noteDenormal(a)
    this.noteDenormal(b)
    if (a.kind === KIND_ZERO || b.kind === KIND_ZERO) return this.setZero(a.sign ^ b.sign)
    // At and below -1 there is no logarithm; the result is undefined.
    if (a.sign !== 0 && a.exp >= 0) return this.setUndefined()
    this.setBig(bigMultiply(bigLog2(this.toBig(a), true), this.toBig(b)), true)
  }

  /** ST(1) = atan2(ST(1), ST(0)), pop. */
  fpatan(): number {
    if (this.pending) return X87_FAULT_MF
    if (!this.beginBinary(1)) return X87_OK
    if (!this.setNaN2()) this.computeArcTangent()
    if (this.commit(1)) this.pop()
    return X87_OK
  }

  private computeArcTangent() {
    const { a: x, b: y } = this
    const sign = y.sign
    if (x.kind === KIND_INFINITY || y.kind === KIND_INFINITY) {
      this.noteDenormal(x)
      this.noteDenormal(y)
      if (y.kind !== KIND_INFINITY) return x.sign !== 0 ? this.setPi(sign, 1, 0) : this.setZero(sign)
      if (x.kind !== KIND_INFINITY) return this.setPi(sign, 1, -1)
      return x.sign !== 0 ? this.setPi(sign, 3, -2) : this.setPi(sign, 1, -2)
    }
    this.noteDenormal(x)
    this.noteDenormal(y)
    if (y.kind === KIND_ZERO) return x.sign !== 0 ? this.setPi(sign, 1, 0) : this.setZero(sign)
    if (x.kind === KIND_ZERO) return this.setPi(sign, 1, -1)
    this.setBig(bigAtan(this.toBig(y), this.toBig(x)), true)
  }

  /** multiple * pi * 2^power */
  private setPi(sign: number, multiple: number, power: number): void {
    const pi = bigPi()
    this.setBig({ negative: sign !== 0, magnitude: pi.magnitude * BigInt(multiple), exponent: pi.exponent + power }, true)
  }

  /**
   * Common part of the trigonometric instructions: true when `a` is a finite non-zero number in range. Otherwise the result
   * (a NaN), or C2 for |x| >= 2^63, is dealt with.
   */
  private beginTrigonometric(): boolean {
    const a = this.a
    if (this.setNaN1()) return false
    if (a.kind === KIND_INFINITY) {
      this.setInvalid()
      return false
    }
    return true
  }

  private get outOfRange(): boolean {
    return this.a.isFinite() && this.a.exp >= 63
  }

  fsin(): number {
    return this.sineOrCosine(false)
  }

  fcos(): number {
    return this.sineOrCosine(true)
  }

  private sineOrCosine(cosine: boolean): number {
    if (this.pending) return X87_FAULT_MF
    this.setCondition(0, FSW_C2)
    if (!this.beginUnary()) return X87_OK
    if (this.outOfRange) {
      this.setCondition(FSW_C2, FSW_C1 | FSW_C2)
      return X87_OK
    }
    if (this.beginTrigonometric()) {
      this.noteDenormal(this.a)
      this.setTrigonometric(cosine)
    }
    this.commit(0)
    return X87_OK
  }

  /** Sine or cosine of `a`, zero or in range. */
  private setTrigonometric(cosine: boolean) {
    const a = this.a
    if (a.kind === KIND_ZERO) return cosine ? this.setOne() : this.setZero(a.sign)
    const { remainder, quarters } = reduceByQuarterTurns(this.toBig(a))
    const turn = quarters + (cosine ? 1 : 0)
    const value = turn & 1 ? bigCosine(remainder) : bigSine(remainder)
    this.setBig({ ...value, negative: value.negative !== ((turn & 2) !== 0) }, true)
  }

  /** ST(0) becomes the sine, then the cosine is pushed. */
  fsincos(): number {
    return this.trigonometricPair((first) => this.setTrigonometric(!first))
  }

  /** ST(0) becomes the tangent, then 1.0 is pushed. */
  fptan(): number {
    return this.trigonometricPair((first) => (first ? this.setTangent() : this.setOne()))
  }

  private setTangent() {
    const a = this.a
    if (a.kind === KIND_ZERO) return this.setZero(a.sign)
    const { remainder, quarters } = reduceByQuarterTurns(this.toBig(a))
    const sine = bigSine(remainder)
    const cosine = bigCosine(remainder)
    const [above, below] = quarters & 1 ? [cosine, sine] : [sine, cosine]
    // Extra bits keep the quotient as precise as its parts.
    const magnitude = (above.magnitude << 256n) / below.magnitude
    const negative = (above.negative !== below.negative) !== ((quarters & 1) !== 0)
    this.setBig({ negative, magnitude, exponent: above.exponent - below.exponent - 256 }, true)
  }

  /** An instruction with two results, `set(true)` for ST(0), then `set(false)` for the pushed one. NaNs are pushed too. */
  private trigonometricPair(set: (first: boolean) => void): number {
    if (this.pending) return X87_FAULT_MF
    this.setCondition(0, FSW_C2)
    if (this.isEmpty(0) || !this.isEmpty(-1)) {
      if (this.isEmpty(0) ? this.stackUnderflow() : this.stackOverflow()) return X87_OK
      this.write(0)
      this.push()
      return X87_OK
    }
    this.load(this.a, 0)
    this.begin()
    if (this.outOfRange) {
      this.setCondition(FSW_C2, FSW_C1 | FSW_C2)
      return X87_OK
    }
    const isNumber = this.beginTrigonometric()
    if (isNumber) {
      this.noteDenormal(this.a)
      set(true)
    }
    if (!this.commit(0)) return X87_OK
    if (isNumber) {
      this.begin()
      set(false)
      this.raise(this.flags & EXCEPTION_PE)
    }
    this.push()
    return X87_OK
  }
}
