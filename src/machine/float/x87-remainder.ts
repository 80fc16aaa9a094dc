import { KIND_INFINITY, KIND_ZERO } from './format.ts'
import { X87Arithmetic } from './x87-arithmetic.ts'
import { FSW_C0, FSW_C1, FSW_C2, FSW_C3, X87_FAULT_MF, X87_OK } from './x87-state.ts'

/** FPREM and FPREM1. */
export class X87Remainder extends X87Arithmetic {
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
}
