import { OpKind } from '../../decoder/iced-tables.ts'
import type { Emitter } from '../../translate/emitter.ts'
import {
  and,
  type Bits,
  binary,
  type Expr,
  geU,
  i32,
  i64,
  ltU,
  or,
  select,
  shl,
  shrS,
  shrU,
  sub,
  unary,
  zeroOf,
} from '../../translate/expr.ts'
import { SHL, SHR_S, SHR_U, shiftLanes, shuffle, splat, vand, vor, window16, zero } from '../../translate/lanes.ts'
import { I32, I64, V128, W } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'
import { both, defineLanes, perLane } from './forms.ts'

// ---- all lanes by one count ----
interface UniformShift {
  wasm: number
  bits: Bits
  /** Counts from the width on fill with the sign; else with zeros. */
  arithmetic: boolean
}
/** By a known count. */
const shiftedBy = ({ wasm, bits, arithmetic }: UniformShift, value: Expr, count: number): Expr =>
  count >= bits && !arithmetic ? zero() : shiftLanes(wasm, value, Math.min(count, bits - 1))

/** The count operand: an immediate, or the low 64 bits of a vector. */
function uniform(mnemonics: string[], shift: UniformShift): void {
  const { wasm, bits, arithmetic } = shift
  defineVector(mnemonics, (x) => {
    const e = x.e
    const last = x.s.d.opCount - 1
    if (x.s.d.opKind[last] === OpKind.Immediate8) {
      const source = x.source(last - 1, { suppress: bits, bytes: x.bytes })
      return x.write(0, bits, (c) => shiftedBy(shift, source.chunk(c), x.immediate))
    }
    const count = e.let(x.source(last, { bytes: x.isMmx ? 8 : 16 }).part(W.i64_load, I64, 0))
    const source = x.source(last - 1)
    const inRange = binary(W.i64_lt_u, I32, count, i64(bits, 0))
    if (arithmetic) {
      const clamped = e.let(select(inRange, unary(W.i32_wrap_i64, I32, count), i32(bits - 1)))
      return x.write(0, bits, (c) => binary(wasm, V128, source.chunk(c), clamped))
    }
    const n = e.let(unary(W.i32_wrap_i64, I32, count))
    const keep = e.let(splat(64, select(inRange, i64(-1), i64(0))))
    x.write(0, bits, (c) => vand(binary(wasm, V128, source.chunk(c), n), keep))
  })
}
for (const [suffix, bits] of [
  ['W', 16],
  ['D', 32],
  ['Q', 64],
] as [string, Bits][]) {
  uniform(both(`PSLL${suffix}`), { wasm: SHL[bits], bits, arithmetic: false })
  uniform(both(`PSRL${suffix}`), { wasm: SHR_U[bits], bits, arithmetic: false })
  uniform(bits === 64 ? ['VPSRAQ'] : both(`PSRA${suffix}`), { wasm: SHR_S[bits], bits, arithmetic: true })
}

/** Whole chunks by a number of bytes. */
function bytewise(mnemonics: string[], meaning: (value: Expr, bytes: number) => Expr): void {
  defineVector(mnemonics, (x) => {
    const last = x.s.d.opCount - 1
    const source = x.source(last - 1)
    const n = Math.min(16, x.immediate)
    x.write(0, 8, (c) => meaning(source.chunk(c), n))
  })
}
bytewise(both('PSLLDQ'), (value, n) => window16(zero(), value, 16 - n))
bytewise(both('PSRLDQ'), (value, n) => window16(value, zero(), n))

/** PALIGNR: the bytes of first:second (first above) shifted right by the immediate. */
defineLanes(
  both('PALIGNR'),
  8,
  2,
  ({ e, immediate, bytes }, high, low) => {
    if (bytes === 8) return alignMmx(e, high, low, immediate)
    if (immediate >= 32) return zero()
    return immediate <= 16 ? window16(low, high, immediate) : window16(high, zero(), immediate - 16)
  },
  { readsAll: true },
)
function alignMmx(e: Emitter, high: Expr, low: Expr, n: number): Expr {
  if (n >= 16) return zero()
  const pair = e.let(shuffle(64, low, high, [0, 2]))
  return window16(pair, zero(), n)
}

