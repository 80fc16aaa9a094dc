import { KIND_INFINITY, KIND_ZERO, type Unpacked } from './format.ts'
import { EXCEPTION_ZE, ROUND_DOWN, ROUND_TO_ZERO } from './mxcsr.ts'
import { roundToInteger } from './rounding.ts'
import { X87Result } from './x87-result.ts'
import { FSW_C1, X87_FAULT_MF, X87_OK } from './x87-state.ts'

/** Basic operations, numbered as ModRM.reg encodes them: 4 is first - second, 5 second - first. */
export const X87_ADD = 0
export const X87_MUL = 1
export const X87_SUB = 4
export const X87_SUBR = 5
export const X87_DIV = 6
export const X87_DIVR = 7

/** Non-transcendental arithmetic on the register stack. Memory operands are in `b` already (see x87-memory.ts). */
export class X87Arithmetic extends X87Result {
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
}
