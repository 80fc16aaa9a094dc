import { FLOAT_OP } from '../../float/float-unit.ts'
import { and, binary, type Expr, eqz, i32, select } from '../../translate/expr.ts'
import { ones, topBits, zero } from '../../translate/lanes.ts'
import { isOpmask, type VectorInstruction } from '../../translate/vector-operands.ts'
import { I32, W } from '../../wasm/opcodes.ts'
import { defineVector } from '../vector/available.ts'
import { elementBits } from '../vector/forms.ts'
import { compute, type Native } from './forms.ts'
import { eq, type FloatBits, ge, gt, le, lt, type NativeBits, ne } from './lanes.ts'
import { readPacked, readScalar, writePacked, writeScalar } from './operands.ts'
import { allLanes, runSlow, shapeOf, slowWord } from './operation.ts'
import { bothOrdinary } from './tests.ts'

// ---- CMP: SDM Vol. 2 "CMPPD", table 3-1 ----

/** Predicates 0..15 for operands that are no NaNs; 16..31 differ from them only in what they signal for quiet NaNs. */
function compareOrdered(bits: NativeBits, predicate: number, a: Expr, b: Expr): Expr {
  switch (predicate & 15) {
    case 0: // EQ_OQ
    case 8: // EQ_UQ
      return eq(bits, a, b)
    case 1: // LT_OS
    case 9: // NGE_US
      return lt(bits, a, b)
    case 2: // LE_OS
    case 10: // NGT_US
      return le(bits, a, b)
    case 3: // UNORD_Q
    case 11: // FALSE_OQ
      return zero()
    case 4: // NEQ_UQ
    case 12: // NEQ_OQ
      return ne(bits, a, b)
    case 5: // NLT_US
    case 13: // GE_OS
      return ge(bits, a, b)
    case 6: // NLE_US
    case 14: // GT_OS
      return gt(bits, a, b)
    default: // ORD_Q, TRUE_UQ
      return ones()
  }
}
const comparison = (predicate: number): Native => ({
  result: ({ bits }, a, b) => compareOrdered(bits, predicate, a, b),
  tests: [bothOrdinary],
  control: null,
})
/** Legacy forms look at three bits of the immediate, VEX and EVEX at five. */
const predicateOf = (x: VectorInstruction): number => x.immediate & (x.isLegacy ? 7 : 31)

function compare(x: VectorInstruction, bits: FloatBits, scalar: boolean): void {
  const { e } = x
  const lanes = scalar ? 1 : (x.bytes * 8) / bits
  const read = (op: number): Expr[] => (scalar ? [readScalar(x, op, bits)] : readPacked(x, op, bits, lanes))
  const first = x.firstSource
  const sources = [read(first), read(first + 1)]
  const results = compute(x, bits, lanes, FLOAT_OP.CMP | (predicateOf(x) << 8), sources, comparison(predicateOf(x)))
  if (!isOpmask(x.register(0))) {
    if (scalar) writeScalar(x, bits, first, results[0])
    else writePacked(x, bits, lanes, results)
  } else if (scalar) x.writeOpmask(0, e.let(and(32, topBits(bits, results[0]), i32(1))), x.mask(bits, 1))
  else
    x.writeOpmask(
      0,
      elementBits(bits, results.length, (c) => results[c]),
      x.mask(bits, lanes),
    )
}
const SUFFIXES: [suffix: string, bits: FloatBits, scalar: boolean][] = [
  ['PS', 32, false],
  ['PD', 64, false],
  ['SS', 32, true],
  ['SD', 64, true],
  ['PH', 16, false],
  ['SH', 16, true],
]
for (const [suffix, bits, scalar] of SUFFIXES) {
  // iced calls the string instruction CMPSD too; that has two operands
  if (bits !== 16)
    defineVector(
      `CMP${suffix}`,
      (x) => compare(x, bits, scalar),
      (d) => d.opCount === 3,
    )
  defineVector(`VCMP${suffix}`, (x) => compare(x, bits, scalar))
}

// ---- COMIS, UCOMIS: ZF PF CF; OF SF AF become 0 ----
function compareFlags(x: VectorInstruction, bits: FloatBits, signaling: boolean) {
  const { e } = x
  const a = readScalar(x, 0, bits)
  const b = readScalar(x, 1, bits)
  const shape = { ...shapeOf(x, bits, 1), masked: false }
  const slow = { assist: 'float-compare', what: signaling ? 1 : 0, operands: [[a], [b]], shape, mask: null }
  if (bits === 16) {
    runSlow(e, slow)
    return e.flags.fromBits(slowWord(e))
  }
  const bit0 = (mask: Expr): Expr => and(32, topBits(bits, mask), i32(1))
  const equal = select(bit0(eq(bits, a, b)), i32(0x40), i32(0))
  const flags = e.variable(binary(W.i32_or, I32, bit0(lt(bits, a, b)), equal))
  const right = allLanes(bits, 1, [bothOrdinary({ e, bits }, a, a, b, b)])
  e.if(eqz(32, right), () => {
    runSlow(e, slow)
    e.assign(flags, slowWord(e))
  })
  e.flags.fromBits(flags)
}
for (const [suffix, bits] of [
  ['S', 32],
  ['D', 64],
  ['H', 16],
] as [string, FloatBits][]) {
  const names = bits === 16 ? ['V'] : ['', 'V']
  for (const prefix of names) {
    defineVector(`${prefix}COMIS${suffix}`, (x) => compareFlags(x, bits, true))
    defineVector(`${prefix}UCOMIS${suffix}`, (x) => compareFlags(x, bits, false))
  }
}
