import { add, countdown, get, i32, memory, op, overMemory, seq, set, v128, type WasmFunction } from '../wasm/function-module.ts'
import { I32, V, V128, W } from '../wasm/opcodes.ts'
import { SMALLEST_NORMAL } from './float32-sum.ts'

/**
 * The two chains of fused multiply-adds of each element of a dot product, as WebAssembly: lane 0 is the first chain, lane 1
 * the second. The arithmetic is that of `fusedSum` (float32-sum.ts), except that elements with tiny sums are only marked.
 */
export interface FloatChains {
  /**
   * @param a source 1: for each row, ROW_BYTES apart, k vectors {first, second} of doubles
   * @param b source 2: for each column likewise
   * @param out for each row 16 elements of RESULT_BYTES: the sums {first, second}, then a vector that is not 0 if they must be
   *   computed again one by one
   */
  chains(a: number, b: number, out: number, m: number, k: number, groups: number): void
}

/** 16 pairs of doubles. */
export const ROW_BYTES = 256
export const RESULT_BYTES = 32
/** Columns are done four at a time, so that the latencies of their chains overlap. */
const GROUP = 4

const doubles = (value: number): number[] => {
  const bytes = new Uint8Array(new Float64Array([value, value]).buffer)
  return v128([...bytes])
}
const ZERO = doubles(0)

function chainsFunction(): WasmFunction {
  const [a, b, out, m, k, groups] = [0, 1, 2, 3, 4, 5]
  const [group, depth, aAt, bAt, outAt] = [6, 7, 8, 9, 10]
  const [pair, sum] = [11, 12]
  const total = (column: number): number => 13 + column
  const marked = (column: number): number => 13 + GROUP + column

  /** One term of the two chains of a column; marks what may be tiny but is not zero. See fusedSum. */
  // biome-ignore format: one step per line
  const term = (column: number): number[] =>
    seq(
      get(pair), get(bAt), memory(V.load, column * ROW_BYTES), op(V.f64x2_mul), get(total(column)), op(V.f64x2_add), set(sum),
      get(sum), op(V.f32x4_demote_f64x2_zero), op(V.f64x2_promote_low_f32x4), set(total(column)),
      get(total(column)), op(V.f64x2_abs), doubles(SMALLEST_NORMAL), op(V.f64x2_le), get(sum), ZERO, op(V.f64x2_ne), op(V.and),
      get(marked(column)), op(V.or), set(marked(column)),
    )
  // biome-ignore format: one step per line
  const store = (column: number): number[] =>
    seq(
      get(outAt), get(total(column)), memory(V.store, column * RESULT_BYTES),
      get(outAt), get(marked(column)), memory(V.store, column * RESULT_BYTES + 16),
    )
  const columns = [0, 1, 2, 3]
  // The loop takes bAt through one column; the next group begins four columns after where it began.
  // biome-ignore format: one step per line
  const fourColumns = seq(
    ...columns.map((c) => seq(ZERO, set(total(c)), ZERO, set(marked(c)))),
    get(a), set(aAt), get(k), set(depth),
    countdown(depth, get(aAt), memory(V.load), set(pair), ...columns.map(term), add(aAt, i32(16)), add(bAt, i32(16))),
    ...columns.map(store),
    add(outAt, i32(GROUP * RESULT_BYTES)),
    add(bAt, i32(GROUP * ROW_BYTES)), get(bAt), get(k), i32(4), op(W.i32_shl), op(W.i32_sub), set(bAt),
  )
  const row = seq(
    seq(get(b), set(bAt), get(out), set(outAt), get(groups), set(group)),
    countdown(group, fourColumns),
    seq(add(a, i32(ROW_BYTES)), add(out, i32(16 * RESULT_BYTES))),
  )
  const locals = [...new Array(5).fill(I32), ...new Array(2 + 2 * GROUP).fill(V128)]
  return { name: 'chains', parameters: 6, result: false, locals, code: countdown(m, row) }
}

export const floatChains: (memory: WebAssembly.Memory) => FloatChains = overMemory<FloatChains>(() => [chainsFunction()])
