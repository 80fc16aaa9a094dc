import {
  F32,
  F64,
  type Format,
  INTEGER_BIT,
  KIND_INFINITY,
  KIND_QNAN,
  KIND_SNAN,
  KIND_UNSUPPORTED,
  KIND_ZERO,
  packHi,
  packLo,
  QUIET_BIT,
} from './format.ts'
import {
  EXCEPTION_IE,
  EXCEPTION_OE,
  EXCEPTION_PE,
  EXCEPTION_UE,
  ROUND_DOWN,
  ROUND_NEAREST,
  ROUND_TO_ZERO,
  ROUND_UP,
} from './mxcsr.ts'
import { roundingCarries } from './rounding.ts'
import { integerFits } from './sse-convert.ts'
import { X87_M64, X87Load } from './x87-load.ts'
import { FSW_C1, X87_FAULT_MF, X87_OK } from './x87-state.ts'

/**
 * Stores. The operand lies at a wasm offset aligned to 4 bytes, from where the caller writes it out: `stored` is the number
 * of bytes, 0 after an unmasked exception that suppresses the store.
 */
export class X87Store extends X87Load {
  stored = 0

  /** FST(P) ST(i) */
  fstSt(i: number, pop: boolean): number {
    if (this.pending) return X87_FAULT_MF
    if (this.isEmpty(0)) {
      if (this.stackUnderflow()) return X87_OK
    } else {
      this.setCondition(0, FSW_C1)
      this.take(0)
    }
    this.write(i)
    if (pop) this.pop()
    return X87_OK
  }

  /** D9 D8+i, an alias of FSTP ST(i) that takes an empty ST(0) without a stack underflow. */
  fstpnce(i: number): number {
    if (this.pending) return X87_FAULT_MF
    if (!this.isEmpty(0)) return this.fstSt(i, true)
    this.setCondition(0, FSW_C1)
    this.pop()
    return X87_OK
  }

  /** FST(P) m32/m64 */
  fst(format: number, mem: number, pop: boolean): number {
    if (this.pending) return X87_FAULT_MF
    this.stored = 0
    const target = format === X87_M64 ? F64 : F32
    if (this.isEmpty(0)) {
      if (this.stackUnderflow()) return X87_OK
      this.setPacked(target, 1, target.maxBiased, INTEGER_BIT | QUIET_BIT, 0)
    } else {
      this.load(this.a, 0)
      this.begin()
      this.computeStore(target)
      if (!this.finishStore()) return X87_OK
    }
    this.i32[mem >> 2] = this.lo
    if (target.bits === 64) this.i32[(mem + 4) >> 2] = this.hi
    this.stored = target.bits >> 3
    if (pop) this.pop()
    return X87_OK
  }

  /**
   * An unmasked OE or UE also keeps memory and stack as they were: there is no register to hold a scaled result. PE is not
   * reported then.
   */
  private finishStore(): boolean {
    if ((this.flags & this.unmasked & (EXCEPTION_OE | EXCEPTION_UE)) === 0) return this.finish()
    this.flags &= ~EXCEPTION_PE
    this.roundedUp = false
    this.finish()
    return false
  }

  private setPacked(format: Format, sign: number, biased: number, hi: number, lo: number): void {
    this.hi = packHi(format, sign, biased, hi)
    this.lo = packLo(format, sign, biased, hi, lo)
  }

  private computeStore(format: Format) {
    const a = this.a
    switch (a.kind) {
      case KIND_ZERO:
        return this.setPacked(format, a.sign, 0, 0, 0)
      case KIND_INFINITY:
        return this.setPacked(format, a.sign, format.maxBiased, INTEGER_BIT, 0)
      case KIND_UNSUPPORTED:
        this.flags |= EXCEPTION_IE
        return this.setPacked(format, 1, format.maxBiased, INTEGER_BIT | QUIET_BIT, 0)
      case KIND_SNAN:
        this.flags |= EXCEPTION_IE
        return this.setPacked(format, a.sign, format.maxBiased, a.hi | QUIET_BIT, a.lo)
      case KIND_QNAN:
        return this.setPacked(format, a.sign, format.maxBiased, a.hi, a.lo)
      default:
        this.z.setFrom(a)
        return this.roundStore(format)
    }
  }

