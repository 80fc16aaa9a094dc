import {
  F32,
  F64,
  type Format,
  INTEGER_BIT,
  KIND_INFINITY,
  KIND_NORMAL,
  KIND_QNAN,
  KIND_SNAN,
  KIND_UNSUPPORTED,
  KIND_ZERO,
  normalizeInto,
  packHi,
  packLo,
  QUIET_BIT,
  type Unpacked,
  unpack,
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
import { roundingCarries, roundSignificand } from './rounding.ts'
import { integerFits } from './sse-convert.ts'
import { X87Arithmetic } from './x87-arithmetic.ts'
import { FSW_C1, X87_FAULT_MF, X87_OK } from './x87-state.ts'

/** Formats of a memory operand. */
export const X87_M32 = 0
export const X87_M64 = 1
export const X87_M32INT = 2
export const X87_M16INT = 3
export const X87_M64INT = 4

const BILLION = 1e9

/**
 * Loads, stores and operations with memory operands. The operand lies at a wasm offset aligned to 4 bytes (a bounce buffer:
 * the caller has read it, or writes it out afterwards).
 *
 * A store that an unmasked exception suppresses leaves `stored` 0; otherwise it is the number of bytes to write out.
 */
export class X87Memory extends X87Arithmetic {
  stored = 0

  // ---- loads ----

  /** Takes the memory operand apart, denormals still marked as such. */
  private fetch(o: Unpacked, format: number, mem: number) {
    const lo = this.i32[mem >> 2]
    switch (format) {
      case X87_M32:
        return unpack(o, F32, 0, lo)
      case X87_M64:
        return unpack(o, F64, this.i32[(mem + 4) >> 2], lo)
      case X87_M32INT:
        return setInteger(o, lo >> 31, lo)
      case X87_M16INT:
        return setInteger(o, (lo << 16) >> 31, (lo << 16) >> 16)
      default:
        return setInteger(o, this.i32[(mem + 4) >> 2], lo)
    }
  }

  /** FLD m32/m64, FILD. */
  fld(format: number, mem: number): number {
    if (this.pending) return X87_FAULT_MF
    if (!this.isEmpty(-1)) {
      if (!this.stackOverflow()) this.push()
      return X87_OK
    }
    const a = this.a
    this.fetch(a, format, mem)
    this.begin()
    if (!this.setNaN1()) {
      this.noteDenormal(a)
      this.setNumber(a)
    }
    // An unmasked DE does not keep the operand from being loaded.
    if (this.finish() || (this.flags & EXCEPTION_IE) === 0) this.push()
    return X87_OK
  }

  fldM80(mem: number): number {
    if (this.pending) return X87_FAULT_MF
    this.setCondition(0, FSW_C1)
    this.setResult(this.u16[(mem + 8) >> 1], this.i32[(mem + 4) >> 2], this.i32[mem >> 2])
    if (this.isEmpty(-1) || !this.stackOverflow()) this.push()
    return X87_OK
  }

  /** FLD ST(i) */
  fldSt(i: number): number {
    if (this.pending) return X87_FAULT_MF
    if (this.isEmpty(i)) {
      if (this.stackUnderflow()) return X87_OK
    } else if (!this.isEmpty(-1)) {
      if (this.stackOverflow()) return X87_OK
    } else {
      this.setCondition(0, FSW_C1)
      this.take(i)
    }
    this.push()
    return X87_OK
  }

  /** FLD1 FLDL2T FLDL2E FLDPI FLDLG2 FLDLN2 FLDZ, numbered as encoded. The last place follows FCW.RC. */
  fldConstant(number: number): number {
    if (this.pending) return X87_FAULT_MF
    if (!this.isEmpty(-1)) {
      if (!this.stackOverflow()) this.push()
      return X87_OK
    }
    this.setCondition(0, FSW_C1)
    const [exp, hi, lo, rest] = CONSTANTS[number]
    if (hi === 0) {
      this.setZero(0)
    } else {
      this.z.set(0, exp, hi | 0, lo | 0)
      this.z.rest = rest | 0
      roundSignificand(this.z, 64, this.rounding)
      this.setResult(exp + 16383, this.z.hi, this.z.lo)
    }
    this.push()
    return X87_OK
  }

  // ---- arithmetic and comparisons with memory ----

  /** FADD .. FDIVR m32/m64, FIADD .. FIDIVR m16/m32. */
  arithmeticMemory(operation: number, format: number, mem: number): number {
    if (this.pending) return X87_FAULT_MF
    this.fetch(this.b, format, mem)
    return this.arithmeticWithB(operation)
  }

  /** FCOM(P), FICOM(P). */
  fcomMemory(format: number, mem: number, pops: number): number {
    if (this.pending) return X87_FAULT_MF
    this.fetch(this.b, format, mem)
    return this.compareWithB(this.isEmpty(0), false, pops)
  }

  // ---- stores ----

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

  // ---- packed decimal: 18 digits in 9 bytes, then the sign ----

  fbld(mem: number): number {
    if (this.pending) return X87_FAULT_MF
    if (!this.isEmpty(-1)) {
      if (!this.stackOverflow()) this.push()
      return X87_OK
    }
    this.setCondition(0, FSW_C1)
    let high = 0
    let low = 0
    for (let digit = 17; digit >= 0; digit--) {
      const value = (this.u8[mem + (digit >> 1)] >>> (4 * (digit & 1))) & 15
      if (digit >= 9) high = high * 10 + value
      else low = low * 10 + value
    }
    const sign = this.u8[mem + 9] >>> 7
    // high * 10^9 + low below 2^64, in 16-bit steps of high.
    const upper = Math.floor(high / 65536) * BILLION
    const lower = (high % 65536) * BILLION + low
    const sum = (upper % 65536) * 65536 + lower
    const lo = sum % 2 ** 32
    const hi = Math.floor(upper / 65536) + Math.floor(sum / 2 ** 32)
    const a = this.a
    if ((hi | lo) === 0) {
      this.setZero(sign)
    } else {
      normalizeInto(a, 63, hi | 0, lo | 0)
      this.setResult((sign << 15) | (a.exp + 16383), a.hi, a.lo)
    }
    this.push()
    return X87_OK
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

function setInteger(o: Unpacked, hi: number, lo: number) {
  const sign = hi >>> 31
  if (sign !== 0) {
    lo = -lo | 0
    hi = (~hi + (lo === 0 ? 1 : 0)) | 0
  }
  o.sign = sign
  if ((hi | lo) === 0) return o.setZero()
  o.kind = KIND_NORMAL
  normalizeInto(o, 63, hi, lo)
}

/** Exponent, significand truncated to 64 bits, and the 32 bits that follow it. */
const CONSTANTS = [
  [0, 0x80000000, 0, 0], // 1
  [1, 0xd49a784b, 0xcd1b8afe, 0x492bf6ff], // log2(10)
  [0, 0xb8aa3b29, 0x5c17f0bb, 0xbe87fed0], // log2(e)
  [1, 0xc90fdaa2, 0x2168c234, 0xc4c6628b], // pi
  [-2, 0x9a209a84, 0xfbcff798, 0x8f8959ac], // log10(2)
  [-1, 0xb17217f7, 0xd1cf79ab, 0xc9e3b398], // ln(2)
  [0, 0, 0, 0], // 0
]
