import type { MachineMemory } from '../machine-memory.ts'
import { float16ToFloat32Bits, isNaNBits, QNAN_INDEFINITE, quiet } from './float-bits.ts'
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

const a = new Float64Array(16 * 32)
const b = new Float64Array(16 * 32)
const float32 = new Float32Array(1)
const bits = new Int32Array(float32.buffer)

/** destination += source1 . source2; rows, k pairs, columns. Offsets in wasm memory, rows 64 bytes apart. */
export function dotFloat(
  memory: MachineMemory,
  destination: number,
  tile1: number,
  tile2: number,
  m: number,
  k: number,
  n: number,
  kind: FloatDot,
): void {
  const { i32, u16 } = memory
  const swap = kind.crossed ? 1 : 0
  for (let row = 0; row < m; row++) {
    for (let i = 0; i < 2 * k; i++) a[row * 32 + i] = toNumber(u16[(tile1 + row * 64 + (i ^ swap) * 2) >>> 1], kind.bfloat16)
  }
  for (let row = 0; row < k; row++) {
    for (let i = 0; i < 2 * n; i++) {
      const value = toNumber(u16[(tile2 + row * 64 + i * 2) >>> 1], kind.bfloat16)
      b[(i >> 1) * 32 + row * 2 + (i & 1)] = kind.negateSecond && (i & 1) === 1 ? -value : value
    }
  }
  for (let row = 0; row < m; row++) {
    for (let column = 0; column < n; column++) {
      const first = chain(row * 32, column * 32, 2 * k)
      const second = chain(row * 32 + 1, column * 32 + 1, 2 * k)
      const at = (destination + row * 64 + column * 4) >>> 2
      const result = flushedSum(toFloat32(i32[at]), flushedSum(first, second))
      if (!Number.isNaN(result)) {
        float32[0] = result
        i32[at] = bits[0]
      } else i32[at] = nanResult(memory, i32[at], tile1 + row * 64, tile2 + column * 4, k, kind)
    }
  }
}

function chain(i: number, j: number, depth: number): number {
  let sum = 0
  for (let end = i + depth; i < end; i += 2, j += 2) sum = fusedSum(a[i] * b[j], sum)
  return sum
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
