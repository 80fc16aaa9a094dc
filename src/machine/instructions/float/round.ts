import { FLOAT_OP } from '../../float/float-unit.ts'
import { vec1 } from '../../translate/lanes.ts'
import { BOTH, defineForms, type LaneTest, type Native } from './forms.ts'
import { CEIL, eq, FLOOR, NEAREST, TRUNC } from './lanes.ts'
import { mxcsrIsNearest } from './operation.ts'
import { ordinary } from './tests.ts'

/** ROUND* and VRNDSCALE*. Immediate bits 1:0 round, or MXCSR with bit 2; bit 3 suppresses PE; bits 7:4 fraction bits (VRNDSCALE). */

const BY_MXCSR = 4
const NO_PRECISION = 8
const MODES = [NEAREST, FLOOR, CEIL, TRUNC]

const operandIsOrdinary: LaneTest = ({ bits }, _r, a) => ordinary(bits, a)
const operandIsNumber: LaneTest = ({ bits }, _r, a) => eq(bits, a, a)
/** An integer stays what it is, however it is rounded. */
const unchanged: LaneTest = ({ bits }, r, a) => eq(bits, r, a)

function rounding(immediate: number): Native {
  const wasm = immediate & BY_MXCSR ? NEAREST : MODES[immediate & 3]
  const result: Native['result'] = ({ bits }, a) => vec1(wasm[bits], a)
  if (!(immediate & NO_PRECISION)) return { result, tests: [operandIsNumber], control: 'rounds', exact: unchanged }
  return {
    result,
    tests: [operandIsOrdinary],
    control:
      immediate & BY_MXCSR
        ? ({ e }) =>
            () =>
              mxcsrIsNearest(e)
        : null,
  }
}

defineForms('ROUND', BOTH, { op: FLOAT_OP.ROUND, sources: 1, hasImmediate: true, native: rounding }, 'PS PD SS SD')
defineForms('RNDSCALE', ['V'], {
  op: FLOAT_OP.RNDSCALE,
  sources: 1,
  hasImmediate: true,
  native: (immediate) => (immediate >> 4 === 0 ? rounding(immediate) : null),
})
