import { FLOAT_OP } from '../../float/float-unit.ts'
import type { Expr } from '../../translate/expr.ts'
import { ADD, lanes64, lanesOf, rearrange, shuffle, vand, vec1, vec2, vor } from '../../translate/lanes.ts'
import { V } from '../../wasm/opcodes.ts'
import { BOTH, defineForms, type LaneTest, type Native } from './forms.ts'
import { abs, DIV, floats, ge, le, SQRT } from './lanes.ts'

/**
 * RCP and RSQRT with the bits of Intel processors (float/approximate.ts): the leading fraction bits of the operand name an
 * interval, and what its middle gives is rounded to 12 fraction bits. They look at no control and raise nothing; operands that
 * are not well inside the format's range run in TypeScript. VRCP14 and VRSQRT14 always do.
 */

/** The leading `bits` fraction bits of each single, and the next one set. */
const middle = (a: Expr, bits: number): Expr =>
  vor(
    vand(
      a,
      lanesOf(32, () => -1 << (23 - bits)),
    ),
    lanesOf(32, () => 1 << (22 - bits)),
  )
const positive: LaneTest = (_f, _r, a) => vand(ge(32, a, floats(32, 2 ** -125)), le(32, a, floats(32, 2 ** 125)))
const inRange: LaneTest = (_f, _r, a) => vand(ge(32, abs(32, a), floats(32, 2 ** -125)), le(32, abs(32, a), floats(32, 2 ** 125)))

// Rounding to single precision first would hit and miss ties: doubles are used.
const reciprocal: Native = {
  result: ({ e }, a) => {
    const operand = e.let(middle(a, 11))
    const half = (source: Expr): Expr => {
      const quotient = vec2(DIV[64], floats(64, 1), vec1(V.f64x2_promote_low_f32x4, source))
      const rounded = vand(vec2(ADD[64], quotient, lanes64(0, 1 << 7)), lanes64(0, -1 << 8))
      return vec1(V.f32x4_demote_f64x2_zero, rounded)
    }
    return shuffle(64, half(operand), half(rearrange(64, operand, [1, 1])), [0, 2])
  },
  tests: [inRange],
  control: null,
}

// Here single precision is enough: tried for all intervals.
const reciprocalRoot: Native = {
  result: (_f, a) => {
    const quotient = vec2(DIV[32], floats(32, 1), vec1(SQRT[32], middle(a, 10)))
    return vand(
      vec2(
        ADD[32],
        quotient,
        lanesOf(32, () => 0x400),
      ),
      lanesOf(32, () => -1 << 11),
    )
  },
  tests: [positive],
  control: null,
}
defineForms('RCP', BOTH, { op: FLOAT_OP.RCP, sources: 1, native: () => reciprocal }, 'PS SS')
defineForms('RSQRT', BOTH, { op: FLOAT_OP.RSQRT, sources: 1, native: () => reciprocalRoot }, 'PS SS')
