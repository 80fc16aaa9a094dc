import { laneIsOfClass } from './avx512.ts'
import { bfloat16DotProduct, bfloat16FromF32 } from './bfloat16.ts'
import { DotProduct } from './dot-product.ts'
import { F16, F32, F64, type Format } from './format.ts'
import { Lane } from './lane.ts'
import { executeLane, FLOAT_OP } from './lane-operation.ts'
import { EXCEPTIONS_PRE_COMPUTATION } from './mxcsr.ts'
import { laneCompare, laneCompareFlags } from './sse-compare.ts'
import { ELEMENT_BITS, laneConvert } from './sse-convert.ts'

export { FLOAT_OP }

/** Set in a result when an unmasked exception was raised: nothing is written, raise #XM (after ORing the flags into MXCSR). */
export const FLOAT_UNMASKED = 0x100

/** Modifiers of a conversion, beside its two element types. */
export const CONVERT_TRUNCATE = 0x100
/** VCVTPH2PS: denormal sources raise nothing. */
export const CONVERT_IGNORE_DENORMAL = 0x200

/** Conversion number from two ELEMENT_* types. */
export function conversion(from: number, to: number, modifiers = 0): number {
  return from | (to << 4) | modifiers
}

/**
 * The exact SSE/AVX floating-point operations on operands in wasm memory: for compiled code wherever a native operation would
 * not give the architectural bits or flags. Offsets are in bytes and aligned to the element; operands may overlap the result.
 *
 * Every operation returns the exceptions it raised, in MXCSR's low six bits, and FLOAT_UNMASKED. The caller ORs the flags
 * into MXCSR. For embedded rounding or {sae} the caller passes an mxcsr with RC replaced and all masks set and drops the flags.
 */
export class FloatUnit {
  private readonly i32: Int32Array
  private readonly u16: Uint16Array
  private readonly lane = new Lane()
  private readonly results = new Int32Array(32)
  private readonly dot = new DotProduct()

  constructor(buffer: ArrayBuffer) {
    this.i32 = new Int32Array(buffer)
    this.u16 = new Uint16Array(buffer)
  }

  /** Scalar double: out = op(a, b). */
  f64op(op: number, a: number, b: number, out: number, mxcsr: number): number {
    return this.packed3(op, 64, 1, a, b, b, out, mxcsr, 1, 0)
  }

  /** Scalar single. */
  f32op(op: number, a: number, b: number, out: number, mxcsr: number): number {
    return this.packed3(op, 32, 1, a, b, b, out, mxcsr, 1, 0)
  }

  /** Scalar double with three operands. */
  f64fma(op: number, a: number, b: number, c: number, out: number, mxcsr: number): number {
    return this.packed3(op, 64, 1, a, b, c, out, mxcsr, 1, 0)
  }

  /** Scalar single with three operands. */
  f32fma(op: number, a: number, b: number, c: number, out: number, mxcsr: number): number {
    return this.packed3(op, 32, 1, a, b, c, out, mxcsr, 1, 0)
  }

  /** Two operands, `laneCount` lanes; lanes whose mask bit is clear are neither computed nor written. */
  packed(
    op: number,
    elementBits: number,
    laneCount: number,
    a: number,
    b: number,
    out: number,
    mxcsr: number,
    maskLo: number,
    maskHi: number,
  ): number {
    return this.packed3(op, elementBits, laneCount, a, b, b, out, mxcsr, maskLo, maskHi)
  }

  packed3(
    op: number,
    elementBits: number,
    laneCount: number,
    a: number,
    b: number,
    c: number,
    out: number,
    mxcsr: number,
    maskLo: number,
    maskHi: number,
  ): number {
    const { lane, results } = this
    const format = this.begin(elementBits, mxcsr)
    const imm = (op >>> 8) & 0xff
    const operation = op & 0xff
    let flags = 0
    for (let i = 0; i < laneCount; i++) {
      if ((((i < 32 ? maskLo : maskHi) >>> (i & 31)) & 1) === 0) continue
      this.load(format, i, a, b, c)
      lane.flags = 0
      executeLane(lane, format, operation, imm, i)
      flags |= lane.flags
      results[i] = lane.lo
      if (elementBits === 64) results[i + 16] = lane.hi
    }
    const status = this.status(flags)
    if (status < FLOAT_UNMASKED) this.store(elementBits, laneCount, out, maskLo, maskHi)
    return status
  }

