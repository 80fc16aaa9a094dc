import type { MachineMemory } from '../machine-memory.ts'
import { float16ToFloat32Bits, isNaNBits, QNAN_INDEFINITE, quiet } from './float-bits.ts'
import { floatChains, RESULT_BYTES, ROW_BYTES } from './float-chains.ts'
import { flushedSum, fusedSum } from './float32-sum.ts'

/**
 * A dot product of pairs of 16-bit floats into float32. Each element of the result has two chains of fused multiply-adds over
 * k, each starting from +0; at the end it becomes accumulator + (first + second).
 */
export interface FloatDot {
  readonly bfloat16: boolean
  /** The first chain multiplies the second half of source 1's pairs with the first half of source 2's, the second chain the others. */
  readonly crossed: boolean
  /** The products of the second chain are subtracted. */
  readonly negateSecond: boolean
}

const float32 = new Float32Array(1)
const bits = new Int32Array(float32.buffer)

/** destination += source1 . source2; rows, k pairs, columns. Offsets in wasm memory, tile rows 64 bytes apart. `scratch`: 16 KiB. */
export function dotFloat(
  memory: MachineMemory,
  scratch: number,
  destination: number,
  tile1: number,
  tile2: number,
  m: number,
  k: number,
  n: number,
  kind: FloatDot,
): void {
  const { i32, f64 } = memory
  const a = scratch
  const b = scratch + 16 * ROW_BYTES
  const sums = b + 16 * ROW_BYTES
  spreadRows(memory, tile1, m, k, kind, a)
  spreadColumns(memory, tile2, k, n, kind, b)
  floatChains(memory.wasm).chains(a, b, sums, m, k, (n + 3) >> 2)
  for (let row = 0; row < m; row++) {
    for (let column = 0; column < n; column++) {
      const element = sums + (row * 16 + column) * RESULT_BYTES
      const marked = (element >>> 2) + 4
      if ((i32[marked] | i32[marked + 2]) !== 0) {
        f64[element >>> 3] = chain(f64, a + row * ROW_BYTES, b + column * ROW_BYTES, k)
        f64[(element >>> 3) + 1] = chain(f64, a + row * ROW_BYTES + 8, b + column * ROW_BYTES + 8, k)
      }
      const at = (destination + row * 64 + column * 4) >>> 2
      const result = flushedSum(toFloat32(i32[at]), flushedSum(f64[element >>> 3], f64[(element >>> 3) + 1]))
      if (!Number.isNaN(result)) {
        float32[0] = result
        i32[at] = bits[0]
      } else i32[at] = nanResult(memory, i32[at], tile1 + row * 64, tile2 + column * 4, k, kind)
    }
  }
}

/** One chain, exactly. */
function chain(f64: Float64Array, a: number, b: number, k: number): number {
  let sum = 0
  for (let i = 0; i < k; i++) sum = fusedSum(f64[(a >>> 3) + 2 * i] * f64[(b >>> 3) + 2 * i], sum)
  return sum
}

/** Source 1 as doubles: pairs in the order in which the chains take them. */
function spreadRows(memory: MachineMemory, tile: number, m: number, k: number, kind: FloatDot, into: number): void {
  const { u16, f64 } = memory
  const swap = kind.crossed ? 1 : 0
  for (let row = 0; row < m; row++) {
    const from = (tile + row * 64) >>> 1
    const to = (into + row * ROW_BYTES) >>> 3
    for (let i = 0; i < 2 * k; i++) f64[to + i] = toNumber(u16[from + (i ^ swap)], kind.bfloat16)
  }
}

/** Source 2 as doubles, columns as rows. */
function spreadColumns(memory: MachineMemory, tile: number, k: number, n: number, kind: FloatDot, into: number): void {
  const { u16, f64 } = memory
  for (let row = 0; row < k; row++) {
    const from = (tile + row * 64) >>> 1
    for (let column = 0; column < n; column++) {
      const to = ((into + column * ROW_BYTES) >>> 3) + row * 2
      const second = toNumber(u16[from + column * 2 + 1], kind.bfloat16)
      f64[to] = toNumber(u16[from + column * 2], kind.bfloat16)
      f64[to + 1] = kind.negateSecond ? -second : second
    }
  }
}

// ---- elements that are NaN: numbers cannot carry which NaN, so they are computed again on bits ----------------------------

function nanResult(memory: MachineMemory, accumulator: number, row: number, column: number, k: number, kind: FloatDot): number {
  const swap = kind.crossed ? 1 : 0
  let first = 0
  let second = 0
  for (let i = 0; i < k; i++) {
    const x = (row >>> 1) + 2 * i
    const y = (column >>> 1) + 32 * i
    first = fusedStep(memory.u16[x + swap], memory.u16[y], first, kind.bfloat16, false)
    second = fusedStep(memory.u16[x + (1 ^ swap)], memory.u16[y + 1], second, kind.bfloat16, kind.negateSecond)
  }
  return addBits(accumulator, addBits(first, second))
}

/** The first of x, y and the sum that is a NaN survives, quieted; an invalid operation gives the indefinite NaN. */
function fusedStep(x: number, y: number, sum: number, bfloat16: boolean, negate: boolean): number {
  const xBits = bfloat16 ? x << 16 : float16ToFloat32Bits(x)
  if (isNaNBits(xBits)) return quiet(xBits)
  const yBits = bfloat16 ? y << 16 : float16ToFloat32Bits(y)
  if (isNaNBits(yBits)) return quiet(yBits)
  if (isNaNBits(sum)) return quiet(sum)
  const product = toFloat32(xBits) * toFloat32(yBits)
  return toBits(fusedSum(negate ? -product : product, toFloat32(sum)))
}

function addBits(x: number, y: number): number {
  if (isNaNBits(x)) return quiet(x)
  if (isNaNBits(y)) return quiet(y)
  return toBits(flushedSum(toFloat32(x), toFloat32(y)))
}

function toBits(value: number): number {
  if (Number.isNaN(value)) return QNAN_INDEFINITE
  float32[0] = value
  return bits[0]
}

// ---- inputs -------------------------------------------------------------------------------------------------------

/** A float32 as a number; denormals are zero. */
function toFloat32(pattern: number): number {
  bits[0] = (pattern & 0x7f800000) === 0 ? pattern & 0x80000000 : pattern
  return float32[0]
}

/** A bfloat16 (denormals are zero) or float16 (denormals are not) as a number. */
function toNumber(half: number, bfloat16: boolean): number {
  return toFloat32(bfloat16 ? half << 16 : float16ToFloat32Bits(half))
}
