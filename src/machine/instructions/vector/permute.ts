import type { Bits, Expr } from '../../translate/expr.ts'
import { lanesIn, lanesOf, shuffle, vand, zero } from '../../translate/lanes.ts'
import type { VectorInstruction, VectorSource } from '../../translate/vector-operands.ts'
import { defineVector } from './available.ts'
import { defineWhole, type LaneContext, thirdIsImmediate } from './forms.ts'
import { lookup } from './lookup.ts'

/** Rearrangements across 128-bit chunks. */

const all = (x: LaneContext, source: VectorSource): Expr[] =>
  Array.from({ length: x.bytes / 16 }, (_, c) => x.e.let(source.chunk(c)))
const each = (x: LaneContext, f: (chunk: number) => Expr): Expr[] => Array.from({ length: x.bytes / 16 }, (_, c) => f(c))
/** Element numbers modulo the number of elements in `chunks` chunks. */
const numbers = (bits: Bits, chunks: number, index: Expr): Expr =>
  vand(
    index,
    lanesOf(bits, () => chunks * lanesIn(bits) - 1),
  )

// ---- by numbers in a vector ----
/** dst[i] ← table[index[i]]; operands (dst, index, table). */
for (const [mnemonic, bits] of [
  ['VPERMB', 8],
  ['VPERMW', 16],
  ['VPERMD', 32],
  ['VPERMPS', 32],
  ['VPERMQ', 64],
  ['VPERMPD', 64],
] as [string, Bits][]) {
  defineWhole(
    mnemonic,
    bits,
    2,
    (x, index, table) => {
      const chunks = all(x, table)
      return each(x, (c) => lookup(x.e, bits, chunks, numbers(bits, chunks.length, index.chunk(c))))
    },
    { readsAll: true },
  )
}

/** Elements of two tables: VPERMI2 (index in the destination, tables) and VPERMT2 (index second, the destination is the first table). */
function permuteTwo(suffix: string, bits: Bits): void {
  const choose = (x: LaneContext, index: VectorSource, first: VectorSource, second: VectorSource): Expr[] => {
    const chunks = [...all(x, first), ...all(x, second)]
    return each(x, (c) => lookup(x.e, bits, chunks, numbers(bits, chunks.length, index.chunk(c))))
  }
  defineWhole(`VPERMI2${suffix}`, bits, 3, choose, { readsAll: true })
  defineWhole(`VPERMT2${suffix}`, bits, 3, (x, first, index, second) => choose(x, index, first, second), { readsAll: true })
}
permuteTwo('B', 8)
permuteTwo('W', 16)
permuteTwo('D', 32)
permuteTwo('PS', 32)
permuteTwo('Q', 64)
permuteTwo('PD', 64)

// ---- by an immediate ----
/** Four 64-bit elements out of each 256 bits. */
for (const mnemonic of ['VPERMQ', 'VPERMPD']) {
  defineWhole(
    mnemonic,
    64,
    1,
    (x, source) => {
      const chunks = all(x, source)
      const pick = (at: number) => (x.immediate >> (at * 2)) & 3
      return each(x, (c) => {
        const half = (c & 1) * 2
        return shuffle(64, chunks[c & ~1], chunks[c | 1], [pick(half), pick(half + 1)])
      })
    },
    { readsAll: true, applies: thirdIsImmediate },
  )
}

/** VPERM2F128: each half of the result is one of four halves, or 0. */
for (const mnemonic of ['VPERM2F128', 'VPERM2I128']) {
  defineWhole(mnemonic, 64, 2, (x, a, b) =>
    each(x, (c) => {
      const control = x.immediate >> (c * 4)
      return control & 8 ? zero() : (control & 2 ? b : a).chunk(control & 1)
    }),
  )
}

/** VSHUFF32X4 and the like: the lower half of the result from chunks of the first source, the upper from the second. */
for (const [mnemonic, bits] of [
  ['VSHUFF32X4', 32],
  ['VSHUFF64X2', 64],
  ['VSHUFI32X4', 32],
  ['VSHUFI64X2', 64],
] as [string, Bits][]) {
  defineWhole(
    mnemonic,
    bits,
    2,
    (x, a, b) => {
      const chunks = x.bytes / 16
      const width = chunks === 2 ? 1 : 2
      return each(x, (c) => (c < chunks / 2 ? a : b).chunk((x.immediate >> (c * width)) & (chunks - 1)))
    },
    { readsAll: true },
  )
}

/** VALIGN: the elements of first:second (first above) from the immediate on. */
for (const [mnemonic, bits] of [
  ['VALIGND', 32],
  ['VALIGNQ', 64],
] as [string, Bits][]) {
  defineWhole(
    mnemonic,
    bits,
    2,
    (x, high, low) => {
      const chunks = [...all(x, low), ...all(x, high), x.e.let(zero())]
      const perChunk = lanesIn(bits)
      const shift = x.immediate & ((x.bytes * 8) / bits - 1)
      return each(x, (c) => {
        const from = c * perChunk + shift
        const at = Math.floor(from / perChunk)
        return shuffle(
          bits,
          chunks[at],
          chunks[at + 1],
          Array.from({ length: perChunk }, (_, i) => (from % perChunk) + i),
        )
      })
    },
    { readsAll: true },
  )
}

// ---- groups of chunks in and out ----
/** [suffix, element width, bytes of the group] */
const groups: [string, Bits, 16 | 32][] = [
  ['F128', 32, 16],
  ['I128', 32, 16],
  ['F32X4', 32, 16],
  ['I32X4', 32, 16],
  ['F64X2', 64, 16],
  ['I64X2', 64, 16],
  ['F32X8', 32, 32],
  ['I32X8', 32, 32],
  ['F64X4', 64, 32],
  ['I64X4', 64, 32],
]
for (const [suffix, bits, bytes] of groups) {
  const size = bytes / 16
  /** First chunk of the group that the immediate chooses out of a vector of `chunks`. */
  const groupStart = (x: VectorInstruction) => (x.immediate & (x.chunks / size - 1)) * size

  defineVector(`VINSERT${suffix}`, (x) => {
    const group = x.source(2, { bytes })
    const rest = x.source(1)
    const start = groupStart(x)
    const kept = x.keep((c) => (c >= start && c < start + size ? group.chunk(c - start) : rest.chunk(c)))
    x.write(0, bits, (c) => kept[c])
  })
  defineVector(`VEXTRACT${suffix}`, (x) => {
    const source = x.source(1)
    const start = groupStart(x)
    const kept = x.keep((c) => source.chunk(start + c), size)
    if (x.s.isMemory(0)) x.store(bits, kept, bytes, { whole: true })
    else x.write(0, bits, (c) => kept[c], bytes)
  })
}