  /** COMISS/SD (`signaling`) and UCOMISS/SD: the flags raised, and ZF PF CF in bits 16 and up (result >>> 16 is RFLAGS bits). */
  compareFlags(elementBits: number, signaling: number, a: number, b: number, mxcsr: number): number {
    const { lane } = this
    const format = this.begin(elementBits, mxcsr)
    this.load(format, 0, a, b, b)
    lane.flags = 0
    const rflags = laneCompareFlags(lane, signaling !== 0)
    return this.status(lane.flags) | (rflags << 16)
  }

  /** VCMP* into an opmask, at most 32 lanes: bit i of the word at `out` is set when the predicate holds in the selected lane i. */
  compareToMask(
    predicate: number,
    elementBits: number,
    laneCount: number,
    a: number,
    b: number,
    out: number,
    mxcsr: number,
    mask: number,
  ): number {
    const { lane } = this
    const format = this.begin(elementBits, mxcsr)
    let flags = 0
    let bits = 0
    for (let i = 0; i < laneCount; i++) {
      if (((mask >>> i) & 1) === 0) continue
      this.load(format, i, a, b, b)
      lane.flags = 0
      if (laneCompare(lane, predicate & 31)) bits |= 1 << i
      flags |= lane.flags
    }
    const status = this.status(flags)
    if (status < FLOAT_UNMASKED) this.i32[out >> 2] = bits
    return status
  }

  /** VFPCLASS*: the mask of selected lanes in one of the classes of imm8. Raises nothing. */
  classify(imm: number, elementBits: number, laneCount: number, a: number, mxcsr: number, mask: number): number {
    const format = this.begin(elementBits, mxcsr)
    let bits = 0
    for (let i = 0; i < laneCount; i++) {
      if (((mask >>> i) & 1) === 0) continue
      this.load(format, i, a, a, a)
      if (laneIsOfClass(this.lane, imm)) bits |= 1 << i
    }
    return bits
  }

  /** Converts `laneCount` elements: CVT*, CVTT*. `how` is a `conversion`. Source and result may have different sizes. */
  convert(how: number, laneCount: number, source: number, out: number, mxcsr: number, maskLo: number, maskHi: number): number {
    const { lane, results, i32, u16 } = this
    const from = how & 15
    const to = (how >>> 4) & 15
    const fromBits = ELEMENT_BITS[from]
    lane.control(mxcsr)
    // The 16-bit formats know no DAZ and no FTZ (SDM Vol. 1 §14.4.1, VCVTPS2PH).
    if (from === 0) lane.daz = false
    if (to === 0) lane.ftz = false
    let flags = 0
    for (let i = 0; i < laneCount; i++) {
      if ((((i < 32 ? maskLo : maskHi) >>> (i & 31)) & 1) === 0) continue
      lane.flags = 0
      const index = fromBits === 64 ? (source >> 2) + 2 * i : (source >> 2) + i
      const lo = fromBits === 16 ? u16[(source >> 1) + i] : i32[index]
      laneConvert(
        lane,
        from,
        to,
        fromBits === 64 ? i32[index + 1] : 0,
        lo,
        (how & CONVERT_TRUNCATE) !== 0,
        (how & CONVERT_IGNORE_DENORMAL) !== 0,
      )
      flags |= lane.flags
      results[i] = lane.lo
      if (ELEMENT_BITS[to] === 64) results[i + 16] = lane.hi
    }
    const status = this.status(flags)
    if (status < FLOAT_UNMASKED) this.store(ELEMENT_BITS[to], laneCount, out, maskLo, maskHi)
    return status
  }

