import type { Emitter } from '../../translate/emitter.ts'
import { and, type Expr, eqz, i32, local } from '../../translate/expr.ts'
import type { VectorInstruction } from '../../translate/vector-operands.ts'
import { V128 } from '../../wasm/opcodes.ts'
import { defineVector } from '../vector/available.ts'
import type { FloatBits, NativeBits } from './lanes.ts'
import { readPacked, readScalar, writePacked, writeScalar } from './operands.ts'
import { type Attempt, allLanes, attempt, roundsNatively, runSlow, shapeOf, slowResult } from './operation.ts'
import { callAttempt, callComplete, isShared } from './routines.ts'
import { slowArgument } from './slow-path.ts'

/** What native meanings and tests may ask. */
export interface FloatContext {
  readonly e: Emitter
  readonly bits: NativeBits
}
/** One chunk from the same chunk of the sources, all of them leaves. */
export type Lanes = (f: FloatContext, a: Expr, b: Expr, c: Expr) => Expr
/** Lanes of ones where the native result `r` (a leaf) is right. */
export type LaneTest = (f: FloatContext, r: Expr, a: Expr, b: Expr, c: Expr) => Expr

/** How an operation is done natively, and when that is right. */
export interface Native {
  result: Lanes
  /** Tests that show it, cheapest first: what the last one refuses takes the slow path. */
  tests: LaneTest[]
  /**
   * Besides the tests: the operation rounds or may raise PE, so it has to round natively (`roundsNatively`); null: it does
   * neither. A function gives another condition (i32), or null for no use of native results at all.
   */
  control: 'rounds' | null | ((x: VectorInstruction) => (() => Expr) | null)
  /** A test for lanes that are right whatever MXCSR says. */
  exact?: LaneTest
}

/** The i32 condition that every test is joined with; undefined: none; null: never native. */
function controlCondition(x: VectorInstruction, native: Native): (() => Expr) | null | undefined {
  if (native.control === null) return undefined
  return native.control === 'rounds' ? roundsNatively(x) : native.control(x)
}

/** Result chunks (kept) of FLOAT_OP `op` on chunks of sources: natively when possible. */
export function compute(
  x: VectorInstruction,
  bits: FloatBits,
  lanes: number,
  op: number,
  sources: Expr[][],
  native: Native | null,
): Expr[] {
  const { e } = x
  const slow = {
    assist: 'float',
    what: op,
    operands: sources,
    shape: shapeOf(x, bits, lanes),
    mask: x.isMasked ? x.mask(bits, lanes)!.bits : null,
  }
  const control = native === null ? null : controlCondition(x, native)
  if (native === null || bits === 16 || control === null) {
    runSlow(e, slow)
    return sources[0].map((_, c) => e.let(slowResult(e, c)))
  }
  const way: Way = { e, bits, lanes, sources, native, control }
  if (isShared(op, slow.shape.control)) return computeShared(way, slow)
  const results = nativeResults(way)
  const good = native.tests.map((test) => () => holds(way, results, test, control?.()))
  const { exact } = native
  if (exact !== undefined) good.push(() => holds(way, results, exact))
  attempt(e, { ...slow, results, good })
  return results
}

/** One use of a native operation. */
interface Way {
  e: Emitter
  bits: NativeBits
  lanes: number
  sources: Expr[][]
  native: Native
  control: (() => Expr) | undefined
}
const operandsOf = ({ sources }: Way, c: number): [Expr, Expr, Expr] => [
  sources[0][c],
  (sources[1] ?? sources[0])[c],
  (sources[2] ?? sources[0])[c],
]
const nativeResults = (way: Way): Expr[] =>
  way.sources[0].map((_, c) => way.e.variable(way.native.result(way, ...operandsOf(way, c))))
const holds = (way: Way, results: Expr[], test: LaneTest, control?: Expr): Expr =>
  allLanes(
    way.bits,
    way.lanes,
    results.map((r, c) => test(way, r, ...operandsOf(way, c))),
    control,
  )

