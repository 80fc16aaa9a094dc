import { MEMORY_SIZE_NAMES } from '../../decoder/iced-tables.ts'
import { type Bits, type Expr, load } from '../../translate/expr.ts'
import { bitselect, lanesOf, shuffle, vand } from '../../translate/lanes.ts'
import { registerOffset, type VectorInstruction, vectorBytes } from '../../translate/vector-operands.ts'
import { V, V128, W } from '../../wasm/opcodes.ts'
import { scalarPick, writeWhole } from '../vector/move.ts'
import { type FloatBits, scalarOf } from './lanes.ts'

/** Reading and writing the operands of floating-point instructions: whole vectors, or the low element (SS, SD, SH forms). */

const ZERO_LOAD = { 16: V.load32_zero, 32: V.load32_zero, 64: V.load64_zero } as const

/** Element 0 of operand `op`, register or memory, kept in lane 0; what is in the other lanes does not matter. */
export function readScalar(x: VectorInstruction, op: number, bits: FloatBits): Expr {
  const { s, e } = x
  if (s.isRegister(op)) {
    const at = registerOffset(x.register(op))
    return e.let(e.vectors.isActive ? e.vectors.chunk(at) : load(ZERO_LOAD[bits], V128, e.fpu, at))
  }
  const pointer = x.elementPointer(bits, x.mask(bits, 1))
  return e.let(load(bits === 16 ? V.load16_splat : ZERO_LOAD[bits], V128, pointer, 0))
}

/**
 * Writes element 0 of `value` (a leaf) to register operand 0, under the opmask. The other elements come from register
 * operand `rest` (legacy forms: from the destination itself).
 */
export function writeScalar(x: VectorInstruction, bits: FloatBits, rest: number, value: Expr): void {
  const { e } = x
  const at = registerOffset(x.register(0))
  if (x.isLegacy) {
    if (bits === 16) throw new Error('half precision is EVEX only')
    e.store(bits === 64 ? W.f64_store : W.f32_store, e.fpu, at, scalarOf(bits, value))
    return
  }
  const merged = x.mergeChunk(0, bits, 0, value, 1)
  writeWhole(x, shuffle(bits, merged, e.vectors.chunk(registerOffset(x.register(rest))), scalarPick(bits)))
}

/** Elements of a packed operand of `elementBits`: of a register, of memory, or as often as a broadcast repeats. */
export function elementsOf(x: VectorInstruction, op: number, elementBits: number): number {
  const { s } = x
  if (s.isRegister(op)) return (vectorBytes(x.register(op)) * 8) / elementBits
  const broadcast = /^Broadcast(\d+)_/.exec(MEMORY_SIZE_NAMES[s.d.memorySize])
  return (broadcast === null ? s.d.memoryBytes * 8 : Number(broadcast[1])) / elementBits
}

/** `lanes` elements of operand `op` as kept chunks; those in memory that are masked off are not accessed, unless `readsAll`. */
export function readPacked(x: VectorInstruction, op: number, bits: Bits, lanes: number, readsAll = false): Expr[] {
  const bytes = (bits * lanes) / 8
  const source = x.source(op, readsAll ? { bytes } : { bytes, suppress: bits })
  const chunks: Expr[] = []
  for (let c = 0; c < Math.max(1, bytes >> 4); c++) chunks.push(x.e.let(source.chunk(c)))
  return chunks
}

/**
 * Writes `lanes` elements (kept chunks) to register operand 0 under the opmask. Results of 4 or 8 bytes leave zeros above
 * them.
 */
export function writePacked(x: VectorInstruction, bits: Bits, lanes: number, chunks: readonly Expr[]) {
  const bytes = (bits * lanes) / 8
  if (bytes >= 16) return x.write(0, bits, (c) => chunks[c], bytes)
  const mask = x.mask(bits, lanes)
  const keep = lanesOf(32, (i) => (i * 4 < bytes ? -1 : 0))
  let value: Expr = chunks[0]
  if (mask !== null) {
    const old = x.e.vectors.chunk(registerOffset(x.register(0)))
    value = x.s.d.zeroing ? vand(value, mask.lanes(0)) : bitselect(value, old, mask.lanes(0))
  }
  writeWhole(x, vand(value, keep))
}
