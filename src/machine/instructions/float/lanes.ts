import { type Expr, lane, V128Const } from '../../translate/expr.ts'
import { lanes64, lanesOf, vec1, vec2 } from '../../translate/lanes.ts'
import { F32, F64, V } from '../../wasm/opcodes.ts'

/** Element widths for which WebAssembly has arithmetic. Half precision has none: it always runs in TypeScript. */
export type NativeBits = 32 | 64
export type FloatBits = 16 | NativeBits
type ByWidth = Readonly<Record<NativeBits, number>>

export const ADD: ByWidth = { 32: V.f32x4_add, 64: V.f64x2_add }
export const SUB: ByWidth = { 32: V.f32x4_sub, 64: V.f64x2_sub }
export const MUL: ByWidth = { 32: V.f32x4_mul, 64: V.f64x2_mul }
export const DIV: ByWidth = { 32: V.f32x4_div, 64: V.f64x2_div }
export const SQRT: ByWidth = { 32: V.f32x4_sqrt, 64: V.f64x2_sqrt }
export const NEAREST: ByWidth = { 32: V.f32x4_nearest, 64: V.f64x2_nearest }
export const FLOOR: ByWidth = { 32: V.f32x4_floor, 64: V.f64x2_floor }
export const CEIL: ByWidth = { 32: V.f32x4_ceil, 64: V.f64x2_ceil }
export const TRUNC: ByWidth = { 32: V.f32x4_trunc, 64: V.f64x2_trunc }
const ABS: ByWidth = { 32: V.f32x4_abs, 64: V.f64x2_abs }
const NEG: ByWidth = { 32: V.f32x4_neg, 64: V.f64x2_neg }
const PMIN: ByWidth = { 32: V.f32x4_pmin, 64: V.f64x2_pmin }
const PMAX: ByWidth = { 32: V.f32x4_pmax, 64: V.f64x2_pmax }
const EQ: ByWidth = { 32: V.f32x4_eq, 64: V.f64x2_eq }
const NE: ByWidth = { 32: V.f32x4_ne, 64: V.f64x2_ne }
const LT: ByWidth = { 32: V.f32x4_lt, 64: V.f64x2_lt }
const LE: ByWidth = { 32: V.f32x4_le, 64: V.f64x2_le }
const GT: ByWidth = { 32: V.f32x4_gt, 64: V.f64x2_gt }
const GE: ByWidth = { 32: V.f32x4_ge, 64: V.f64x2_ge }

export const abs = (bits: NativeBits, a: Expr): Expr => vec1(ABS[bits], a)
export const neg = (bits: NativeBits, a: Expr): Expr => vec1(NEG[bits], a)
/** b < a ? b : a. */
export const pmin = (bits: NativeBits, a: Expr, b: Expr): Expr => vec2(PMIN[bits], a, b)
/** a < b ? b : a. */
export const pmax = (bits: NativeBits, a: Expr, b: Expr): Expr => vec2(PMAX[bits], a, b)
export const eq = (bits: NativeBits, a: Expr, b: Expr): Expr => vec2(EQ[bits], a, b)
export const ne = (bits: NativeBits, a: Expr, b: Expr): Expr => vec2(NE[bits], a, b)
export const lt = (bits: NativeBits, a: Expr, b: Expr): Expr => vec2(LT[bits], a, b)
export const le = (bits: NativeBits, a: Expr, b: Expr): Expr => vec2(LE[bits], a, b)
export const gt = (bits: NativeBits, a: Expr, b: Expr): Expr => vec2(GT[bits], a, b)
export const ge = (bits: NativeBits, a: Expr, b: Expr): Expr => vec2(GE[bits], a, b)

// ---- constants in every lane ----
const doubles = (value: number): Expr => {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setFloat64(0, value, true)
  return new V128Const([...bytes, ...bytes])
}
const singles = (value: number): Expr => {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setFloat32(0, value, true)
  return new V128Const([...bytes, ...bytes, ...bytes, ...bytes])
}
/** A number that the format can represent (no NaN). */
export const floats = (bits: NativeBits, value: number): Expr => (bits === 64 ? doubles(value) : singles(value))

/** Smallest normal and largest finite magnitude. */
export const smallest = (bits: NativeBits): Expr => (bits === 64 ? lanes64(0, 0x00100000) : lanesOf(32, () => 0x00800000))
export const largest = (bits: NativeBits): Expr => (bits === 64 ? lanes64(-1, 0x7fefffff) : lanesOf(32, () => 0x7f7fffff))

/** Element 0 as a scalar: f32 or f64. */
export const scalarOf = (bits: NativeBits, a: Expr): Expr =>
  bits === 64 ? lane(V.f64x2_extract_lane, F64, a, null, 0) : lane(V.f32x4_extract_lane, F32, a, null, 0)
