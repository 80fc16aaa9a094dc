import type { Emitter } from '../../translate/emitter.ts'
import { type Expr, lane, unary } from '../../translate/expr.ts'
import { ABS, LE_S, lanes64, lanesOf, rearrange, shuffle, vand, vec1, vec2, vor, zero } from '../../translate/lanes.ts'
import { F32, F64, I64, V, V128, W } from '../../wasm/opcodes.ts'
import type { Element } from './elements.ts'
import { abs, eq, floats, ge, le, lt, type NativeBits, NEAREST, TRUNC } from './lanes.ts'
import { isZero, ordinary } from './tests.ts'

/** A conversion as WebAssembly instructions, and for which elements it is right. */
export interface NativeConversion {
  /** Rounding happens and may raise PE: it has to be native rounding, or the element one that `exact` holds for. */
  rounds: boolean
  /** Chunk c of the result; sources are leaves. Only the first `lanes` elements count. */
  result: (e: Emitter, source: Expr[], c: number, lanes: number) => Expr
  /** Lanes of a source chunk (a leaf) that are converted rightly if rounded natively; null: all. */
  right: ((a: Expr) => Expr) | null
  /** Lanes that are right whatever MXCSR says; null: cannot be told. */
  exact: ((e: Emitter, a: Expr) => Expr) | null
}

/** Null when there is no native one. */
export function nativeConversion(from: Element, to: Element, truncate: boolean): NativeConversion | null {
  if (from.bits === 16 || to.bits === 16) return null
  if (from.kind === 'float')
    return to.kind === 'float' ? betweenFormats(from.bits) : toInteger(from.bits, to.bits, to.kind, truncate)
  return fromInteger(from.bits, from.kind === 'signed', to.bits)
}

const upperHalf = (a: Expr): Expr => rearrange(64, a, [1, 1])
/** Half of the source chunk that result chunk c comes from, in the low 8 bytes. */
const widened = (source: Expr[], c: number): Expr => (c & 1 ? upperHalf(source[c >> 1]) : source[c >> 1])
/** One chunk from two of the source that shrank to 8 bytes each. */
const narrowed = (source: Expr[], c: number, narrow: (a: Expr) => Expr): Expr =>
  source.length === 1 ? narrow(source[0]) : shuffle(64, narrow(source[2 * c]), narrow(source[2 * c + 1]), [0, 2])

// ---- between single and double ----
function betweenFormats(from: NativeBits): NativeConversion {
  if (from === 32) {
    const result = (_e: Emitter, source: Expr[], c: number) => vec1(V.f64x2_promote_low_f32x4, widened(source, c))
    return { rounds: false, result, right: (a) => ordinary(32, a), exact: null }
  }
  const demote = (a: Expr) => vec1(V.f32x4_demote_f64x2_zero, a)
  // Finite as a single, and not below its smallest normal number.
  const right = (a: Expr) =>
    vor(vand(ge(64, abs(64, a), floats(64, 2 ** -126)), le(64, abs(64, a), floats(64, 2 ** 128 - 2 ** 104))), isZero(64, a))
  return {
    rounds: true,
    result: (_e, source, c) => narrowed(source, c, demote),
    right,
    exact: (_e, a) => vand(right(a), eq(64, vec1(V.f64x2_promote_low_f32x4, demote(a)), a)),
  }
}

// ---- to integers ----
const TRUNC_SAT: Record<string, number> = {
  '32 signed': V.i32x4_trunc_sat_f32x4_s,
  '32 unsigned': V.i32x4_trunc_sat_f32x4_u,
  '64 signed': V.i32x4_trunc_sat_f64x2_s_zero,
  '64 unsigned': V.i32x4_trunc_sat_f64x2_u_zero,
}

function toInteger(from: NativeBits, to: NativeBits, kind: 'signed' | 'unsigned', truncate: boolean): NativeConversion {
  const rounded = (a: Expr): Expr => (truncate ? a : vec1(NEAREST[from], a))
  // Bounds that need no thought about what rounding does to the last numbers.
  const limit =
    to === 64
      ? kind === 'signed'
        ? 2 ** 63
        : 2 ** 64
      : from === 64
        ? (kind === 'signed' ? 2 ** 31 : 2 ** 32) - 1
        : kind === 'signed'
          ? 2 ** 31
          : 2 ** 32
  const right = (a: Expr): Expr =>
    kind === 'signed' ? lt(from, abs(from, a), floats(from, limit)) : vand(ge(from, a, zero()), lt(from, a, floats(from, limit)))
  const exact = (_e: Emitter, a: Expr): Expr => vand(right(a), eq(from, vec1(TRUNC[from], a), a))
  if (to === 64)
    return { rounds: true, result: (e, source, c, lanes) => toInt64(e, from, kind, rounded, source, c, lanes), right, exact }
  const wasm = TRUNC_SAT[`${from} ${kind}`]
  const convert = (a: Expr): Expr => vec1(wasm, rounded(a))
  return {
    rounds: true,
    result: (_e, source, c) => (from === 32 ? convert(source[c]) : narrowed(source, c, convert)),
    right,
    exact,
  }
}

