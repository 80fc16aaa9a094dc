import {
  add,
  brIf,
  countdown,
  get,
  i32,
  memory,
  op,
  overMemory,
  seq,
  set,
  structure,
  tee,
  v128,
  type WasmFunction,
} from '../wasm/function-module.ts'
import { I32, V, W } from '../wasm/opcodes.ts'

/**
 * Moves and tests rows of 16-byte vectors at the speed of the machine: four WebAssembly functions. A typed-array loop takes
 * about six times as long, and `copyWithin` costs a call for each row.
 */
export interface RowCopy {
  /** Copies `rows` rows of `bytes` bytes (a multiple of 16, at least 16); the strides are from row to row. */
  copy(dst: number, src: number, rows: number, bytes: number, dstStride: number, srcStride: number): void
  /** Fills with zeros. */
  zero(dst: number, rows: number, bytes: number, stride: number): void
  /** 1 if any bit of the rows is set. */
  anySet(src: number, rows: number, bytes: number, stride: number): number
  /** 1 if any bit of `bytes` bytes (a multiple of 64, at least 64) is set. */
  anySetLong(src: number, bytes: number): number
}

const ZERO = v128(new Array<number>(16).fill(0))
const at = (base: number, i: number): number[] => seq(get(base), get(i), op(W.i32_add))
const RETURN_1_IF_SET = seq(op(V.any_true), structure(W.if, i32(1), op(W.return)))

/** For each row: for i = 0, 16, .. while i < bytes: inner; then advance. */
function eachVector(rows: number, bytes: number, i: number, inner: number[], ...advance: number[][]): number[] {
  const row = structure(W.loop, inner, get(i), i32(16), op(W.i32_add), tee(i), get(bytes), op(W.i32_lt_u), brIf(0))
  return countdown(rows, i32(0), set(i), row, ...advance)
}

function copy(): WasmFunction {
  const [dst, src, rows, bytes, dstStride, srcStride, i] = [0, 1, 2, 3, 4, 5, 6]
  const inner = seq(at(dst, i), at(src, i), memory(V.load), memory(V.store))
  const code = eachVector(rows, bytes, i, inner, add(dst, get(dstStride)), add(src, get(srcStride)))
  return { name: 'copy', parameters: 6, result: false, locals: [I32], code }
}

function zero(): WasmFunction {
  const [dst, rows, bytes, stride, i] = [0, 1, 2, 3, 4]
  const code = eachVector(rows, bytes, i, seq(at(dst, i), ZERO, memory(V.store)), add(dst, get(stride)))
  return { name: 'zero', parameters: 4, result: false, locals: [I32], code }
}

function anySet(): WasmFunction {
  const [src, rows, bytes, stride, i] = [0, 1, 2, 3, 4]
  const code = seq(eachVector(rows, bytes, i, seq(at(src, i), memory(V.load), RETURN_1_IF_SET), add(src, get(stride))), i32(0))
  return { name: 'anySet', parameters: 4, result: true, locals: [I32], code }
}

function anySetLong(): WasmFunction {
  const [src, bytes] = [0, 1]
  const quarter = (n: number): number[] => seq(get(src), memory(V.load, 16 * n))
  const all = seq(quarter(0), quarter(1), op(V.or), quarter(2), op(V.or), quarter(3), op(V.or))
  const next = seq(add(src, i32(64)), get(bytes), i32(64), op(W.i32_sub), tee(bytes), brIf(0))
  return {
    name: 'anySetLong',
    parameters: 2,
    result: true,
    locals: [],
    code: seq(structure(W.loop, all, RETURN_1_IF_SET, next), i32(0)),
  }
}

/** The functions over one memory; made once for each memory. */
export const rowCopy: (memory: WebAssembly.Memory) => RowCopy = overMemory<RowCopy>(() => [
  copy(),
  zero(),
  anySet(),
  anySetLong(),
])
