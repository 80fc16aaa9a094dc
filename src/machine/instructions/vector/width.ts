import type { Emitter } from '../../translate/emitter.ts'
import type { Bits, Expr } from '../../translate/expr.ts'
import { bitselect, LT_S, lanesIn, lanesOf, ltU, shuffle, splat, upTo, vand, vec1, vec2, zero } from '../../translate/lanes.ts'
import type { VectorInstruction, VectorSource } from '../../translate/vector-operands.ts'
import { I32, V, V128, W } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'
import { both } from './forms.ts'

/** Elements made wider (PMOVSX, PMOVZX) and narrower (VPMOV, VPMOVS, VPMOVUS). */

// ---- wider ----
const EXTEND: Record<'S' | 'Z', Record<number, number>> = {
  S: { 8: V.i16x8_extend_low_i8x16_s, 16: V.i32x4_extend_low_i16x8_s, 32: V.i64x2_extend_low_i32x4_s },
  Z: { 8: V.i16x8_extend_low_i8x16_u, 16: V.i32x4_extend_low_i16x8_u, 32: V.i64x2_extend_low_i32x4_u },
}
/** The `bytes` (2, 4, 8) of an operand from byte `at`, in the low lanes. */
function lowBytes(source: VectorSource, bytes: number, at: number): Expr {
  if (bytes === 8) return source.part(V.load64_zero, V128, at)
  if (bytes === 4) return source.part(V.load32_zero, V128, at)
  return splat(32, source.part(W.i32_load16_u, I32, at))
}
for (const [letters, from, to] of [
  ['BW', 8, 16],
  ['BD', 8, 32],
  ['BQ', 8, 64],
  ['WD', 16, 32],
  ['WQ', 16, 64],
  ['DQ', 32, 64],
] as [string, Bits, Bits][]) {
  for (const kind of ['S', 'Z'] as const) {
    defineVector(both(`PMOV${kind}X${letters}`), (x) => {
      const ratio = to / from
      const perChunk = 16 / ratio
      const source = x.source(1, { bytes: x.bytes / ratio, suppress: from })
      const kept = x.keep((c) => {
        let value = lowBytes(source, perChunk, c * perChunk)
        for (let width = from as number; width < to; width *= 2) value = vec1(EXTEND[kind][width], value)
        return value
      })
      x.write(0, to, (c) => kept[c])
    })
  }
}

// ---- narrower ----
type Saturation = 'truncate' | 'signed' | 'unsigned'

/** Every lane as near to its value as `to` bits, signed or unsigned, can be. */
function saturate(e: Emitter, from: Bits, to: Bits, saturation: Saturation, value: Expr): Expr {
  if (saturation === 'truncate') return value
  if (saturation === 'unsigned') {
    const kept = e.let(value)
    return bitselect(kept, largest(from, to, false), ltU(from, kept, largest(from, to, false)))
  }
  const kept = e.let(value)
  const below = e.let(bitselect(kept, largest(from, to, true), vec2(LT_S[from], kept, largest(from, to, true))))
  return bitselect(smallest(from, to), below, vec2(LT_S[from], below, smallest(from, to)))
}
/** 2^to - 1 or 2^(to-1) - 1, and -2^(to-1), in lanes of `from` bits. */
const largest = (from: Bits, to: Bits, signed: boolean): Expr => {
  const bits = signed ? to - 1 : to
  return lanesOf(8, (byte) => ((byte % (from / 8)) * 8 + 8 <= bits ? 0xff : (byte % (from / 8)) * 8 < bits ? 0x7f : 0))
}
const smallest = (from: Bits, to: Bits): Expr =>
  lanesOf(8, (byte) => ((byte % (from / 8)) * 8 + 8 < to ? 0 : (byte % (from / 8)) * 8 + 8 === to ? 0x80 : 0xff))

/** The low halves of the lanes of two chunks. */
const lowHalves = (half: Bits, a: Expr, b: Expr): Expr =>
  shuffle(
    half,
    a,
    b,
    upTo(lanesIn(half)).map((i) => i * 2),
  )

function narrow(mnemonic: string, from: Bits, to: Bits, saturation: Saturation): void {
  defineVector(mnemonic, (x) => {
    const source = x.source(1)
    let chunks = x.keep((c) => saturate(x.e, from, to, saturation, source.chunk(c)))
    for (let width: number = from; width > to; width /= 2) chunks = halved(x, (width / 2) as Bits, chunks)
    writeNarrow(x, to, (x.bytes * to) / from, chunks)
  })
}
function halved(x: VectorInstruction, half: Bits, chunks: Expr[]): Expr[] {
  const result: Expr[] = []
  for (let c = 0; c < chunks.length; c += 2) result.push(x.e.let(lowHalves(half, chunks[c], chunks[c + 1] ?? zero())))
  return result
}
/** The result has `bytes` (2..32); the opmask has a bit for each of its elements, and a register is 0 above it. */
function writeNarrow(x: VectorInstruction, to: Bits, bytes: number, chunks: Expr[]): void {
  if (x.s.isMemory(0)) x.store(to, chunks, bytes)
  else if (bytes >= 16) x.write(0, to, (c) => chunks[c], bytes)
  else {
    const merged = x.mergeChunk(0, to, 0, chunks[0], (bytes * 8) / to)
    const present = lanesOf(8, (byte) => (byte < bytes ? -1 : 0))
    x.writeUnmasked(0, () => vand(merged, present), 16)
  }
}
for (const [letters, from, to] of [
  ['WB', 16, 8],
  ['DB', 32, 8],
  ['DW', 32, 16],
  ['QB', 64, 8],
  ['QW', 64, 16],
  ['QD', 64, 32],
] as [string, Bits, Bits][]) {
  narrow(`VPMOV${letters}`, from, to, 'truncate')
  narrow(`VPMOVS${letters}`, from, to, 'signed')
  narrow(`VPMOVUS${letters}`, from, to, 'unsigned')
}
