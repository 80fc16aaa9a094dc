import { FLOAT_OP } from '../../float/float-unit.ts'
import type { Expr } from '../../translate/expr.ts'
import { shuffle } from '../../translate/lanes.ts'
import type { VectorInstruction } from '../../translate/vector-operands.ts'
import { defineVector } from '../vector/available.ts'
import { compute, defineForms } from './forms.ts'
import type { FloatBits } from './lanes.ts'
import { elementsOf, readPacked, readScalar, writePacked, writeScalar } from './operands.ts'
import { runSlow, shapeOf, slowResult, slowWord } from './operation.ts'

/** Instructions of AVX-512 that always run in TypeScript. */

const never = () => null
const one = (name: string, op: number, hasImmediate = false, only?: string): void =>
  defineForms(name, ['V'], { op, sources: 1, hasImmediate, native: never }, only)
one('GETEXP', FLOAT_OP.GETEXP)
one('GETMANT', FLOAT_OP.GETMANT, true)
one('REDUCE', FLOAT_OP.REDUCE, true)
one('RCP14', FLOAT_OP.RCP14, false, 'PS PD SS SD')
one('RSQRT14', FLOAT_OP.RSQRT14, false, 'PS PD SS SD')
one('RCP', FLOAT_OP.RCP14, false, 'PH SH')
one('RSQRT', FLOAT_OP.RSQRT14, false, 'PH SH')
defineForms('SCALEF', ['V'], { op: FLOAT_OP.SCALEF, sources: 2, native: never })
defineForms('RANGE', ['V'], { op: FLOAT_OP.RANGE, sources: 2, hasImmediate: true, native: never }, 'PS PD SS SD')

/** VFIXUPIMM: the destination, what to classify, the table of responses. */
function fixup(x: VectorInstruction, bits: FloatBits, scalar: boolean): void {
  const lanes = scalar ? 1 : (x.bytes * 8) / bits
  const read = (op: number): Expr[] => (scalar ? [readScalar(x, op, bits)] : readPacked(x, op, bits, lanes))
  const results = compute(x, bits, lanes, FLOAT_OP.FIXUPIMM | (x.immediate << 8), [read(0), read(1), read(2)], null)
  if (scalar) writeScalar(x, bits, 1, results[0])
  else writePacked(x, bits, lanes, results)
}

/** VFPCLASS: bits of the selected elements in one of the immediate's classes. */
function classify(x: VectorInstruction, bits: FloatBits, scalar: boolean): void {
  const lanes = scalar ? 1 : elementsOf(x, 1, bits)
  const operands = [scalar ? [readScalar(x, 1, bits)] : readPacked(x, 1, bits, lanes)]
  const mask = x.mask(bits, lanes)
  runSlow(x.e, {
    assist: 'float-classify',
    what: x.immediate,
    operands,
    shape: shapeOf(x, bits, lanes),
    mask: mask?.bits ?? null,
  })
  x.writeOpmask(0, slowWord(x.e), null)
}
for (const [suffix, bits, scalar] of [
  ['PS', 32, false],
  ['PD', 64, false],
  ['SS', 32, true],
  ['SD', 64, true],
  ['PH', 16, false],
  ['SH', 16, true],
] as [string, FloatBits, boolean][]) {
  if (bits !== 16) defineVector(`VFIXUPIMM${suffix}`, (x) => fixup(x, bits, scalar))
  defineVector(`VFPCLASS${suffix}`, (x) => classify(x, bits, scalar))
}

// ---- bfloat16: no exceptions, MXCSR is not looked at ----
/** Eight-byte results of the chunks of singles. */
function toBfloat16(x: VectorInstruction, lanes: number, source: Expr[], mask: Expr | null): Expr[] {
  const { e } = x
  const shape = { bits: 32 as const, lanes, masked: mask !== null, control: 0 }
  runSlow(e, { assist: 'bfloat16-convert', what: 0, operands: [source], shape, mask })
  return Array.from({ length: Math.max(1, source.length >> 1) }, (_, c) => e.let(slowResult(e, c)))
}
defineVector('VCVTNEPS2BF16', (x) => {
  const lanes = elementsOf(x, 1, 32)
  writePacked(x, 16, lanes, toBfloat16(x, lanes, readPacked(x, 1, 32, lanes), x.mask(16, lanes)?.bits ?? null))
})
/** VCVTNE2PS2BF16: the second source below, the first above. */
defineVector('VCVTNE2PS2BF16', (x) => {
  const { e } = x
  const lanes = x.bytes / 4
  const second = readPacked(x, 2, 32, lanes, true)
  const low = toBfloat16(x, lanes, second, null)
  const high = toBfloat16(x, lanes, readPacked(x, 1, 32, lanes, true), null)
  if (x.bytes === 16) writePacked(x, 16, 8, [e.let(shuffle(64, low[0], high[0], [0, 2]))])
  else writePacked(x, 16, 2 * lanes, [...low, ...high])
})
defineVector('VDPBF16PS', (x) => {
  const { e } = x
  const lanes = x.bytes / 4
  const operands = [readPacked(x, 1, 32, lanes), readPacked(x, 2, 32, lanes), readPacked(x, 0, 32, lanes)]
  runSlow(e, { assist: 'bfloat16-dot-product', what: 0, operands, shape: shapeOf(x, 32, lanes), mask: x.mask(32)?.bits ?? null })
  writePacked(
    x,
    32,
    lanes,
    operands[0].map((_, c) => e.let(slowResult(e, c))),
  )
})
