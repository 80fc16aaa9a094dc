import type { Emitter } from '../../translate/emitter.ts'
import { type Bits, type Expr, unary } from '../../translate/expr.ts'
import {
  ABS,
  ADD,
  andNot,
  bitselect,
  EQ,
  LT_S,
  lanes64,
  lanesOf,
  ltU,
  rearrange,
  replaceLane,
  SHR_S,
  SHR_U,
  SUB,
  shiftLanes,
  shuffle,
  signBits,
  topBits,
  upTo,
  vand,
  vec1,
  vec2,
  vor,
  vxor,
  zero,
} from '../../translate/lanes.ts'
import { I32, V, W } from '../../wasm/opcodes.ts'
import { both, defineLanes, type LaneMeaning, wasm1, wasm2 } from './forms.ts'

// ---- addition, subtraction, minimum, maximum, average ----
const simple: [mnemonic: string, bits: Bits, wasm: number][] = [
  ['PADDB', 8, V.i8x16_add],
  ['PADDW', 16, V.i16x8_add],
  ['PADDD', 32, V.i32x4_add],
  ['PADDQ', 64, V.i64x2_add],
  ['PSUBB', 8, V.i8x16_sub],
  ['PSUBW', 16, V.i16x8_sub],
  ['PSUBD', 32, V.i32x4_sub],
  ['PSUBQ', 64, V.i64x2_sub],
  ['PADDSB', 8, V.i8x16_add_sat_s],
  ['PADDSW', 16, V.i16x8_add_sat_s],
  ['PADDUSB', 8, V.i8x16_add_sat_u],
  ['PADDUSW', 16, V.i16x8_add_sat_u],
  ['PSUBSB', 8, V.i8x16_sub_sat_s],
  ['PSUBSW', 16, V.i16x8_sub_sat_s],
  ['PSUBUSB', 8, V.i8x16_sub_sat_u],
  ['PSUBUSW', 16, V.i16x8_sub_sat_u],
  ['PMINSB', 8, V.i8x16_min_s],
  ['PMINSW', 16, V.i16x8_min_s],
  ['PMINSD', 32, V.i32x4_min_s],
  ['PMINUB', 8, V.i8x16_min_u],
  ['PMINUW', 16, V.i16x8_min_u],
  ['PMINUD', 32, V.i32x4_min_u],
  ['PMAXSB', 8, V.i8x16_max_s],
  ['PMAXSW', 16, V.i16x8_max_s],
  ['PMAXSD', 32, V.i32x4_max_s],
  ['PMAXUB', 8, V.i8x16_max_u],
  ['PMAXUW', 16, V.i16x8_max_u],
  ['PMAXUD', 32, V.i32x4_max_u],
  ['PAVGB', 8, V.i8x16_avgr_u],
  ['PAVGW', 16, V.i16x8_avgr_u],
  ['PMULLW', 16, V.i16x8_mul],
  ['PMULLD', 32, V.i32x4_mul],
]
for (const [mnemonic, bits, wasm] of simple) defineLanes(both(mnemonic), bits, 2, wasm2(wasm))
defineLanes('VPMULLQ', 64, 2, wasm2(V.i64x2_mul))

/** Of two kept 64-bit-lane vectors the first where `less` says so. */
const chooseFirst =
  (less: (a: Expr, b: Expr) => Expr, swap: boolean): LaneMeaning =>
  ({ e }, first, second) => {
    const a = e.let(first)
    const b = e.let(second)
    return swap ? bitselect(b, a, less(a, b)) : bitselect(a, b, less(a, b))
  }
const lessSigned = (a: Expr, b: Expr) => vec2(LT_S[64], a, b)
const lessUnsigned = (a: Expr, b: Expr) => ltU(64, a, b)
defineLanes('VPMINSQ', 64, 2, chooseFirst(lessSigned, false))
defineLanes('VPMAXSQ', 64, 2, chooseFirst(lessSigned, true))
defineLanes('VPMINUQ', 64, 2, chooseFirst(lessUnsigned, false))
defineLanes('VPMAXUQ', 64, 2, chooseFirst(lessUnsigned, true))

for (const [mnemonics, bits] of [
  [both('PABSB'), 8],
  [both('PABSW'), 16],
  [both('PABSD'), 32],
  [['VPABSQ'], 64],
] as [string[], Bits][]) {
  defineLanes(mnemonics, bits, 1, wasm1(ABS[bits]))
}

