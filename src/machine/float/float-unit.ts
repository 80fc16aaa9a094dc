import { laneReciprocal, laneReciprocalSquareRoot } from './approximate.ts'
import { laneFixup, laneGetExponent, laneGetMantissa, laneIsOfClass, laneRange, laneScale } from './avx512.ts'
import { F16, F32, F64, type Format } from './format.ts'
import { Lane } from './lane.ts'
import { EXCEPTIONS_PRE_COMPUTATION } from './mxcsr.ts'
import { laneAdd, laneDivide, laneMultiply, laneMultiplyAdd, laneSquareRoot } from './sse-arithmetic.ts'
import { laneCompare, laneCompareFlags, laneMinMax } from './sse-compare.ts'
import { ELEMENT_BITS, laneConvert, laneReduce, laneRound } from './sse-convert.ts'

/**
 * Operations of `FloatUnit`. Bits 8..15 of an operation number hold its immediate, if it has one: FLOAT_OP.CMP | imm8 << 8.
 * Unary operations read operand a.
 */
export const FLOAT_OP = {
  ADD: 0,
  SUB: 1,
  MUL: 2,
  DIV: 3,
  MIN: 4,
  MAX: 5,
  SQRT: 6,
  /** All ones or zeros; imm: predicate 0..31. */
  CMP: 7,
  /** imm: SDM ROUNDPD. */
  ROUND: 8,
  /** Even lanes a - b, odd lanes a + b. */
  ADDSUB: 9,
  /** a * b + c and its signs. NaN priority is a, b, c: pass the operands so (FMADD132: first, third, second ...). */
  FMADD: 10,
  FMSUB: 11,
  FNMADD: 12,
  FNMSUB: 13,
  /** Even lanes subtract c, odd lanes add it; FMSUBADD the other way round. */
  FMADDSUB: 14,
  FMSUBADD: 15,
  GETEXP: 16,
  GETMANT: 17,
  SCALEF: 18,
  /** a destination, b source, c table. */
  FIXUPIMM: 19,
  RANGE: 20,
  REDUCE: 21,
  RNDSCALE: 22,
  /** RCPPS and RSQRTPS; see approximate.ts for the accuracy. */
  RCP: 23,
  RSQRT: 24,
  /** VRCP14*, VRSQRT14*, VRCPPH, VRSQRTPH. */
  RCP14: 25,
  RSQRT14: 26,
} as const

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
      execute(lane, format, operation, imm, i)
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

function execute(lane: Lane, format: Format, operation: number, imm: number, index: number) {
  switch (operation) {
    case FLOAT_OP.ADD:
      return laneAdd(lane, format, 0)
    case FLOAT_OP.SUB:
      return laneAdd(lane, format, 1)
    case FLOAT_OP.MUL:
      return laneMultiply(lane, format)
    case FLOAT_OP.DIV:
      return laneDivide(lane, format)
    case FLOAT_OP.MIN:
      return laneMinMax(lane, false)
    case FLOAT_OP.MAX:
      return laneMinMax(lane, true)
    case FLOAT_OP.SQRT:
      return laneSquareRoot(lane, format)
    case FLOAT_OP.CMP:
      lane.hi = lane.lo = laneCompare(lane, imm) ? -1 : 0
      return
    case FLOAT_OP.ROUND:
      return laneRound(lane, format, imm, 0)
    case FLOAT_OP.ADDSUB:
      return laneAdd(lane, format, (index & 1) ^ 1)
    case FLOAT_OP.FMADD:
      return laneMultiplyAdd(lane, format, 0, 0)
    case FLOAT_OP.FMSUB:
      return laneMultiplyAdd(lane, format, 0, 1)
    case FLOAT_OP.FNMADD:
      return laneMultiplyAdd(lane, format, 1, 0)
    case FLOAT_OP.FNMSUB:
      return laneMultiplyAdd(lane, format, 1, 1)
    case FLOAT_OP.FMADDSUB:
      return laneMultiplyAdd(lane, format, 0, (index & 1) ^ 1)
    case FLOAT_OP.FMSUBADD:
      return laneMultiplyAdd(lane, format, 0, index & 1)
    case FLOAT_OP.GETEXP:
      return laneGetExponent(lane, format)
    case FLOAT_OP.GETMANT:
      return laneGetMantissa(lane, format, imm)
    case FLOAT_OP.SCALEF:
      return laneScale(lane, format)
    case FLOAT_OP.FIXUPIMM:
      return laneFixup(lane, format, imm)
    case FLOAT_OP.RANGE:
      return laneRange(lane, format, imm)
    case FLOAT_OP.REDUCE:
      return laneReduce(lane, format, imm)
    case FLOAT_OP.RNDSCALE:
      return laneRound(lane, format, imm, imm >>> 4)
    case FLOAT_OP.RCP:
      return laneReciprocal(lane, format, true)
    case FLOAT_OP.RSQRT:
      return laneReciprocalSquareRoot(lane, format, true)
    case FLOAT_OP.RCP14:
      return laneReciprocal(lane, format, false)
    case FLOAT_OP.RSQRT14:
      return laneReciprocalSquareRoot(lane, format, false)
    default:
      throw new Error(`float operation ${operation}`)
  }
}
