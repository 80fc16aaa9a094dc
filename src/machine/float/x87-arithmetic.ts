import { KIND_INFINITY, KIND_QNAN, KIND_SNAN, KIND_UNSUPPORTED, KIND_ZERO, type Unpacked } from './format.ts'
import { EXCEPTION_IE, EXCEPTION_ZE, ROUND_DOWN, ROUND_TO_ZERO } from './mxcsr.ts'
import { roundToInteger } from './rounding.ts'
import { compareNumbers, RELATION_EQUAL, RELATION_LESS, RELATION_UNORDERED, relationToRflags } from './sse-compare.ts'
import { FSW_C0, FSW_C1, FSW_C2, FSW_C3, FSW_CONDITIONS, X87_FAULT_MF, X87_OK, X87State } from './x87-state.ts'

/** Basic operations, numbered as ModRM.reg encodes them: 4 is first - second, 5 second - first. */
export const X87_ADD = 0
export const X87_MUL = 1
export const X87_SUB = 4
export const X87_SUBR = 5
export const X87_DIV = 6
export const X87_DIVR = 7

/** Non-transcendental arithmetic on the register stack. Memory operands are in `b` already (see x87-memory.ts). */
export class X87Arithmetic extends X87State {
  /** D8 C0+i ..: ST(0) = ST(0) op ST(i). */
  arithmetic(operation: number, i: number): number {
    return this.arithmeticRegisters(operation, i, 0, false)
  }

  /** DC, DE: ST(i) = ST(0) op ST(i) (the encodings of SUB and SUBR make it so), and pop. */
  arithmeticTo(operation: number, i: number, pop: boolean): number {
    return this.arithmeticRegisters(operation, i, i, pop)
  }

  private arithmeticRegisters(operation: number, i: number, destination: number, pop: boolean): number {
    if (this.pending) return X87_FAULT_MF
    if (this.isEmpty(0) || this.isEmpty(i)) {
      if (this.stackUnderflow()) return X87_OK
      this.write(destination)
    } else {
      this.load(this.a, 0)
      this.load(this.b, i)
      this.begin()
      this.compute(operation)
      if (!this.commit(destination)) return X87_OK
    }
    if (pop) this.pop()
    return X87_OK
  }

  /** ST(0) = ST(0) op b. */
  protected arithmeticWithB(operation: number): number {
    if (this.isEmpty(0)) {
      if (!this.stackUnderflow()) this.write(0)
      return X87_OK
    }
    this.load(this.a, 0)
    this.begin()
    this.compute(operation)
    this.commit(0)
    return X87_OK
  }

  private compute(operation: number) {
    if (this.setNaN2()) return
    const { a, b } = this
    switch (operation) {
      case X87_ADD:
        return this.computeAdd(a, b, 0)
      case X87_SUB:
        return this.computeAdd(a, b, 1)
      case X87_SUBR:
        return this.computeAdd(b, a, 1)
      case X87_MUL:
        return this.computeMultiply(a, b)
      case X87_DIV:
        return this.computeDivide(a, b)
      default:
        return this.computeDivide(b, a)
    }
  }

  private computeAdd(a: Unpacked, b: Unpacked, negate: number) {
    const signOfB = b.sign ^ negate
    if (a.kind === KIND_INFINITY && b.kind === KIND_INFINITY && a.sign !== signOfB) return this.setInvalid()
    this.noteDenormal(a)
    this.noteDenormal(b)
    if (a.kind === KIND_INFINITY) return this.setInfinity(a.sign)
    if (b.kind === KIND_INFINITY) return this.setInfinity(signOfB)
    const zeroSign = this.rounding === ROUND_DOWN ? 1 : 0
    if (b.kind === KIND_ZERO) {
      if (a.kind === KIND_ZERO) return this.setZero(a.sign === signOfB ? a.sign : zeroSign)
      this.z.setFrom(a)
    } else if (a.kind === KIND_ZERO) {
      this.z.set(signOfB, b.exp, b.hi, b.lo)
    } else {
      this.z.add(a, b, signOfB, zeroSign)
    }
    this.setRounded(this.precision)
  }

  private computeMultiply(a: Unpacked, b: Unpacked) {
    const sign = a.sign ^ b.sign
    const infinite = a.kind === KIND_INFINITY || b.kind === KIND_INFINITY
    const zero = a.kind === KIND_ZERO || b.kind === KIND_ZERO
    if (infinite && zero) return this.setInvalid()
    this.noteDenormal(a)
    this.noteDenormal(b)
    if (infinite) return this.setInfinity(sign)
    if (zero) return this.setZero(sign)
    this.z.multiply(a, b)
    this.setRounded(this.precision)
  }