/** a where b is positive, -a where it is negative, 0 where it is 0. */
const sign =
  (bits: Bits): LaneMeaning =>
  ({ e }, first, second) => {
    const b = e.let(second)
    const negative = e.let(shiftLanes(SHR_S[bits], b, bits - 1))
    const signed = vec2(SUB[bits], vxor(first, negative), negative)
    return andNot(signed, vec2(EQ[bits], b, zero()))
  }
defineLanes(both('PSIGNB'), 8, 2, sign(8))
defineLanes(both('PSIGNW'), 16, 2, sign(16))
defineLanes(both('PSIGND'), 32, 2, sign(32))

// ---- products ----
/** The upper halves of 32-bit products of words: lanes 1 3 5 7 of low and high. */
const upperWords = (low: Expr, high: Expr): Expr => shuffle(16, low, high, [1, 3, 5, 7, 9, 11, 13, 15])
const highProduct =
  (low: number, high: number): LaneMeaning =>
  ({ e }, first, second) => {
    const a = e.let(first)
    const b = e.let(second)
    return upperWords(vec2(low, a, b), vec2(high, a, b))
  }
defineLanes(both('PMULHW'), 16, 2, highProduct(V.i32x4_extmul_low_i16x8_s, V.i32x4_extmul_high_i16x8_s))
defineLanes(both('PMULHUW'), 16, 2, highProduct(V.i32x4_extmul_low_i16x8_u, V.i32x4_extmul_high_i16x8_u))

/** wasm's rounding multiplication saturates -1 * -1 to 0x7fff; PMULHRSW gives 0x8000. */
defineLanes(both('PMULHRSW'), 16, 2, ({ e }, first, second) => {
  const a = e.let(first)
  const b = e.let(second)
  const bothMinimal = vand(vec2(V.i16x8_eq, a, signBits(16)), vec2(V.i16x8_eq, b, signBits(16)))
  return vxor(vec2(V.i16x8_q15mulr_sat_s, a, b), bothMinimal)
})

/** 64-bit products of the even 32-bit lanes. */
const evenProduct =
  (wasm: number): LaneMeaning =>
  ({ e }, first, second) => {
    const a = e.let(first)
    const b = e.let(second)
    return vec2(wasm, rearrange(32, a, [0, 2, 0, 2]), rearrange(32, b, [0, 2, 0, 2]))
  }
defineLanes(both('PMULUDQ'), 64, 2, evenProduct(V.i64x2_extmul_low_i32x4_u))
defineLanes(both('PMULDQ'), 64, 2, evenProduct(V.i64x2_extmul_low_i32x4_s))

defineLanes(both('PMADDWD'), 32, 2, wasm2(V.i32x4_dot_i16x8_s), { readsAll: true })

/** Products of unsigned bytes of a and signed bytes of b, as words: of the even bytes and of the odd ones. None overflows. */
export function mixedProducts(e: Emitter, first: Expr, second: Expr): [even: Expr, odd: Expr] {
  const a = e.let(first)
  const b = e.let(second)
  const even = vec2(
    V.i16x8_mul,
    vand(
      a,
      lanesOf(16, () => 0xff),
    ),
    shiftLanes(V.i16x8_shr_s, shiftLanes(V.i16x8_shl, b, 8), 8),
  )
  const odd = vec2(V.i16x8_mul, shiftLanes(V.i16x8_shr_u, a, 8), shiftLanes(V.i16x8_shr_s, b, 8))
  return [even, odd]
}
defineLanes(both('PMADDUBSW'), 16, 2, ({ e }, a, b) => vec2(V.i16x8_add_sat_s, ...mixedProducts(e, a, b)), { readsAll: true })

// ---- horizontal ----
const evenLanes = (bits: Bits): number[] => (bits === 16 ? [0, 2, 4, 6, 8, 10, 12, 14] : [0, 2, 4, 6])
/** Neighbouring lanes of a, then of b, combined. MMX operands are put side by side first. */
const horizontal =
  (bits: 16 | 32, wasm: number): LaneMeaning =>
  ({ e, bytes }, first, second) => {
    let a = e.let(first)
    let b = e.let(second)
    if (bytes === 8) a = b = e.let(shuffle(64, a, b, [0, 2]))
    const even = evenLanes(bits)
    return vec2(
      wasm,
      shuffle(bits, a, b, even),
      shuffle(
        bits,
        a,
        b,
        even.map((i) => i + 1),
      ),
    )
  }
