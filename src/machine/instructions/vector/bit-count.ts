import type { Emitter } from '../../translate/emitter.ts'
import { and, type Bits, binary, type Expr, i32, unary } from '../../translate/expr.ts'
import {
  ADD,
  bytesOf,
  EQ,
  extractLane,
  lanes64,
  lanesIn,
  NE,
  replaceLane,
  SHR_U,
  shiftLanes,
  splat,
  swizzle,
  topBits,
  vand,
  vec1,
  vec2,
  zero,
} from '../../translate/lanes.ts'
import type { VectorSource } from '../../translate/vector-operands.ts'
import { I32, I64, V, W } from '../../wasm/opcodes.ts'
import { defineComparison, defineLanes, defineWhole, type LaneContext, perLane, wasm1 } from './forms.ts'

// ---- set bits ----
const ofWords = (bytes: Expr): Expr => vec1(V.i16x8_extadd_pairwise_i8x16_u, vec1(V.i8x16_popcnt, bytes))
const ofDoublewords = (bytes: Expr): Expr => vec1(V.i32x4_extadd_pairwise_i16x8_u, ofWords(bytes))
defineLanes('VPOPCNTB', 8, 1, wasm1(V.i8x16_popcnt))
defineLanes('VPOPCNTW', 16, 1, (_x, a) => ofWords(a))
defineLanes('VPOPCNTD', 32, 1, (_x, a) => ofDoublewords(a))
defineLanes('VPOPCNTQ', 64, 1, ({ e }, a) => {
  const counts = e.let(ofDoublewords(a))
  return vec2(ADD[64], vand(counts, lanes64(-1, 0)), shiftLanes(SHR_U[64], counts, 32))
})

// ---- leading zeros ----
defineLanes('VPLZCNTD', 32, 1, ({ e }, a) => perLane(e, 32, [a], (lane) => unary(W.i32_clz, I32, lane)))
defineLanes('VPLZCNTQ', 64, 1, ({ e }, a) => perLane(e, 64, [a], (lane) => unary(W.i64_clz, I64, lane)))

// ---- conflicts: for each element which earlier ones are equal ----
function conflicts(x: LaneContext, source: VectorSource, bits: 32 | 64): Expr[] {
  const { e } = x
  const perChunk = lanesIn(bits)
  const chunks = Array.from({ length: x.bytes / 16 }, (_, c) => e.let(source.chunk(c)))
  return chunks.map((chunk, c) => {
    const result = e.variable(zero())
    for (let i = 0; i < perChunk; i++) {
      const equal = earlierEqual(e, chunks, c, e.let(splat(bits, extractLane(bits, chunk, i))), bits)
      const mask = and(32, equal, i32((1 << (c * perChunk + i)) - 1))
      e.assign(result, replaceLane(bits, result, i, bits === 64 ? unary(W.i64_extend_i32_u, I64, mask) : mask))
    }
    return result
  })
}
/** Bits of the elements of chunks 0..c that equal the value in every lane of `value`. */
function earlierEqual(e: Emitter, chunks: readonly Expr[], c: number, value: Expr, bits: Bits): Expr {
  let all: Expr | null = null
  for (let k = 0; k <= c; k++) {
    const piece = binary(W.i32_shl, I32, topBits(bits, vec2(EQ[bits], chunks[k], value)), i32(k * lanesIn(bits)))
    all = all === null ? piece : binary(W.i32_or, I32, all, piece)
  }
  return e.let(all!)
}
defineWhole('VPCONFLICTD', 32, 1, (x, source) => conflicts(x, source, 32), { readsAll: true })
defineWhole('VPCONFLICTQ', 64, 1, (x, source) => conflicts(x, source, 64), { readsAll: true })

// ---- bits chosen by number ----
/** VPSHUFBITQMB: bit (control & 63) of the 64-bit element, for each control byte, into an opmask. */
defineComparison('VPSHUFBITQMB', 8, ({ e }, source, control) => {
  const number = e.let(
    vand(
      control,
      bytesOf(() => 63),
    ),
  )
  const byte = vec2(
    V.i8x16_add,
    shiftLanes(V.i8x16_shr_u, number, 3),
    bytesOf((i) => i & 8),
  )
  const bit = swizzle(
    bytesOf((i) => 1 << (i & 7)),
    vand(
      number,
      bytesOf(() => 7),
    ),
  )
  return vec2(NE[8], vand(swizzle(source, byte), bit), zero())
})

/** VPMULTISHIFTQB: for each byte, the eight bits of the 64-bit element from bit (control & 63) on, wrapping. */
defineLanes(
  'VPMULTISHIFTQB',
  8,
  2,
  ({ e }, first, second) => {
    const control = e.let(
      vand(
        first,
        bytesOf(() => 63),
      ),
    )
    const source = e.let(second)
    // the two bytes that hold the bits, as the low byte and the byte above it in the element
    const at = e.let(shiftLanes(V.i8x16_shr_u, control, 3))
    const next = vand(
      vec2(
        V.i8x16_add,
        at,
        bytesOf(() => 1),
      ),
      bytesOf(() => 7),
    )
    const half = () => bytesOf((i) => i & 8)
    const low = e.let(swizzle(source, vec2(V.i8x16_add, at, half())))
    const high = e.let(swizzle(source, vec2(V.i8x16_add, next, half())))
    return funnelBytes(
      e,
      low,
      high,
      e.let(
        vand(
          control,
          bytesOf(() => 7),
        ),
      ),
    )
  },
  { readsAll: true },
)
/** Bits n..n+7 of high:low for each byte, n in 0..7. */
function funnelBytes(e: Emitter, low: Expr, high: Expr, n: Expr): Expr {
  const result = e.variable(low)
  for (let k = 1; k < 8; k++) {
    const moved = vec2(V.or, shiftLanes(V.i8x16_shr_u, low, k), shiftLanes(V.i8x16_shl, high, 8 - k))
    e.assign(
      result,
      vec2(
        V.or,
        vand(
          moved,
          vec2(
            EQ[8],
            n,
            bytesOf(() => k),
          ),
        ),
        vec2(
          V.andnot,
          result,
          vec2(
            EQ[8],
            n,
            bytesOf(() => k),
          ),
        ),
      ),
    )
  }
  return result
}
