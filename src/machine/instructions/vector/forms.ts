import type { Decoded } from '../../decoder/decoder.ts'
import { OpKind } from '../../decoder/iced-tables.ts'
import type { Emitter } from '../../translate/emitter.ts'
import { type Bits, binary, type Expr, i32, i64, unary } from '../../translate/expr.ts'
import { extractLane, lanesIn, replaceLane, topBits, vec1, vec2, zero } from '../../translate/lanes.ts'
import { type AccessOptions, isOpmask, type VectorInstruction, type VectorSource } from '../../translate/vector-operands.ts'
import { I32, I64, W } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'

/** What a meaning may ask about the instruction besides its sources. */
export interface LaneContext {
  readonly e: Emitter
  /** Vector length in bytes; 8: MMX. */
  readonly bytes: number
  readonly immediate: number
  /** The 16-byte chunk being computed. */
  readonly chunk: number
}

/** Forms whose third operand is an immediate, where others of the mnemonic have a vector there. */
export const thirdIsImmediate = (d: Decoded): boolean => d.opKind[2] === OpKind.Immediate8

/** A result chunk from the same chunk of each source. Sources are expressions that may be used once (`e.let` keeps them). */
export type LaneMeaning = (x: LaneContext, a: Expr, b: Expr, c: Expr) => Expr

/** The legacy mnemonic and its VEX/EVEX one. */
export const both = (legacy: string): string[] => [legacy, `V${legacy}`]
/** Meaning that is one wasm instruction. */
export const wasm2 =
  (op: number): LaneMeaning =>
  (_x, a, b) =>
    vec2(op, a, b)
export const wasm1 =
  (op: number): LaneMeaning =>
  (_x, a) =>
    vec1(op, a)

export interface FormOptions {
  /** Masked-off memory elements are read all the same (exception classes E4NF and the like). */
  readsAll?: boolean
  /** Only these forms of the mnemonic. */
  applies?: (d: Decoded) => boolean
}

/**
 * dst ← meaning(sources), chunk by chunk. With two sources the legacy form overwrites its first; EVEX forms merge or zero in
 * elements of `bits`.
 */
export function defineLanes(
  mnemonics: string | string[],
  bits: Bits,
  sources: 1 | 2 | 3,
  meaning: LaneMeaning,
  options: FormOptions = {},
): void {
  defineVector(
    mnemonics,
    (x) => {
      const read = operandsRead(x, bits, sources, options)
      x.write(0, bits, (c) =>
        meaning(context(x, c), read[0].chunk(c), (read[1] ?? read[0]).chunk(c), (read[2] ?? read[0]).chunk(c)),
      )
    },
    options.applies,
  )
}

/** dst ← meaning(all chunks of the sources): for results that depend on other chunks. */
export function defineWhole(
  mnemonics: string | string[],
  bits: Bits,
  sources: 1 | 2 | 3,
  meaning: (x: LaneContext, ...sources: VectorSource[]) => Expr[],
  options: FormOptions = {},
): void {
  defineVector(
    mnemonics,
    (x) => {
      const kept = meaning(context(x, 0), ...operandsRead(x, bits, sources, options)).map((value) => x.e.let(value))
      x.write(0, bits, (c) => kept[c])
    },
    options.applies,
  )
}

export const context = (x: VectorInstruction, chunk: number): LaneContext => ({
  e: x.e,
  bytes: x.bytes,
  immediate: x.immediate,
  chunk,
})

function operandsRead(x: VectorInstruction, bits: Bits, sources: number, options: FormOptions): VectorSource[] {
  const first = sources === 1 ? 1 : sources === 3 ? 0 : x.firstSource
  return readOperands(x, first, sources, options.readsAll ? {} : { suppress: bits })
}
/** The sources from operand `first` on; the one in memory is read with `options`. */
export function readOperands(x: VectorInstruction, first: number, count: number, options: AccessOptions): VectorSource[] {
  return Array.from({ length: count }, (_, i) => x.source(first + i, x.isMmx ? { ...options, bytes: 8 } : options))
}

/**
 * A comparison: lanes of ones and zeros into a vector register, or one bit an element into an opmask register (EVEX), under
 * its write mask.
 */
export function defineComparison(
  mnemonics: string | string[],
  bits: Bits,
  meaning: LaneMeaning,
  options: FormOptions = {},
): void {
  defineVector(mnemonics, (x) => {
    if (!isOpmask(x.register(0))) {
      const read = readOperands(x, x.firstSource, 2, {})
      return x.write(0, bits, (c) => meaning(context(x, c), read[0].chunk(c), read[1].chunk(c), read[0].chunk(c)))
    }
    const read = readOperands(x, 1, 2, options.readsAll ? {} : { suppress: bits })
    const lanes = (c: number) => meaning(context(x, c), read[0].chunk(c), read[1].chunk(c), read[0].chunk(c))
    x.writeOpmask(0, elementBits(bits, x.chunks, lanes), x.mask(bits))
  })
}

/** The top bit of every element of the chunks, element 0 in bit 0: i32, or i64 above 32 elements. */
export function elementBits(bits: Bits, chunks: number, lanes: (chunk: number) => Expr): Expr {
  const wide = chunks * lanesIn(bits) > 32
  let all: Expr | null = null
  for (let c = 0; c < chunks; c++) {
    const narrow = topBits(bits, lanes(c))
    const piece = wide ? unary(W.i64_extend_i32_u, I64, narrow) : narrow
    const at = c * lanesIn(bits)
    if (all === null) all = piece
    else if (wide) all = binary(W.i64_or, I64, all, binary(W.i64_shl, I64, piece, i64(at)))
    else all = binary(W.i32_or, I32, all, binary(W.i32_shl, I32, piece, i32(at)))
  }
  return all!
}

/** A lane-wise meaning for which wasm has only scalar instructions: lanes are i32 (zero-extended) or i64 leaves. */
export function perLane(e: Emitter, bits: Bits, sources: readonly Expr[], meaning: (...lanes: Expr[]) => Expr): Expr {
  const kept = sources.map((source) => e.let(source))
  const result = e.variable(zero())
  const lanes = kept.map((source) => e.variable(extractLane(bits, source, 0)))
  for (let i = 0; i < lanesIn(bits); i++) {
    if (i > 0) for (const [k, lane] of lanes.entries()) e.assign(lane, extractLane(bits, kept[k], i))
    e.assign(result, replaceLane(bits, result, i, meaning(...lanes)))
  }
  return result
}
