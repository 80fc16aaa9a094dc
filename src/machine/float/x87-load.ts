import { F32, F64, KIND_NORMAL, normalizeInto, type Unpacked, unpack } from './format.ts'
import { EXCEPTION_IE } from './mxcsr.ts'
import { roundSignificand } from './rounding.ts'
import { X87Compare } from './x87-compare.ts'
import { FSW_C1, X87_FAULT_MF, X87_OK } from './x87-state.ts'

/** Formats of a memory operand. */
export const X87_M32 = 0
export const X87_M64 = 1
export const X87_M32INT = 2
export const X87_M16INT = 3
export const X87_M64INT = 4

const BILLION = 1e9

/** Loads, and operations with a memory operand. It lies at a wasm offset aligned to 4 bytes, where the caller has read it to. */
export class X87Load extends X87Compare {
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

  /** Packed decimal: 18 digits in 9 bytes, then the sign. */
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
