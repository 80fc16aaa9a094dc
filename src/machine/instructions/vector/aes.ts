import type { Emitter } from '../../translate/emitter.ts'
import type { Expr } from '../../translate/expr.ts'
import { lanesOf, rearrange, upTo, vxor } from '../../translate/lanes.ts'
import { both, defineLanes } from './forms.ts'
import { INVERSE, tableChunks, timesX } from './galois.ts'
import { byteLookup } from './lookup.ts'

/** AES rounds (FIPS 197; SDM Vol. 1, 12.13). The state is 16 bytes, column after column. */

const rotate8 = (x: number, n: number): number => ((x << n) | (x >> (8 - n))) & 0xff
const SBOX: readonly number[] = INVERSE.map((b) => b ^ rotate8(b, 1) ^ rotate8(b, 2) ^ rotate8(b, 3) ^ rotate8(b, 4) ^ 0x63)
const INVERSE_SBOX: readonly number[] = upTo(256).map((b) => SBOX.indexOf(b))

const substitute = (e: Emitter, state: Expr): Expr => byteLookup(e, tableChunks(SBOX), state)
const substituteBack = (e: Emitter, state: Expr): Expr => byteLookup(e, tableChunks(INVERSE_SBOX), state)

/** Row r moves left by r columns (right: the inverse). */
const SHIFT_ROWS = upTo(16).map((i) => (i + 4 * (i & 3)) & 15)
const SHIFT_ROWS_BACK = upTo(16).map((i) => (i - 4 * (i & 3)) & 15)
/** Each byte from the row `n` below it in its column. */
const rowsBelow = (state: Expr, n: number): Expr =>
  rearrange(
    8,
    state,
    upTo(16).map((i) => (i & 12) | ((i + n) & 3)),
  )

/** Columns times {03}x^3 + {01}x^2 + {01}x + {02}. */
function mixColumns(e: Emitter, source: Expr): Expr {
  const state = e.let(source)
  const doubled = e.let(timesX(e, state))
  const tripled = e.let(vxor(doubled, state))
  return vxor(vxor(doubled, rowsBelow(tripled, 1)), vxor(rowsBelow(state, 2), rowsBelow(state, 3)))
}
/** Columns times {0b}x^3 + {0d}x^2 + {09}x + {0e}: the same after multiplying by {04}x^2 + {05}. */
function mixColumnsBack(e: Emitter, source: Expr): Expr {
  const state = e.let(source)
  const opposite = e.let(vxor(state, rowsBelow(state, 2)))
  const quadrupled = timesX(e, timesX(e, opposite))
  return mixColumns(e, vxor(state, quadrupled))
}

// the round key is added last; the encoding order of the steps is the one that FIPS 197 calls equivalent
defineLanes(both('AESENC'), 8, 2, ({ e }, state, key) =>
  vxor(mixColumns(e, substitute(e, rearrange(8, e.let(state), SHIFT_ROWS))), key),
)
defineLanes(both('AESENCLAST'), 8, 2, ({ e }, state, key) => vxor(substitute(e, rearrange(8, e.let(state), SHIFT_ROWS)), key))
defineLanes(both('AESDEC'), 8, 2, ({ e }, state, key) =>
  vxor(mixColumnsBack(e, substituteBack(e, rearrange(8, e.let(state), SHIFT_ROWS_BACK))), key),
)
defineLanes(both('AESDECLAST'), 8, 2, ({ e }, state, key) =>
  vxor(substituteBack(e, rearrange(8, e.let(state), SHIFT_ROWS_BACK)), key),
)
defineLanes(both('AESIMC'), 8, 1, ({ e }, state) => mixColumnsBack(e, state))

/** Words 1 and 3 substituted, and the same rotated by a byte with the round constant added. */
defineLanes(both('AESKEYGENASSIST'), 8, 1, ({ e, immediate }, source) => {
  const words = e.let(substitute(e, source))
  const chosen = rearrange(8, words, [4, 5, 6, 7, 5, 6, 7, 4, 12, 13, 14, 15, 13, 14, 15, 12])
  return vxor(
    chosen,
    lanesOf(32, (i) => (i & 1 ? immediate : 0)),
  )
})