function toInt64(
  e: Emitter,
  from: NativeBits,
  kind: string,
  rounded: (a: Expr) => Expr,
  source: Expr[],
  c: number,
  lanes: number,
): Expr {
  const trunc =
    from === 64
      ? kind === 'signed'
        ? W.i64_trunc_sat_f64_s
        : W.i64_trunc_sat_f64_u
      : kind === 'signed'
        ? W.i64_trunc_sat_f32_s
        : W.i64_trunc_sat_f32_u
  const chunk = e.let(rounded(from === 64 ? source[c] : source[c >> 1]))
  const element = (i: number): Expr =>
    unary(
      trunc,
      I64,
      from === 64
        ? lane(V.f64x2_extract_lane, F64, chunk, null, i)
        : lane(V.f32x4_extract_lane, F32, chunk, null, (c & 1) * 2 + i),
    )
  return twoLanes(V.i64x2_replace_lane, unary(V.i64x2_splat, V128, element(0)), () => element(1), lanes)
}
/** Lane 0 is in `low` already; lane 1 only when it counts. */
const twoLanes = (replace: number, low: Expr, second: () => Expr, lanes: number): Expr =>
  lanes === 1 ? low : lane(replace, V128, low, second(), 1)

// ---- from integers ----
function fromInteger(from: NativeBits, signed: boolean, to: NativeBits): NativeConversion {
  if (from === 32 && to === 64) {
    const wasm = signed ? V.f64x2_convert_low_i32x4_s : V.f64x2_convert_low_i32x4_u
    return { rounds: false, result: (_e, source, c) => vec1(wasm, widened(source, c)), right: null, exact: null }
  }
  if (from === 32) {
    const wasm = signed ? V.f32x4_convert_i32x4_s : V.f32x4_convert_i32x4_u
    const exact = (_e: Emitter, a: Expr): Expr =>
      signed
        ? vec2(
            LE_S[32],
            vec1(ABS[32], a),
            lanesOf(32, () => 1 << 24),
          )
        : vec2(
            V.i32x4_le_u,
            a,
            lanesOf(32, () => 1 << 24),
          )
    // |-2^31| is negative as a signed number, and exact
    return { rounds: true, result: (_e, source, c) => vec1(wasm, source[c]), right: null, exact }
  }
  const result = (e: Emitter, source: Expr[], c: number, lanes: number) => fromInt64(e, signed, to, source, c, lanes)
  return { rounds: true, result, right: null, exact: (_e, a) => withinPrecision(to, signed, a) }
}

/** 64-bit lanes of at most 24 or 53 bits. */
function withinPrecision(to: NativeBits, signed: boolean, a: Expr): Expr {
  const most = to === 64 ? lanes64(0, 1 << 21) : lanes64(1 << 24, 0)
  const least = !signed ? zero() : to === 64 ? lanes64(0, -1 << 21) : lanes64(-1 << 24, -1)
  return vand(vec2(V.i64x2_le_s, a, most), vec2(V.i64x2_ge_s, a, least))
}

function fromInt64(e: Emitter, signed: boolean, to: NativeBits, source: Expr[], c: number, lanes: number): Expr {
  const convert =
    to === 64 ? (signed ? W.f64_convert_i64_s : W.f64_convert_i64_u) : signed ? W.f32_convert_i64_s : W.f32_convert_i64_u
  const element = (chunk: Expr, i: number): Expr =>
    unary(convert, to === 64 ? F64 : F32, lane(V.i64x2_extract_lane, I64, chunk, null, i))
  if (to === 64)
    return twoLanes(V.f64x2_replace_lane, unary(V.f64x2_splat, V128, element(source[c], 0)), () => element(source[c], 1), lanes)
  const result = e.variable(lane(V.f32x4_replace_lane, V128, zero(), element(source[2 * c], 0), 0))
  for (let i = 1; i < Math.min(4, lanes); i++) {
    e.assign(result, lane(V.f32x4_replace_lane, V128, result, element(source[2 * c + (i >> 1)], i & 1), i))
  }
  return result
}