  /** DPPS (`elementBits` 32) and DPPD on 128 bits. */
  dotProduct(elementBits: number, imm: number, a: number, b: number, out: number, mxcsr: number): number {
    const { lane, i32 } = this
    this.begin(elementBits, mxcsr)
    const status = this.status(this.dot.compute(lane, elementBits, imm, i32, a >> 2, b >> 2))
    if (status >= FLOAT_UNMASKED) return status
    for (let word = 0; word < 4; word++) {
      const element = elementBits === 64 ? word >> 1 : word
      const value = elementBits === 64 && (word & 1) !== 0 ? lane.hi : lane.lo
      i32[(out >> 2) + word] = ((imm >>> element) & 1) !== 0 ? value : 0
    }
    return status
  }

  /** VCVTNEPS2BF16: `laneCount` singles to as many bfloat16. VCVTNE2PS2BF16 is two of these. Raises nothing. */
  convertToBfloat16(laneCount: number, source: number, out: number, mask: number): void {
    // Results are narrower and written upward, so the operand may be overwritten.
    for (let i = 0; i < laneCount; i++) {
      if ((mask >>> i) & 1) this.u16[(out >> 1) + i] = bfloat16FromF32(this.i32[(source >> 2) + i])
    }
  }

  /** VDPBF16PS: adds the products of two pairs of bfloat16 to each selected single at `out`. Raises nothing. */
  dotProductBfloat16(laneCount: number, a: number, b: number, out: number, mask: number): void {
    const i32 = this.i32
    for (let i = 0; i < laneCount; i++) {
      if (((mask >>> i) & 1) === 0) continue
      const at = (out >> 2) + i
      i32[at] = bfloat16DotProduct(this.lane, i32[at], i32[(a >> 2) + i], i32[(b >> 2) + i])
    }
  }

  private begin(elementBits: number, mxcsr: number): Format {
    const { lane } = this
    lane.control(mxcsr)
    if (elementBits === 64) return F64
    if (elementBits === 32) return F32
    lane.daz = false
    lane.ftz = false
    return F16
  }

  private load(format: Format, i: number, a: number, b: number, c: number): void {
    const { lane, i32, u16 } = this
    if (format.bits === 64) {
      lane.setA(format, i32[(a >> 2) + 2 * i + 1], i32[(a >> 2) + 2 * i])
      lane.setB(format, i32[(b >> 2) + 2 * i + 1], i32[(b >> 2) + 2 * i])
      if (c !== b) lane.setC(format, i32[(c >> 2) + 2 * i + 1], i32[(c >> 2) + 2 * i])
      else lane.setC(format, lane.bHi, lane.bLo)
    } else if (format.bits === 32) {
      lane.setA(format, 0, i32[(a >> 2) + i])
      lane.setB(format, 0, i32[(b >> 2) + i])
      lane.setC(format, 0, i32[(c >> 2) + i])
    } else {
      lane.setA(format, 0, u16[(a >> 1) + i])
      lane.setB(format, 0, u16[(b >> 1) + i])
      lane.setC(format, 0, u16[(c >> 1) + i])
    }
  }

  private store(elementBits: number, laneCount: number, out: number, maskLo: number, maskHi: number): void {
    const { results, i32, u16 } = this
    for (let i = 0; i < laneCount; i++) {
      if ((((i < 32 ? maskLo : maskHi) >>> (i & 31)) & 1) === 0) continue
      if (elementBits === 64) {
        i32[(out >> 2) + 2 * i] = results[i]
        i32[(out >> 2) + 2 * i + 1] = results[i + 16]
      } else if (elementBits === 32) {
        i32[(out >> 2) + i] = results[i]
      } else {
        u16[(out >> 1) + i] = results[i]
      }
    }
  }

  /** An unmasked pre-computation exception in any lane keeps all lanes from being computed (SDM Vol. 1 §11.5.3). */
  private status(flags: number): number {
    const unmasked = flags & this.lane.unmasked
    if (unmasked === 0) return flags
    if ((unmasked & EXCEPTIONS_PRE_COMPUTATION) !== 0) return (flags & EXCEPTIONS_PRE_COMPUTATION) | FLOAT_UNMASKED
    return flags | FLOAT_UNMASKED
  }
}