  private roundStore(format: Format) {
    const z = this.z
    const mode = this.rounding
    const { precision, minExponent, maxExponent } = format
    if (z.exp < minExponent && (z.exp < minExponent - 1 || !roundingCarries(z, precision, mode))) {
      if ((this.unmasked & EXCEPTION_UE) !== 0) {
        this.flags |= EXCEPTION_UE
        return
      }
      z.shiftRight(minExponent - z.exp)
      this.round(precision, mode)
      if ((this.flags & EXCEPTION_PE) !== 0) this.flags |= EXCEPTION_UE
      return this.setPacked(format, z.sign, z.hi < 0 ? 1 : 0, z.hi, z.lo)
    }
    this.round(precision, mode)
    if (z.exp <= maxExponent) return this.setPacked(format, z.sign, z.exp + maxExponent, z.hi, z.lo)
    this.flags |= EXCEPTION_OE | EXCEPTION_PE
    this.roundedUp = mode === ROUND_NEAREST || mode === (z.sign !== 0 ? ROUND_DOWN : ROUND_UP)
    if (this.roundedUp) this.setPacked(format, z.sign, format.maxBiased, INTEGER_BIT, 0)
    else this.setPacked(format, z.sign, format.maxBiased - 1, -1, -1)
  }

  /** FSTP m80: the register as it is. */
  fstpM80(mem: number): number {
    if (this.pending) return X87_FAULT_MF
    this.stored = 0
    if (this.isEmpty(0)) {
      if (this.stackUnderflow()) return X87_OK
    } else {
      this.setCondition(0, FSW_C1)
      this.take(0)
    }
    this.i32[mem >> 2] = this.lo
    this.i32[(mem + 4) >> 2] = this.hi
    this.u16[(mem + 8) >> 1] = this.se
    this.stored = 10
    this.pop()
    return X87_OK
  }

  /** FIST(P) m16/m32/m64 and, truncating, FISTTP. */
  fist(bits: number, mem: number, truncate: boolean, pop: boolean): number {
    if (this.pending) return X87_FAULT_MF
    this.stored = 0
    let hi = 0x80000000 | 0
    let lo = bits === 64 ? 0 : -1 << (bits - 1)
    if (this.isEmpty(0)) {
      if (this.stackUnderflow()) return X87_OK
    } else {
      this.load(this.a, 0)
      this.begin()
      if (this.toInteger(truncate ? ROUND_TO_ZERO : this.rounding) && integerFits(this.z, bits, true)) {
        const z = this.z
        lo = z.sign !== 0 ? -z.lo | 0 : z.lo
        hi = z.sign !== 0 ? (~z.hi + (z.lo === 0 ? 1 : 0)) | 0 : z.hi
      } else {
        this.flags = EXCEPTION_IE
        this.roundedUp = false
      }
      if (!this.finish()) return X87_OK
    }
    if (bits === 16) this.u16[mem >> 1] = lo
    else this.i32[mem >> 2] = lo
    if (bits === 64) this.i32[(mem + 4) >> 2] = hi
    this.stored = bits >> 3
    if (pop) this.pop()
    return X87_OK
  }

  /** Rounds `a` to an integer magnitude of at most 64 bits in `z`; false when it is none. */
  private toInteger(mode: number): boolean {
    const { a, z } = this
    if (a.kind === KIND_ZERO) {
      z.setZero(a.sign)
      return true
    }
    if (a.kind >= KIND_INFINITY || a.exp > 63) return false
    z.setFrom(a)
    const before = this.flags
    z.shiftRight(63 - z.exp)
    z.exp = 63
    this.round(64, mode)
    if (z.exp === 63) return true
    this.flags = before
    return false
  }

  fbstp(mem: number): number {
    if (this.pending) return X87_FAULT_MF
    this.stored = 0
    let digits = false
    if (this.isEmpty(0)) {
      if (this.stackUnderflow()) return X87_OK
    } else {
      this.load(this.a, 0)
      this.begin()
      digits = this.toInteger(this.rounding) && isBelowTenTo18(this.z.hi, this.z.lo)
      if (!digits) {
        this.flags = EXCEPTION_IE
        this.roundedUp = false
      }
      if (!this.finish()) return X87_OK
    }
    if (digits) {
      let value = (BigInt(this.z.hi >>> 0) << 32n) | BigInt(this.z.lo >>> 0)
      for (let n = 0; n < 9; n++) {
        const pair = Number(value % 100n)
        value /= 100n
        this.u8[mem + n] = (Math.floor(pair / 10) << 4) | (pair % 10)
      }
      this.u8[mem + 9] = this.a.sign << 7
    } else {
      // Packed decimal indefinite.
      this.i32[mem >> 2] = 0
      this.i32[(mem + 4) >> 2] = 0xc0000000 | 0
      this.u16[(mem + 8) >> 1] = 0xffff
    }
    this.stored = 10
    this.pop()
    return X87_OK
  }
}

/** 10^18 = 0DE0B6B3_A7640000h */
function isBelowTenTo18(hi: number, lo: number): boolean {
  return hi >>> 0 < 0x0de0b6b3 || (hi === 0x0de0b6b3 && lo >>> 0 < 0xa7640000)
}