/**
 * Operations with routines of their own (routines.ts). Hot code tries the first test in place; cold code, which has to be small,
 * and what has no short test go there at once.
 */
function computeShared(way: Way, slow: Omit<Attempt, 'results' | 'good'>): Expr[] {
  const { e, native, sources } = way
  const inPlace = e.hot && native.tests.length > 1
  const results = inPlace ? nativeResults(way) : sources[0].map(() => local(e.temp(V128), V128))
  const argument = slowArgument(slow.what, { ...slow.shape, masked: false })
  const operands = (c: number) => operandsOf(way, c)
  const otherwise = () => {
    if (results.length === 1 && !slow.shape.masked) return callComplete(e, results[0], operands(0), argument)
    const good = e.variable(i32(1))
    for (const [c, result] of results.entries()) e.assign(good, and(32, callAttempt(e, result, operands(c), argument), good))
    e.if(eqz(32, good), () => {
      runSlow(e, slow)
      for (const [c, result] of results.entries()) e.assign(result, slowResult(e, c))
    })
  }
  if (inPlace) e.if(eqz(32, holds(way, results, native.tests[0], way.control?.())), otherwise)
  else otherwise()
  return results
}

export interface FloatForms {
  /** FLOAT_OP; for instructions with an immediate it is added in bits 8..15. */
  op: number
  sources: 1 | 2
  /** The native way, by the immediate if there is one. */
  native: (immediate: number) => Native | null
  /** The last operand is an immediate. */
  hasImmediate?: boolean
}

const SUFFIXES: [suffix: string, bits: FloatBits, scalar: boolean][] = [
  ['PS', 32, false],
  ['PD', 64, false],
  ['SS', 32, true],
  ['SD', 64, true],
  ['PH', 16, false],
  ['SH', 16, true],
]

/**
 * Defines the PS, PD, SS and SD forms of an operation with `prefixes` '' (legacy) and 'V' (VEX, EVEX); PH and SH with 'V'.
 * `only` restricts the suffixes.
 */
export function defineForms(name: string, prefixes: readonly string[], forms: FloatForms, only = 'PS PD SS SD PH SH'): void {
  const wanted = only.split(' ')
  for (const prefix of prefixes) {
    for (const [suffix, bits, scalar] of SUFFIXES) {
      if (!wanted.includes(suffix) || (bits === 16 && prefix === '')) continue
      defineVector(`${prefix}${name}${suffix}`, (x) => (scalar ? scalarForm(x, bits, forms) : packedForm(x, bits, forms)))
    }
  }
}
export const BOTH = ['', 'V'] as const

/** The operation number with the instruction's immediate. */
const operation = (x: VectorInstruction, { op, hasImmediate }: FloatForms): number =>
  hasImmediate ? op | (x.immediate << 8) : op

function packedForm(x: VectorInstruction, bits: FloatBits, forms: FloatForms): void {
  const lanes = (x.bytes * 8) / bits
  const first = forms.sources === 1 ? 1 : x.firstSource
  const sources = Array.from({ length: forms.sources }, (_, i) => readPacked(x, first + i, bits, lanes))
  writePacked(x, bits, lanes, compute(x, bits, lanes, operation(x, forms), sources, forms.native(x.immediate)))
}

/** SS, SD, SH: element 0; the others come from the first source. */
function scalarForm(x: VectorInstruction, bits: FloatBits, forms: FloatForms): void {
  const last = x.s.d.opCount - (forms.hasImmediate ? 2 : 1)
  const rest = x.firstSource
  const b = [readScalar(x, last, bits)]
  const sources = forms.sources === 1 ? [b] : [[readScalar(x, rest, bits)], b]
  writeScalar(x, bits, rest, compute(x, bits, 1, operation(x, forms), sources, forms.native(x.immediate))[0])
}
