import type { MachineMemory } from '../machine-memory.ts'
import {
  add,
  countdown,
  get,
  i32,
  memory,
  op,
  overMemory,
  seq,
  set,
  shuffle,
  type WasmFunction,
} from '../wasm/function-module.ts'
import { I32, V, V128, W } from '../wasm/opcodes.ts'

/** How TDPBSSD, TDPBSUD, TDPBUSD and TDPBUUD take the bytes of source 1 and source 2: signed or unsigned. */
export type Int8Signs = 'SS' | 'SU' | 'US' | 'UU'
export interface Int8Dot {
  readonly signs: Int8Signs
}

type DotFunctions = Record<
  Int8Signs,
  (destination: number, tile1: number, tile2: number, m: number, k: number, groups: number) => void
>
const functions = overMemory<DotFunctions>(() => (['SS', 'SU', 'US', 'UU'] as const).map(dotFunction))

/**
 * destination[m][n] += sum over k of source1[m][4k..4k+3] . source2[k][4n..4n+3], modulo 2^32. Offsets in wasm memory, rows 64
 * bytes apart. SDM Vol. 2 "TDPBSSD/TDPBSUD/TDPBUSD/TDPBUUD". Columns are done four at a time: those that n does not reach get
 * values that the caller overwrites.
 */
export function dotInt8(
  mem: MachineMemory,
  destination: number,
  tile1: number,
  tile2: number,
  m: number,
  k: number,
  n: number,
  signs: Int8Signs,
): void {
  functions(mem.wasm)[signs](destination, tile1, tile2, m, k, (n + 3) >> 2)
}

/** Even and odd 32-bit elements of two vectors. */
const EVEN = shuffle([0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27])
const ODD = shuffle([4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31])

function dotFunction(signs: Int8Signs): WasmFunction {
  const [destination, tile1, tile2, m, k, groups] = [0, 1, 2, 3, 4, 5]
  const [group, depth, a, b, c] = [6, 7, 8, 9, 10]
  const [sum, four, bytes, low, high] = [11, 12, 13, 14, 15]
  const widen1 = op(signs[0] === 'S' ? V.i16x8_extend_low_i8x16_s : V.i16x8_extend_low_i8x16_u)
  const widenLow = op(signs[1] === 'S' ? V.i16x8_extend_low_i8x16_s : V.i16x8_extend_low_i8x16_u)
  const widenHigh = op(signs[1] === 'S' ? V.i16x8_extend_high_i8x16_s : V.i16x8_extend_high_i8x16_u)
  // One dword of source 1 against four columns: a dot product of pairs leaves two halves of each column side by side.
  const step = seq(
    seq(get(a), memory(V.load32_splat), widen1, set(four)),
    seq(get(b), memory(V.load), set(bytes)),
    seq(get(bytes), widenLow, get(four), op(V.i32x4_dot_i16x8_s), set(low)),
    seq(get(bytes), widenHigh, get(four), op(V.i32x4_dot_i16x8_s), set(high)),
    seq(get(sum), get(low), get(high), EVEN, op(V.i32x4_add), get(low), get(high), ODD, op(V.i32x4_add), set(sum)),
    seq(add(a, i32(4)), add(b, i32(64))),
  )
  const columns = seq(
    seq(get(c), memory(V.load), set(sum)),
    seq(get(tile1), set(a), get(tile2), get(c), get(destination), op(W.i32_sub), op(W.i32_add), set(b)),
    seq(get(k), set(depth), countdown(depth, step)),
    seq(get(c), get(sum), memory(V.store), add(c, i32(16))),
  )
  const row = seq(
    seq(get(destination), set(c), get(groups), set(group), countdown(group, columns)),
    seq(add(destination, i32(64)), add(tile1, i32(64))),
  )
  const locals = [I32, I32, I32, I32, I32, V128, V128, V128, V128, V128] as const
  return { name: signs, parameters: 6, result: false, locals, code: countdown(m, row) }
}
