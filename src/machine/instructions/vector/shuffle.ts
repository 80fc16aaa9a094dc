import type { Bits, Expr } from '../../translate/expr.ts'
import { bytesOf, lanesOf, rearrange, shiftLanes, shuffle, swizzle, vand, vec2 } from '../../translate/lanes.ts'
import { V } from '../../wasm/opcodes.ts'
import { both, defineLanes, thirdIsImmediate } from './forms.ts'
import { lookup } from './lookup.ts'

/** Rearrangements inside 128-bit chunks. */

const crumbs = (immediate: number): number[] => [0, 2, 4, 6].map((at) => (immediate >> at) & 3)

defineLanes(both('PSHUFD'), 32, 1, ({ e, immediate }, a) => rearrange(32, e.let(a), crumbs(immediate)), { readsAll: true })
const lowWords = (immediate: number): number[] => [...crumbs(immediate), 4, 5, 6, 7]
defineLanes(both('PSHUFLW'), 16, 1, ({ e, immediate }, a) => rearrange(16, e.let(a), lowWords(immediate)), { readsAll: true })
defineLanes('PSHUFW', 16, 1, ({ e, immediate }, a) => rearrange(16, e.let(a), lowWords(immediate)))
defineLanes(
  both('PSHUFHW'),
  16,
  1,
  ({ e, immediate }, a) => rearrange(16, e.let(a), [0, 1, 2, 3, ...crumbs(immediate).map((i) => i + 4)]),
  {
    readsAll: true,
  },
)

/** The low number bits of each control byte choose a byte; its top bit makes 0. */
defineLanes(
  both('PSHUFB'),
  8,
  2,
  ({ bytes }, a, control) =>
    swizzle(
      a,
      vand(
        control,
        bytesOf(() => (bytes === 8 ? 0x87 : 0x8f)),
      ),
    ),
  { readsAll: true },
)

defineLanes(
  both('SHUFPS'),
  32,
  2,
  ({ immediate }, a, b) =>
    shuffle(
      32,
      a,
      b,
      crumbs(immediate).map((i, at) => (at < 2 ? i : i + 4)),
    ),
  { readsAll: true },
)
/** Two immediate bits for each chunk. */
const pair = (immediate: number, chunk: number): [number, number] => [
  (immediate >> (chunk * 2)) & 1,
  (immediate >> (chunk * 2 + 1)) & 1,
]
defineLanes(
  both('SHUFPD'),
  64,
  2,
  ({ immediate, chunk }, a, b) => {
    const [low, high] = pair(immediate, chunk)
    return shuffle(64, a, b, [low, high + 2])
  },
  { readsAll: true },
)

// ---- VPERMILPS, VPERMILPD: control in an immediate or in a vector ----
const inLane = (bits: 32 | 64, e: Parameters<typeof lookup>[0], source: Expr, control: Expr): Expr => {
  const number = bits === 32 ? control : shiftLanes(V.i64x2_shr_u, control, 1)
  return lookup(
    e,
    bits,
    [e.let(source)],
    vand(
      number,
      lanesOf(bits, () => (bits === 32 ? 3 : 1)),
    ),
  )
}
defineLanes('VPERMILPS', 32, 2, ({ e }, a, control) => inLane(32, e, a, control), { readsAll: true })
defineLanes('VPERMILPD', 64, 2, ({ e }, a, control) => inLane(64, e, a, control), { readsAll: true })
defineLanes('VPERMILPS', 32, 1, ({ e, immediate }, a) => rearrange(32, e.let(a), crumbs(immediate)), {
  readsAll: true,
  applies: thirdIsImmediate,
})
defineLanes('VPERMILPD', 64, 1, ({ e, immediate, chunk }, a) => rearrange(64, e.let(a), pair(immediate, chunk)), {
  readsAll: true,
  applies: thirdIsImmediate,
})

// ---- interleaving ----
const interleave = (bits: Bits, from: number): number[] => {
  const lanes = 128 / bits
  return Array.from({ length: lanes }, (_, i) => (i >> 1) + from + (i & 1 ? lanes : 0))
}
for (const [mnemonics, bits] of [
  [both('PUNPCKLBW'), 8],
  [both('PUNPCKLWD'), 16],
  [both('PUNPCKLDQ'), 32],
  [both('PUNPCKLQDQ'), 64],
  [both('UNPCKLPS'), 32],
  [both('UNPCKLPD'), 64],
] as [string[], Bits][])
  defineLanes(mnemonics, bits, 2, (_x, a, b) => shuffle(bits, a, b, interleave(bits, 0)), { readsAll: true })
// the upper half of an MMX operand is the middle of the chunk
for (const [mnemonics, bits] of [
  [both('PUNPCKHBW'), 8],
  [both('PUNPCKHWD'), 16],
  [both('PUNPCKHDQ'), 32],
  [both('PUNPCKHQDQ'), 64],
  [both('UNPCKHPS'), 32],
  [both('UNPCKHPD'), 64],
] as [string[], Bits][]) {
  defineLanes(
    mnemonics,
    bits,
    2,
    ({ bytes }, a, b) => shuffle(bits, a, b, interleave(bits, bytes === 8 ? 32 / bits : 64 / bits)),
    { readsAll: true },
  )
}

// ---- packing with saturation: a below, b above ----
for (const [mnemonic, bits, wasm] of [
  ['PACKSSWB', 8, V.i8x16_narrow_i16x8_s],
  ['PACKUSWB', 8, V.i8x16_narrow_i16x8_u],
  ['PACKSSDW', 16, V.i16x8_narrow_i32x4_s],
  ['PACKUSDW', 16, V.i16x8_narrow_i32x4_u],
] as [string, Bits, number][]) {
  defineLanes(
    both(mnemonic),
    bits,
    2,
    ({ e, bytes }, a, b) => {
      if (bytes !== 8) return vec2(wasm, a, b)
      const together = e.let(shuffle(64, a, b, [0, 2]))
      return vec2(wasm, together, together)
    },
    { readsAll: true },
  )
}
