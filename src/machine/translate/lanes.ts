import { I32, I64, V, V128 } from '../wasm/opcodes.ts'
import { type Bits, binary, Expr, i32, lane, Shuffle, unary, V128Const } from './expr.ts'

/** Vocabulary for values of 128 bits seen as lanes of 8, 16, 32 or 64 bits. Opcode tables are indexed by lane width. */

type ByWidth = Readonly<Record<Bits, number>>

export const ADD: ByWidth = { 8: V.i8x16_add, 16: V.i16x8_add, 32: V.i32x4_add, 64: V.i64x2_add }
export const SUB: ByWidth = { 8: V.i8x16_sub, 16: V.i16x8_sub, 32: V.i32x4_sub, 64: V.i64x2_sub }
export const NEG: ByWidth = { 8: V.i8x16_neg, 16: V.i16x8_neg, 32: V.i32x4_neg, 64: V.i64x2_neg }
export const ABS: ByWidth = { 8: V.i8x16_abs, 16: V.i16x8_abs, 32: V.i32x4_abs, 64: V.i64x2_abs }
export const EQ: ByWidth = { 8: V.i8x16_eq, 16: V.i16x8_eq, 32: V.i32x4_eq, 64: V.i64x2_eq }
export const NE: ByWidth = { 8: V.i8x16_ne, 16: V.i16x8_ne, 32: V.i32x4_ne, 64: V.i64x2_ne }
export const LT_S: ByWidth = { 8: V.i8x16_lt_s, 16: V.i16x8_lt_s, 32: V.i32x4_lt_s, 64: V.i64x2_lt_s }
export const LE_S: ByWidth = { 8: V.i8x16_le_s, 16: V.i16x8_le_s, 32: V.i32x4_le_s, 64: V.i64x2_le_s }
export const GT_S: ByWidth = { 8: V.i8x16_gt_s, 16: V.i16x8_gt_s, 32: V.i32x4_gt_s, 64: V.i64x2_gt_s }
export const SHL: ByWidth = { 8: V.i8x16_shl, 16: V.i16x8_shl, 32: V.i32x4_shl, 64: V.i64x2_shl }
export const SHR_U: ByWidth = { 8: V.i8x16_shr_u, 16: V.i16x8_shr_u, 32: V.i32x4_shr_u, 64: V.i64x2_shr_u }
export const SHR_S: ByWidth = { 8: V.i8x16_shr_s, 16: V.i16x8_shr_s, 32: V.i32x4_shr_s, 64: V.i64x2_shr_s }
const SPLAT: ByWidth = { 8: V.i8x16_splat, 16: V.i16x8_splat, 32: V.i32x4_splat, 64: V.i64x2_splat }
const BITMASK: ByWidth = { 8: V.i8x16_bitmask, 16: V.i16x8_bitmask, 32: V.i32x4_bitmask, 64: V.i64x2_bitmask }
const EXTRACT: ByWidth = {
  8: V.i8x16_extract_lane_u,
  16: V.i16x8_extract_lane_u,
  32: V.i32x4_extract_lane,
  64: V.i64x2_extract_lane,
}
const REPLACE: ByWidth = { 8: V.i8x16_replace_lane, 16: V.i16x8_replace_lane, 32: V.i32x4_replace_lane, 64: V.i64x2_replace_lane }
/** Wasm loads that repeat the element they read in every lane. */
export const LOAD_SPLAT: ByWidth = { 8: V.load8_splat, 16: V.load16_splat, 32: V.load32_splat, 64: V.load64_splat }

export const vec1 = (op: number, a: Expr): Expr => unary(op, V128, a)
export const vec2 = (op: number, a: Expr, b: Expr): Expr => binary(op, V128, a, b)
/** `yes` where `mask` has ones, `no` where it has zeros. */
export const bitselect = (yes: Expr, no: Expr, mask: Expr): Expr => new Expr(V.bitselect, V128, yes, no, mask, 0, 0)
export const vand = (a: Expr, b: Expr): Expr => vec2(V.and, a, b)
export const vor = (a: Expr, b: Expr): Expr => vec2(V.or, a, b)
export const vxor = (a: Expr, b: Expr): Expr => vec2(V.xor, a, b)
export const vnot = (a: Expr): Expr => vec1(V.not, a)
/** a AND NOT b. */
export const andNot = (a: Expr, b: Expr): Expr => vec2(V.andnot, a, b)
/** Shifts every lane by the same number of bits, below the lane width. */
export const shiftLanes = (op: number, a: Expr, count: number): Expr => binary(op, V128, a, i32(count))

