import { FLOAT_OP, FLOAT_UNMASKED } from '../../float/float-unit.ts'
import { FLOAT_SCRATCH } from '../../memory-map.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import type { Expr } from '../../translate/expr.ts'
import type { VectorInstruction } from '../../translate/vector-operands.ts'
import { defineVector } from '../vector/available.ts'
import { readPacked, readScalar, writePacked, writeScalar } from './operands.ts'
import { runSlow, shapeOf, slowResult } from './operation.ts'
import { controlOf, controlWord, lanesOf, maskOf, SLOT_BYTES, SLOT_RESULT, settle } from './slow-path.ts'

/**
 * VF[C]MULC and VF[C]MADDC: pairs of half-precision numbers as complex ones (SDM Vol. 2). Two steps, each rounded once:
 * the real part of the second source times the first (added to the destination), then its imaginary part times the first
 * turned by i, subtracted for real parts and added for imaginary ones; the conjugating forms the other way round.
 *
 * No recording of a processor with AVX512-FP16 stands behind the order in which exceptions are found.
 */

const ACCUMULATE = 1
const CONJUGATE = 2
const EVEN = 0x55555555
const ODD = 0xaaaaaaaa | 0
const UD = 6

/** Bit i of a mask of pairs as bits 2i and 2i + 1. */
function bothOf(mask: number): number {
  let lanes = 0
  for (let i = 0; i < 16; i++) if ((mask >>> i) & 1) lanes |= 3 << (2 * i)
  return lanes
}

registerCallOut('float-complex', (p, ctx, argument) => {
  const { float } = p
  const { u16 } = p.machine.mem
  const at = p.registerFile + FLOAT_SCRATCH
  const a = at
  const b = at + SLOT_BYTES
  const result = at + SLOT_RESULT
  const spread = result + SLOT_BYTES + 64
  const lanes = lanesOf(argument)
  const control = controlOf(argument)
  const mxcsr = controlWord(p, control)
  const mask = bothOf(maskOf(p, argument))
  const words = (offset: number, from: number, pick: (lane: number) => number): void => {
    for (let i = 0; i < lanes; i++) u16[(offset >> 1) + i] = u16[(from >> 1) + pick(i)]
  }
  words(spread, b, (i) => i & ~1)
  const first = argument & ACCUMULATE ? FLOAT_OP.FMADD : FLOAT_OP.MUL
  let status = float.packed3(first, 16, lanes, a, spread, at + 2 * SLOT_BYTES, result, mxcsr, mask, 0)
  if (status < FLOAT_UNMASKED) {
    words(spread, b, (i) => i | 1)
    const turned = spread + SLOT_BYTES
    words(turned, a, (i) => i ^ 1)
    const [real, imaginary] = argument & CONJUGATE ? [FLOAT_OP.FMADD, FLOAT_OP.FNMADD] : [FLOAT_OP.FNMADD, FLOAT_OP.FMADD]
    status |= float.packed3(real, 16, lanes, turned, spread, result, result, mxcsr, mask & EVEN, 0)
    status |= float.packed3(imaginary, 16, lanes, turned, spread, result, result, mxcsr, mask & ODD, 0)
  }
  return settle(p, ctx, status, control)
})

function complex(x: VectorInstruction, kind: number, scalar: boolean) {
  const { e, s } = x
  // The destination may not be a source.
  if (s.d.opRegister[0] === s.d.opRegister[1] || (s.isRegister(2) && s.d.opRegister[0] === s.d.opRegister[2])) return s.raise(UD)
  const pairs = scalar ? 1 : x.bytes / 4
  const read = (op: number): Expr[] => (scalar ? [readScalar(x, op, 32)] : readPacked(x, op, 32, pairs))
  const operands = [read(1), read(2), read(0)]
  const shape = { ...shapeOf(x, 16, 2 * pairs), masked: x.isMasked }
  runSlow(e, { assist: 'float-complex', what: kind, operands, shape, mask: x.mask(32, pairs)?.bits ?? null })
  const results = operands[0].map((_, c) => e.let(slowResult(e, c)))
  if (scalar) writeScalar(x, 32, 1, results[0])
  else writePacked(x, 32, pairs, results)
}
for (const [name, kind] of [
  ['VFMULC', 0],
  ['VFMADDC', ACCUMULATE],
  ['VFCMULC', CONJUGATE],
  ['VFCMADDC', ACCUMULATE | CONJUGATE],
] as [string, number][]) {
  defineVector(`${name}PH`, (x) => complex(x, kind, false))
  defineVector(`${name}SH`, (x) => complex(x, kind, true))
}