// ---- every lane by its own count ----
type LaneShift = (bits: Bits, value: Expr, count: Expr) => Expr
const mask = (bits: Bits, count: Expr): Expr => and(bits, count, bits === 64 ? i64(bits - 1) : i32(bits - 1))
const limit = (bits: Bits): Expr => (bits === 64 ? i64(bits) : i32(bits))
const logical =
  (shift: LaneShift): LaneShift =>
  (bits, value, count) =>
    select(ltU(bits, count, limit(bits)), shift(bits, value, mask(bits, count)), zeroOf(bits))
const arithmeticRight: LaneShift = (bits, value, count) => {
  const most = bits === 64 ? i64(bits - 1) : i32(bits - 1)
  return shrS(bits, value, select(geU(bits, count, limit(bits)), most, count))
}
const variable = (mnemonic: string, bits: Bits, shift: LaneShift): void =>
  defineLanes(mnemonic, bits, 2, ({ e }, value, counts) => perLane(e, bits, [value, counts], (v, n) => shift(bits, v, n)))
for (const [suffix, bits] of [
  ['W', 16],
  ['D', 32],
  ['Q', 64],
] as [string, Bits][]) {
  variable(`VPSLLV${suffix}`, bits, logical(shl))
  variable(`VPSRLV${suffix}`, bits, logical(shrU))
  variable(`VPSRAV${suffix}`, bits, arithmeticRight)
}

// ---- rotations ----
const rotl = (bits: Bits, value: Expr, count: Expr): Expr =>
  bits === 64 ? binary(W.i64_rotl, I64, value, count) : binary(W.i32_rotl, I32, value, count)
const rotr = (bits: Bits, value: Expr, count: Expr): Expr =>
  bits === 64 ? binary(W.i64_rotr, I64, value, count) : binary(W.i32_rotr, I32, value, count)
/** Every lane left by n (below the width). */
export function rotateLanes(e: Emitter, bits: 32 | 64, source: Expr, n: number): Expr {
  if (n === 0) return source
  const value = e.let(source)
  return vor(shiftLanes(SHL[bits], value, n), shiftLanes(SHR_U[bits], value, bits - n))
}
for (const [suffix, bits] of [
  ['D', 32],
  ['Q', 64],
] as [string, 32 | 64][]) {
  variable(`VPROLV${suffix}`, bits, rotl)
  variable(`VPRORV${suffix}`, bits, rotr)
  defineLanes(`VPROL${suffix}`, bits, 1, ({ e, immediate }, a) => rotateLanes(e, bits, a, immediate % bits))
  defineLanes(`VPROR${suffix}`, bits, 1, ({ e, immediate }, a) => rotateLanes(e, bits, a, (bits - (immediate % bits)) % bits))
}

// ---- funnel shifts (VBMI2) ----
/** Upper `bits` of high:low shifted left, or lower of low... shifted right; the count is below the width. */
const funnelLeft = (bits: Bits, high: Expr, low: Expr, n: Expr): Expr =>
  select(nonZero(bits, n), or(bits, shl(bits, high, n), shrU(bits, low, mask(bits, sub(bits, zeroOf(bits), n)))), high)
const nonZero = (bits: Bits, n: Expr): Expr => ltU(bits, zeroOf(bits), n)
for (const [suffix, bits] of [
  ['W', 16],
  ['D', 32],
  ['Q', 64],
] as [string, Bits][]) {
  const uniformLeft = (e: Emitter, high: Expr, low: Expr, n: number): Expr =>
    n === 0 ? high : vor(shiftLanes(SHL[bits], high, n), shiftLanes(SHR_U[bits], e.let(low), bits - n))
  defineLanes(`VPSHLD${suffix}`, bits, 2, ({ e, immediate }, a, b) => uniformLeft(e, a, b, immediate % bits))
  defineLanes(`VPSHRD${suffix}`, bits, 2, ({ e, immediate }, a, b) =>
    immediate % bits === 0 ? a : uniformLeft(e, b, a, bits - (immediate % bits)),
  )
  const byLane = (e: Emitter, sources: Expr[], right: boolean) =>
    perLane(e, bits, sources, (a, b, count) => {
      const n = e.let(mask(bits, count))
      if (!right) return funnelLeft(bits, a, b, n)
      return select(nonZero(bits, n), funnelLeft(bits, b, a, e.let(mask(bits, sub(bits, zeroOf(bits), n)))), a)
    })
  defineLanes(`VPSHLDV${suffix}`, bits, 3, ({ e }, a, b, n) => byLane(e, [a, b, n], false))
  defineLanes(`VPSHRDV${suffix}`, bits, 3, ({ e }, a, b, n) => byLane(e, [a, b, n], true))
}