  private computeDivide(a: Unpacked, b: Unpacked) {
    const sign = a.sign ^ b.sign
    if (a.kind === b.kind && (a.kind === KIND_ZERO || a.kind === KIND_INFINITY)) return this.setInvalid()
    if (b.kind === KIND_ZERO) {
      if (a.kind !== KIND_INFINITY) this.flags |= EXCEPTION_ZE
      return this.setInfinity(sign)
    }
    this.noteDenormal(a)
    this.noteDenormal(b)
    if (a.kind === KIND_INFINITY) return this.setInfinity(sign)
    if (a.kind === KIND_ZERO || b.kind === KIND_INFINITY) return this.setZero(sign)
    this.z.divide(a, b)
    this.setRounded(this.precision)
  }

  /** An instruction ST(0) = f(ST(0)): fills in `a`, or gives the indefinite for an empty register; true when f is to be done. */
  protected beginUnary(): boolean {
    if (this.isEmpty(0)) {
      if (!this.stackUnderflow()) this.write(0)
      return false
    }
    this.load(this.a, 0)
    this.begin()
    return true
  }

  /** The same with ST(1) in `b`. */
  protected beginBinary(destination: number): boolean {
    if (this.isEmpty(0) || this.isEmpty(1)) {
      if (!this.stackUnderflow()) {
        this.write(destination)
        if (destination === 1) this.pop()
      }
      return false
    }
    this.load(this.a, 0)
    this.load(this.b, 1)
    this.begin()
    return true
  }

  fsqrt(): number {
    if (this.pending) return X87_FAULT_MF
    if (!this.beginUnary()) return X87_OK
    const a = this.a
    if (!this.setNaN1()) {
      if (a.kind === KIND_ZERO) {
        this.setZero(a.sign)
      } else if (a.sign !== 0) {
        this.setInvalid()
      } else if (a.kind === KIND_INFINITY) {
        this.setInfinity(0)
      } else {
        this.noteDenormal(a)
        this.z.squareRoot(a)
        this.setRounded(this.precision)
      }
    }
    this.commit(0)
    return X87_OK
  }

  fchs(): number {
    return this.changeSign((se) => se ^ 0x8000)
  }

  fabs(): number {
    return this.changeSign((se) => se & 0x7fff)
  }

  private changeSign(change: (se: number) => number): number {
    if (this.pending) return X87_FAULT_MF
    if (!this.beginUnary()) return X87_OK
    this.take(0)
    this.se = change(this.se)
    this.setCondition(0, FSW_C1)
    this.write(0)
    return X87_OK
  }

  frndint(): number {
    if (this.pending) return X87_FAULT_MF
    if (!this.beginUnary()) return X87_OK
    const { a, z } = this
    if (!this.setNaN1()) {
      this.noteDenormal(a)
      if (a.isFinite() && a.exp < 63) {
        z.setFrom(a)
        z.shiftRight(63 - z.exp)
        z.exp = 63
        this.round(64, this.rounding)
        z.normalize()
        if (z.isZero()) this.setZero(a.sign)
        else this.setResult((z.sign << 15) | (z.exp + 16383), z.hi, z.lo)
      } else {
        this.take(0)
      }
    }
    this.commit(0)
    return X87_OK
  }

  /** ST(0) * 2^trunc(ST(1)) */
  fscale(): number {
    if (this.pending) return X87_FAULT_MF
    if (!this.beginBinary(0)) return X87_OK
    if (!this.setNaN2()) this.computeScale()
    this.commit(0)
    return X87_OK
  }

  private computeScale() {
    const { a, b, z } = this
    if (b.kind === KIND_INFINITY) {
      if (a.kind === (b.sign !== 0 ? KIND_INFINITY : KIND_ZERO)) return this.setInvalid()
      this.noteDenormal(a)
      return b.sign !== 0 ? this.setZero(a.sign) : this.setInfinity(a.sign)
    }
    this.noteDenormal(a)
    this.noteDenormal(b)
    if (a.kind === KIND_INFINITY) return this.setInfinity(a.sign)
    if (a.kind === KIND_ZERO) return this.setZero(a.sign)
    let scale = 0
    if (b.kind !== KIND_ZERO) {
      z.setFrom(b)
      if (b.exp < 17) roundToInteger(z, ROUND_TO_ZERO)
      // Beyond 2^17 every result is out of range.
      scale = b.exp < 17 ? z.lo : 0x20000
      if (b.sign !== 0) scale = -scale
    }
    z.setFrom(a)
    z.exp += scale
    this.setRounded(64)
  }