export const splat = (bits: Bits, x: Expr): Expr => unary(SPLAT[bits], V128, x)
/** Lane as i32 (zero-extended) or i64. */
export const extractLane = (bits: Bits, a: Expr, index: number): Expr =>
  lane(EXTRACT[bits], bits === 64 ? I64 : I32, a, null, index)
export const replaceLane = (bits: Bits, a: Expr, index: number, x: Expr): Expr => lane(REPLACE[bits], V128, a, x, index)
/** i32 of the top bit of each lane, lane 0 in bit 0. */
export const topBits = (bits: Bits, a: Expr): Expr => unary(BITMASK[bits], I32, a)
/** i32: 1 when any bit is set. */
export const anyTrue = (a: Expr): Expr => unary(V.any_true, I32, a)

// ---- constants (made anew for every use) ----
export const bytesOf = (f: (byte: number) => number): Expr => new V128Const(Array.from({ length: 16 }, (_, i) => f(i) & 0xff))
export const zero = (): Expr => bytesOf(() => 0)
export const ones = (): Expr => bytesOf(() => 0xff)
/** Lane i is f(i): 32 bits at most, sign-extended into 64-bit lanes. */
export const lanesOf = (bits: Bits, f: (lane: number) => number): Expr =>
  bytesOf((byte) => {
    const at = (byte * 8) % bits
    const value = f(Math.floor((byte * 8) / bits))
    return at < 32 ? value >> at : value >> 31
  })
/** Every lane is hi:lo. */
export const lanes64 = (lo: number, hi: number): Expr => lanesOf(32, (i) => (i & 1 ? hi : lo))
/** Every lane has only its top bit set. */
export const signBits = (bits: Bits): Expr => bytesOf((byte) => ((byte * 8 + 8) % bits === 0 ? 0x80 : 0))

// ---- moving lanes ----
/** Result lane i is lane `pick[i]` of a (0 ..) followed by b. */
export function shuffle(bits: Bits, a: Expr, b: Expr, pick: readonly number[]): Expr {
  const size = bits / 8
  const bytes: number[] = []
  for (const from of pick) for (let i = 0; i < size; i++) bytes.push(from * size + i)
  return new Shuffle(a, b, bytes)
}
/** Result lane i is lane `pick[i]` of `a`, which must be kept. */
export const rearrange = (bits: Bits, a: Expr, pick: readonly number[]): Expr => shuffle(bits, a, a, pick)
export const lanesIn = (bits: Bits): number => 128 / bits
/** [0, 1 .. n-1]. */
export const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
/** The 16 bytes that start `bytes` (0..16) into the 32 bytes lower:upper. */
export const window16 = (lower: Expr, upper: Expr, bytes: number): Expr =>
  shuffle(
    8,
    lower,
    upper,
    upTo(16).map((i) => i + bytes),
  )
/** Bytes of `a` by the byte numbers in `index`; 0 where a number is above 15. */
export const swizzle = (a: Expr, index: Expr): Expr => vec2(V.i8x16_swizzle, a, index)

// ---- 64-bit lanes, for which wasm has fewer instructions ----
/** a < b unsigned, as lanes of ones or zeros. */
export function ltU(bits: Bits, a: Expr, b: Expr): Expr {
  switch (bits) {
    case 8:
      return vec2(V.i8x16_lt_u, a, b)
    case 16:
      return vec2(V.i16x8_lt_u, a, b)
    case 32:
      return vec2(V.i32x4_lt_u, a, b)
    default:
      return vec2(V.i64x2_lt_s, vxor(a, signBits(64)), vxor(b, signBits(64)))
  }
}
