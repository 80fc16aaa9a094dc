import type { Emitter } from '../../translate/emitter.ts'
import { and, type Expr } from '../../translate/expr.ts'
import type { VectorInstruction } from '../../translate/vector-operands.ts'
import { defineVector } from '../vector/available.ts'
import type { FloatBits, NativeBits } from './lanes.ts'
import { readPacked, readScalar, writePacked, writeScalar } from './operands.ts'
import { allLanes, attempt, roundsNatively, runSlow, shapeOf, slowResult } from './operation.ts'

/** What native meanings and tests may ask. */
export interface FloatContext {
  readonly e: Emitter
  readonly bits: NativeBits
  readonly x: VectorInstruction
}
/** One chunk from the same chunk of the sources, all of them leaves. */
export type Lanes = (f: FloatContext, a: Expr, b: Expr, c: Expr) => Expr
/** Lanes of ones where the native result `r` (a leaf) is right. */
export type LaneTest = (f: FloatContext, r: Expr, a: Expr, b: Expr, c: Expr) => Expr

/** How an operation is done natively, and when that is right. */
export interface Native {
  result: Lanes
  tests: LaneTest[]
  /**
   * Besides the tests: the operation rounds or may raise PE, so it has to round natively (`roundsNatively`); null: it does
   * neither. A function gives another condition (i32), or null for no use of native results at all.
   */
  control: 'rounds' | null | ((x: VectorInstruction) => (() => Expr) | null)
  /** A test for lanes that are right whatever `control` says. */
  always?: LaneTest
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
  const f: FloatContext = { e, bits, x }
  const chunk = (c: number): [Expr, Expr, Expr] => [sources[0][c], (sources[1] ?? sources[0])[c], (sources[2] ?? sources[0])[c]]
  const results = sources[0].map((_, c) => e.variable(native.result(f, ...chunk(c))))
  const holds = (test: LaneTest): Expr =>
    allLanes(
      bits,
      lanes,
      results.map((r, c) => test(f, r, ...chunk(c))),
    )
  const good = native.tests.map((test) => () => (control === undefined ? holds(test) : and(32, control(), holds(test))))
  const { always } = native
  if (always !== undefined) good.push(() => holds(always))
  attempt(e, { ...slow, results, good })
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
