import type { Emitter } from '../../translate/emitter.ts'
import type { Expr } from '../../translate/expr.ts'
import { bytesOf, rearrange, shiftLanes, upTo, vand, vec1, vxor, zero } from '../../translate/lanes.ts'
import { V } from '../../wasm/opcodes.ts'
import { both, defineLanes } from './forms.ts'
import { byteLookup } from './lookup.ts'

/** GFNI: arithmetic in GF(2^8) with the polynomial x^8 + x^4 + x^3 + x + 1 (SDM Vol. 1, 12.14). */

const POLYNOMIAL = 0x1b

/** Every byte times x. */
export function timesX(e: Emitter, bytes: Expr): Expr {
  const kept = e.let(bytes)
  const carried = vand(
    shiftLanes(V.i8x16_shr_s, kept, 7),
    bytesOf(() => POLYNOMIAL),
  )
  return vxor(shiftLanes(V.i8x16_shl, kept, 1), carried)
}

defineLanes(both('GF2P8MULB'), 8, 2, ({ e }, first, second) => {
  let a = e.let(first)
  const b = e.let(second)
  const product = e.variable(zero())
  for (let bit = 0; bit < 8; bit++) {
    const chosen = shiftLanes(V.i8x16_shr_s, shiftLanes(V.i8x16_shl, b, 7 - bit), 7)
    e.assign(product, vxor(product, vand(a, chosen)))
    if (bit < 7) a = e.let(timesX(e, a))
  }
  return product
})

/** Matrix of bits times each byte, plus the immediate: the 64-bit element of `matrix` holds the row of result bit i in byte 7 - i. */
function affine(e: Emitter, source: Expr, matrix: Expr, immediate: number): Expr {
  const x = e.let(source)
  const rows = e.let(matrix)
  const result = e.variable(bytesOf(() => immediate))
  for (let bit = 0; bit < 8; bit++) {
    const row = rearrange(
      8,
      rows,
      upTo(16).map((i) => (i & 8) + 7 - bit),
    )
    const parity = vand(
      vec1(V.i8x16_popcnt, vand(x, row)),
      bytesOf(() => 1),
    )
    e.assign(result, vxor(result, shiftLanes(V.i8x16_shl, parity, bit)))
  }
  return result
}
defineLanes(both('GF2P8AFFINEQB'), 8, 2, ({ e, immediate }, x, matrix) => affine(e, x, matrix, immediate), { readsAll: true })
defineLanes(both('GF2P8AFFINEINVQB'), 8, 2, ({ e, immediate }, x, matrix) => affine(e, invert(e, x), matrix, immediate), {
  readsAll: true,
})

// ---- inverses ----
export function multiply(a: number, b: number): number {
  let product = 0
  for (let x = a, rest = b; rest > 0; rest >>= 1) {
    if (rest & 1) product ^= x
    x = (x << 1) ^ (x & 0x80 ? 0x100 | POLYNOMIAL : 0)
  }
  return product
}
/** Multiplicative inverses; of 0: 0. */
export const INVERSE: readonly number[] = upTo(256).map((a) => upTo(256).find((b) => multiply(a, b) === 1) ?? 0)

/** A table of 256 bytes as sixteen constants. */
export const tableChunks = (table: readonly number[]): Expr[] => upTo(16).map((c) => bytesOf((i) => table[c * 16 + i]))
const invert = (e: Emitter, x: Expr): Expr => byteLookup(e, tableChunks(INVERSE), x)