  /** ST(0) becomes the exponent, then the significand is pushed. */
  fxtract(): number {
    if (this.pending) return X87_FAULT_MF
    if (this.isEmpty(0) || !this.isEmpty(-1)) {
      if (this.isEmpty(0) ? this.stackUnderflow() : this.stackOverflow()) return X87_OK
      this.write(0)
      this.push()
      return X87_OK
    }
    const { a, z } = this
    this.load(a, 0)
    this.begin()
    if (this.setNaN1()) {
      if (this.commit(0)) this.push()
      return X87_OK
    }
    if (a.kind === KIND_ZERO) {
      this.flags |= EXCEPTION_ZE
      this.setInfinity(1)
    } else if (a.kind === KIND_INFINITY) {
      this.setInfinity(0)
    } else {
      this.noteDenormal(a)
      const magnitude = Math.abs(a.exp)
      if (magnitude === 0) {
        this.setZero(0)
      } else {
        const shift = Math.clz32(magnitude)
        z.set(a.exp < 0 ? 1 : 0, 31 - shift, magnitude << shift, 0)
        this.setRounded(64)
      }
    }
    if (!this.commit(0)) return X87_OK
    if (a.isFinite()) this.setResult((a.sign << 15) | 16383, a.hi, a.lo)
    else this.setNumber(a)
    this.push()
    return X87_OK
  }

  /** Partial remainder, quotient truncated (FPREM) or, with `nearest`, rounded to nearest (FPREM1). */
  fprem(nearest: boolean): number {
    if (this.pending) return X87_FAULT_MF
    this.setCondition(0, FSW_C2)
    if (!this.beginBinary(0)) return X87_OK
    const { a, b } = this
    let conditions = -1
    if (!this.setNaN2()) {
      if (a.kind === KIND_INFINITY || b.kind === KIND_ZERO) {
        this.setInvalid()
      } else {
        this.noteDenormal(a)
        this.noteDenormal(b)
        conditions = 0
        if (a.kind === KIND_ZERO || b.kind === KIND_INFINITY) this.setNumber(a)
        else conditions = this.computeRemainder(nearest)
      }
    }
    if (this.commit(0) && conditions >= 0) this.setCondition(conditions)
    return X87_OK
  }

  /** Returns C2 for an incomplete reduction, else the low three quotient bits as C0, C3, C1. */
  private computeRemainder(nearest: boolean): number {
    const { a, b, z } = this
    const distance = a.exp - b.exp
    if (distance < (nearest ? -1 : 0)) {
      this.setNumber(a)
      return 0
    }
    // An exponent difference of 64 or more is reduced by 32..63 at a time; how much exactly is the processor's affair.
    const incomplete = distance >= 64
    const steps = (incomplete ? (distance & 31) | 32 : distance) + 1
    let hi = a.hi >>> 0
    let lo = a.lo >>> 0
    let quotient = 0
    const bHi = b.hi >>> 0
    const bLo = b.lo >>> 0
    let exp = a.exp
    let carry = 0
    for (let i = 0; i < steps; i++) {
      if (i !== 0) {
        carry = hi >= 0x80000000 ? 1 : 0
        hi = ((hi << 1) | (lo >>> 31)) >>> 0
        lo = (lo << 1) >>> 0
        exp--
      }
      quotient = (quotient << 1) & 7
      if (carry !== 0 || hi > bHi || (hi === bHi && lo >= bLo)) {
        const difference = lo - bLo
        lo = difference >>> 0
        hi = (hi - bHi - (difference < 0 ? 1 : 0)) >>> 0
        quotient |= 1
      }
    }
    z.set(a.sign, exp, hi | 0, lo | 0)
    z.normalize()
    if (nearest && !incomplete && this.roundsQuotientUp(quotient)) {
      this.subtractDivisor()
      quotient++
    }
    if (z.isZero()) this.setZero(a.sign)
    else this.setRounded(64)
    if (incomplete) return FSW_C2
    return (quotient & 4 ? FSW_C0 : 0) | (quotient & 2 ? FSW_C3 : 0) | (quotient & 1 ? FSW_C1 : 0)
  }

