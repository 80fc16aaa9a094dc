import { Register } from '../../decoder/iced-tables.ts'
import type { ExecutionContext } from '../../execution-context.ts'
import { RFLAGS_CF, RFLAGS_OF, RFLAGS_SF, RFLAGS_ZF } from '../../flags.ts'
import { SPILL, VECTOR } from '../../memory-map.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { type Expr, i32, load, signExtend } from '../../translate/expr.ts'
import type { VectorInstruction } from '../../translate/vector-operands.ts'
import { I32, V, V128, W } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'

/**
 * PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM Vol. 1, 12.10.3; Vol. 2B, 4.1). The comparison runs in TypeScript on
 * copies of the operands in the spill area of the context:
 *
 *   +0x00  first operand     +0x20  its explicit length, i64      +0x30  index of the result, u32
 *   +0x10  second operand    +0x28  length of the second, i64     +0x34  flags, u32
 *                                                                 +0x40  mask, 16 bytes
 */
const SECOND = 0x10
const LENGTHS = 0x20
const INDEX = 0x30
const FLAGS = 0x34
const MASK = 0x40

/** Bits of the assist's argument above the immediate. */
const EXPLICIT = 0x100

// ---- aggregation, immediate bits 3:2 ----
const EQUAL_ANY = 0
const RANGES = 1
const EQUAL_EACH = 2

/** One operand: its elements and how many are valid. */
interface Text {
  elements: ArrayLike<number>
  length: number
}

function elementsAt(ctx: ExecutionContext, at: number, format: number): ArrayLike<number> {
  const { buffer } = ctx.mem
  switch (format) {
    case 0:
      return new Uint8Array(buffer, at, 16)
    case 1:
      return new Uint16Array(buffer, at, 8)
    case 2:
      return new Int8Array(buffer, at, 16)
    default:
      return new Int16Array(buffer, at, 8)
  }
}
/** |length|, at most `most`. */
function explicitLength(ctx: ExecutionContext, at: number, most: number): number {
  const magnitude = Math.abs(ctx.mem.i32[(at >> 2) + 1] * 2 ** 32 + ctx.mem.u32[at >> 2])
  return Math.min(magnitude, most)
}
function implicitLength(elements: ArrayLike<number>): number {
  let n = 0
  while (n < elements.length && elements[n] !== 0) n++
  return n
}

/** One bit for each element of the second operand (IntRes1). */
function aggregate(a: Text, b: Text, aggregation: number): number {
  const n = a.elements.length
  let result = 0
  for (let j = 0; j < n; j++) if (matches(a, b, aggregation, j)) result |= 1 << j
  return result
}
function matches(a: Text, b: Text, aggregation: number, j: number): boolean {
  const x = a.elements
  const y = b.elements
  switch (aggregation) {
    case EQUAL_ANY:
      for (let i = 0; i < a.length; i++) if (j < b.length && x[i] === y[j]) return true
      return false
    case RANGES:
      for (let i = 0; i + 1 < a.length; i += 2) if (j < b.length && y[j] >= x[i] && y[j] <= x[i + 1]) return true
      return false
    case EQUAL_EACH:
      return j < a.length && j < b.length ? x[j] === y[j] : j >= a.length && j >= b.length
    default: // equal ordered: the first text, as far as it goes, begins here
      for (let i = 0; i < a.length && i + j < x.length; i++) if (i + j >= b.length || x[i] !== y[i + j]) return false
      return true
  }
}

/** Immediate bits 5:4 (IntRes2). */
function polarized(result: number, b: Text, polarity: number): number {
  const all = (1 << b.elements.length) - 1
  if (polarity === 1) return ~result & all
  if (polarity === 3) return (result ^ ((1 << b.length) - 1)) & all
  return result
}

registerCallOut('compare strings', (_processor, ctx, argument) => {
  const immediate = argument & 0xff
  const base = ctx.base + SPILL
  const format = immediate & 3
  const first = elementsAt(ctx, base, format)
  const second = elementsAt(ctx, base + SECOND, format)
  const explicit = (argument & EXPLICIT) !== 0
  const n = first.length
  const a = { elements: first, length: explicit ? explicitLength(ctx, base + LENGTHS, n) : implicitLength(first) }
  const b = { elements: second, length: explicit ? explicitLength(ctx, base + LENGTHS + 8, n) : implicitLength(second) }
  const result = polarized(aggregate(a, b, (immediate >> 2) & 3), b, (immediate >> 4) & 3)
  const { u32, u8 } = ctx.mem
  const top = (immediate & 0x40) !== 0
  u32[(base + INDEX) >> 2] = result === 0 ? n : top ? 31 - Math.clz32(result) : 31 - Math.clz32(result & -result)
  u32[(base + FLAGS) >> 2] =
    (result !== 0 ? RFLAGS_CF : 0) |
    (b.length < n ? RFLAGS_ZF : 0) |
    (a.length < n ? RFLAGS_SF : 0) |
    (result & 1 ? RFLAGS_OF : 0)
  u8.fill(0, base + MASK, base + MASK + 16)
  if (!top) u32[(base + MASK) >> 2] = result
  else for (let i = 0; i < 16; i++) u8[base + MASK + i] = (result >> Math.floor((i * n) / 16)) & 1 ? 0xff : 0
  return 0
})

/** Runs the comparison; what it found is in the spill area. */
function compare(x: VectorInstruction, lengths: 0 | 32 | 64): void {
  const { e, s } = x
  const [a, b] = [x.source(0), x.source(1, { unaligned: true })]
  e.store(V.store, e.ctx, SPILL, a.chunk(0))
  e.store(V.store, e.ctx, SPILL + SECOND, b.chunk(0))
  if (lengths !== 0) {
    const length = (register: number): Expr => (lengths === 64 ? s.readGpr(register) : signExtend(32, 64, s.readGpr(register)))
    e.store(W.i64_store, e.ctx, SPILL + LENGTHS, length(lengths === 64 ? Register.RAX : Register.EAX))
    e.store(W.i64_store, e.ctx, SPILL + LENGTHS + 8, length(lengths === 64 ? Register.RDX : Register.EDX))
  }
  s.assist('compare strings', i32(x.immediate | (lengths === 0 ? 0 : EXPLICIT)))
  e.flags.fromBits(load(W.i32_load, I32, e.ctx, SPILL + FLAGS))
}

const forms: [name: string, lengths: 0 | 32 | 64][] = [
  ['PCMPISTR', 0],
  ['PCMPESTR', 32],
  ['PCMPESTR', 64],
]
for (const [name, lengths] of forms) {
  const suffix = lengths === 64 ? '64' : ''
  for (const v of ['', 'V']) {
    defineVector(`${v}${name}I${suffix}`, (x) => {
      compare(x, lengths)
      x.s.writeGpr(Register.ECX, load(W.i32_load, I32, x.e.ctx, SPILL + INDEX))
    })
    defineVector(`${v}${name}M${suffix}`, (x) => {
      compare(x, lengths)
      x.e.store(V.store, x.e.fpu, VECTOR, load(V.load, V128, x.e.ctx, SPILL + MASK))
      if (!x.isLegacy) x.clearFrom(Register.XMM0, 16)
    })
  }
}