for (const [mnemonic, bits, wasm] of [
  ['PHADDW', 16, V.i16x8_add],
  ['PHADDD', 32, V.i32x4_add],
  ['PHADDSW', 16, V.i16x8_add_sat_s],
  ['PHSUBW', 16, V.i16x8_sub],
  ['PHSUBD', 32, V.i32x4_sub],
  ['PHSUBSW', 16, V.i16x8_sub_sat_s],
] as [string, 16 | 32, number][])
  defineLanes(both(mnemonic), bits, 2, horizontal(bits, wasm))

/** |a - b| of unsigned bytes. */
const absoluteDifference = (e: Emitter, first: Expr, second: Expr): Expr => {
  const a = e.let(first)
  const b = e.let(second)
  return vor(vec2(V.i8x16_sub_sat_u, a, b), vec2(V.i8x16_sub_sat_u, b, a))
}
defineLanes(
  both('PSADBW'),
  64,
  2,
  ({ e }, a, b) => {
    const words = vec1(V.i16x8_extadd_pairwise_i8x16_u, absoluteDifference(e, a, b))
    const pairs = e.let(vec1(V.i32x4_extadd_pairwise_i16x8_u, words))
    return vec2(ADD[64], vand(pairs, lanes64(-1, 0)), shiftLanes(SHR_U[64], pairs, 32))
  },
  { readsAll: true },
)

/** For words 0..7: the sum of |difference| between four bytes of a, from byte `from(word)` on, and four of b, from `against(word)` on. */
function quadDifferences(e: Emitter, a: Expr, from: (word: number) => number, b: Expr, against: (word: number) => number): Expr {
  const bytesAt = (source: Expr, start: (word: number) => number, j: number) =>
    vec1(
      V.i16x8_extend_low_i8x16_u,
      rearrange(
        8,
        source,
        upTo(16).map((i) => (start(i & 7) + j) & 15),
      ),
    )
  let sum: Expr | null = null
  for (let j = 0; j < 4; j++) {
    const difference = vec1(V.i16x8_abs, vec2(V.i16x8_sub, bytesAt(a, from, j), bytesAt(b, against, j)))
    sum = sum === null ? difference : vec2(V.i16x8_add, sum, difference)
  }
  return e.let(sum!)
}
/** MPSADBW: immediate bits 2:0 for the lower of each pair of chunks, 5:3 for the upper (SDM Vol. 2B). */
defineLanes(
  both('MPSADBW'),
  16,
  2,
  ({ e, immediate, chunk }, a, b) => {
    const control = chunk & 1 ? immediate >> 3 : immediate
    return quadDifferences(
      e,
      e.let(a),
      (word) => (control & 4) + word,
      e.let(b),
      () => (control & 3) * 4,
    )
  },
  { readsAll: true },
)
/** VDBPSADBW: the immediate first rearranges the doublewords of the second source. */
defineLanes(
  'VDBPSADBW',
  16,
  2,
  ({ e, immediate }, a, b) => {
    const chosen = e.let(
      rearrange(
        32,
        e.let(b),
        [0, 2, 4, 6].map((at) => (immediate >> at) & 3),
      ),
    )
    const ofA = (word: number) => (word & 2 ? 4 : 0) + (word & 4 ? 8 : 0)
    return quadDifferences(e, e.let(a), ofA, chosen, (word) => (word & 4 ? 8 : 0) + (word & 1) + (word & 2))
  },
  { readsAll: true },
)

/** Smallest word in word 0, its number in word 1, zeros above. */
defineLanes(both('PHMINPOSUW'), 16, 1, ({ e }, source) => {
  const words = e.let(source)
  let least = words
  for (const step of [
    [4, 5, 6, 7, 0, 1, 2, 3],
    [2, 3, 0, 1, 6, 7, 4, 5],
    [1, 0, 3, 2, 5, 4, 7, 6],
  ]) {
    least = e.let(vec2(V.i16x8_min_u, least, rearrange(16, least, step)))
  }
  const position = unary(W.i32_ctz, I32, topBits(16, vec2(V.i16x8_eq, words, least)))
  return replaceLane(
    16,
    vand(
      least,
      lanesOf(16, (i) => (i === 0 ? -1 : 0)),
    ),
    1,
    position,
  )
})
