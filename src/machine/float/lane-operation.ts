import { laneReciprocal, laneReciprocalSquareRoot } from './approximate.ts'
import { laneFixup, laneGetExponent, laneGetMantissa, laneRange, laneScale } from './avx512.ts'
import type { Format } from './format.ts'
import type { Lane } from './lane.ts'
import { laneAdd, laneDivide, laneMultiply, laneMultiplyAdd, laneSquareRoot } from './sse-arithmetic.ts'
import { laneCompare, laneMinMax } from './sse-compare.ts'
import { laneReduce, laneRound } from './sse-convert.ts'

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

/** One operation of FLOAT_OP on a loaded lane; `index` is the lane's place in the vector. */
export function executeLane(lane: Lane, format: Format, operation: number, imm: number, index: number) {
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