  /** Whether the remainder in `z` is more than half of b, or half of it with an odd quotient. */
  private roundsQuotientUp(quotient: number): boolean {
    const { z, b } = this
    if (z.isZero() || z.exp < b.exp - 1) return false
    if (z.exp > b.exp - 1) return true
    if (z.hi !== b.hi) return z.hi >>> 0 > b.hi >>> 0
    if (z.lo !== b.lo) return z.lo >>> 0 > b.lo >>> 0
    return (quotient & 1) !== 0
  }

  /** z = z - |b| with z's sign: the remainder of the next quotient. */
  private subtractDivisor(): void {
    const { a, b, z } = this
    const sign = a.sign
    a.exp = z.exp
    a.hi = z.hi
    a.lo = z.lo
    z.add(a, b, sign ^ 1, 0)
  }

  // ---- comparisons ----

  /** Relation of a and b. `quiet` (FUCOM*): quiet NaNs raise nothing. */
  private relate(quiet: boolean): number {
    const { a, b } = this
    if (a.kind >= KIND_QNAN || b.kind >= KIND_QNAN) {
      if (!quiet || isInvalidQuietly(a) || isInvalidQuietly(b)) this.flags |= EXCEPTION_IE
      return RELATION_UNORDERED
    }
    this.noteDenormal(a)
    this.noteDenormal(b)
    return compareNumbers(a, b)
  }

  /** FCOM, FUCOM and their pops: C3 C2 C0. */
  fcom(i: number, quiet: boolean, pops: number): number {
    if (this.pending) return X87_FAULT_MF
    const empty = this.isEmpty(0) || this.isEmpty(i)
    if (!empty) this.load(this.b, i)
    return this.compareWithB(empty, quiet, pops)
  }

  /** The condition codes are set even when an unmasked exception keeps the operands from being popped. */
  protected compareWithB(empty: boolean, quiet: boolean, pops: number): number {
    const done = this.finishCompare(empty, quiet)
    const relation = this.relation
    this.setCondition(
      relation === RELATION_UNORDERED
        ? FSW_C3 | FSW_C2 | FSW_C0
        : relation === RELATION_EQUAL
          ? FSW_C3
          : relation === RELATION_LESS
            ? FSW_C0
            : 0,
    )
    if (done) for (let n = 0; n < pops; n++) this.pop()
    return X87_OK
  }

  private relation = 0

  /** Finds the relation of ST(0) and b and raises exceptions; false when one is unmasked. */
  private finishCompare(empty: boolean, quiet: boolean): boolean {
    this.relation = RELATION_UNORDERED
    if (empty) return !this.stackUnderflow()
    this.load(this.a, 0)
    this.begin()
    this.relation = this.relate(quiet)
    return this.finish()
  }

  /** ZF PF CF after FCOMI and FUCOMI in their RFLAGS positions (OF SF AF become 0), or -1: RFLAGS stay. */
  rflags = -1

  fcomi(i: number, quiet: boolean, pop: boolean): number {
    this.rflags = -1
    if (this.pending) return X87_FAULT_MF
    const empty = this.isEmpty(0) || this.isEmpty(i)
    if (!empty) this.load(this.b, i)
    const done = this.finishCompare(empty, quiet)
    this.rflags = relationToRflags(this.relation)
    if (done && pop) this.pop()
    return X87_OK
  }

  ftst(): number {
    if (this.pending) return X87_FAULT_MF
    this.b.setZero()
    this.b.sign = 0
    return this.compareWithB(this.isEmpty(0), false, 0)
  }

  fxam(): number {
    if (this.pending) return X87_FAULT_MF
    this.load(this.a, 0)
    const sign = this.a.sign !== 0 ? FSW_C1 : 0
    // C3 C2 C0: unsupported 000, NaN 001, normal 010, infinity 011, zero 100, empty 101, denormal 110.
    const classes = [FSW_C3, FSW_C2, FSW_C3 | FSW_C2, FSW_C2 | FSW_C0, FSW_C0, FSW_C0, 0]
    this.setCondition(sign | (this.isEmpty(0) ? FSW_C3 | FSW_C0 : classes[this.a.kind]), FSW_CONDITIONS)
    return X87_OK
  }
}

function isInvalidQuietly(o: Unpacked): boolean {
  return o.kind === KIND_SNAN || o.kind === KIND_UNSUPPORTED
}
