import type { Emitter } from '../../translate/emitter.ts'
import type { Bits, Expr } from '../../translate/expr.ts'
import { bytesOf, rearrange, SHL, shiftLanes, swizzle, upTo, vec2, vor } from '../../translate/lanes.ts'
import { V } from '../../wasm/opcodes.ts'

/**
 * Elements of a table by number: the table is the lanes of its chunks (kept values or constants), the numbers are lanes of
 * the same width, each below the table's length.
 */
export function lookup(e: Emitter, bits: Bits, table: readonly Expr[], numbers: Expr): Expr {
  return byteLookup(e, table, byteNumbers(e, bits, numbers))
}

/** Numbers of the bytes of the elements whose numbers are given. */
function byteNumbers(e: Emitter, bits: Bits, numbers: Expr): Expr {
  if (bits === 8) return numbers
  const size = bits / 8
  const first = e.let(shiftLanes(SHL[bits], numbers, Math.log2(size)))
  const spread = rearrange(
    8,
    first,
    upTo(16).map((i) => i - (i % size)),
  )
  return vec2(
    V.i8x16_add,
    spread,
    bytesOf((i) => i % size),
  )
}

/**
 * Bytes of a table of up to 256: a swizzle gives 0 for numbers that are not in its chunk. Numbers beyond the table give 0
 * (above 255: undefined).
 */
export function byteLookup(e: Emitter, table: readonly Expr[], numbers: Expr): Expr {
  if (table.length === 1) return swizzle(table[0], numbers)
  const kept = e.let(numbers)
  let result: Expr | null = null
  table.forEach((chunk, i) => {
    const relative =
      i === 0
        ? kept
        : vec2(
            V.i8x16_sub,
            kept,
            bytesOf(() => i * 16),
          )
    const found = swizzle(chunk, relative)
    result = result === null ? found : vor(result, found)
  })
  return result!
}
