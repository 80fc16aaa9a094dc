import { FLOAT_OP } from '../../float/float-unit.ts'
import type { Expr } from '../../translate/expr.ts'
import { lanesOf, shuffle, vec2, vxor } from '../../translate/lanes.ts'
import type { VectorInstruction } from '../../translate/vector-operands.ts'
import { defineVector } from '../vector/available.ts'
import { difference, sum, sumTests } from './arithmetic.ts'
import { BOTH, compute, defineForms, type Native } from './forms.ts'
import { ADD, type NativeBits } from './lanes.ts'
import { readPacked, writePacked } from './operands.ts'
import { runSlow, shapeOf, slowResult } from './operation.ts'
import { share } from './routines.ts'

/** ADDSUB, HADD, HSUB, DP. */

/** The sign bit of even lanes. */
const evenSigns = (bits: NativeBits): Expr => lanesOf(32, (i) => ((bits === 64 ? i === 1 : (i & 1) === 0) ? 0x80000000 | 0 : 0))
const addSubtract: Native = {
  result: ({ bits }, a, b) => vec2(ADD[bits], a, vxor(b, evenSigns(bits))),
  tests: sumTests,
  control: 'rounds',
}
defineForms('ADDSUB', BOTH, { op: FLOAT_OP.ADDSUB, sources: 2, native: () => share(FLOAT_OP.ADDSUB, addSubtract) }, 'PS PD')

/** Neighbours of each 128-bit half: those of the first source below, of the second above. */
function horizontal(name: string, op: number, native: Native): void {
  for (const [suffix, bits] of [
    ['PS', 32],
    ['PD', 64],
  ] as [string, NativeBits][]) {
    const even = bits === 64 ? [0, 2] : [0, 2, 4, 6]
    defineVector([`${name}${suffix}`, `V${name}${suffix}`], (x) => {
      const lanes = (x.bytes * 8) / bits
      const first = readPacked(x, x.firstSource, bits, lanes)
      const second = readPacked(x, x.firstSource + 1, bits, lanes)
      const pick = (from: number[]) => first.map((a, c) => x.e.let(shuffle(bits, a, second[c], from)))
      writePacked(x, bits, lanes, compute(x, bits, lanes, op, [pick(even), pick(even.map((i) => i + 1))], native))
    })
  }
}
horizontal('HADD', FLOAT_OP.ADD, sum)
horizontal('HSUB', FLOAT_OP.SUB, difference)

/** DPPS, DPPD: each 128-bit half by itself, in TypeScript. */
function dotProduct(x: VectorInstruction, bits: NativeBits): void {
  const { e } = x
  const lanes = (x.bytes * 8) / bits
  const operands = [readPacked(x, x.firstSource, bits, lanes), readPacked(x, x.firstSource + 1, bits, lanes)]
  runSlow(e, { assist: 'float-dot-product', what: x.immediate, operands, shape: shapeOf(x, bits, lanes), mask: null })
  writePacked(
    x,
    bits,
    lanes,
    operands[0].map((_, c) => e.let(slowResult(e, c))),
  )
}
defineVector(['DPPS', 'VDPPS'], (x) => dotProduct(x, 32))
defineVector(['DPPD', 'VDPPD'], (x) => dotProduct(x, 64))
