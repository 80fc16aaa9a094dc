/**
 * VCVTNEPS2BF16, VCVTNE2PS2BF16 and VDPBF16PS (SDM Vol. 2): nearest rounding, denormals as zeros on both sides, no exceptions,
 * no use of MXCSR.
 */

import { F32 } from './format.ts'
import type { Lane } from './lane.ts'
import { MXCSR_DAZ, MXCSR_FTZ, MXCSR_RESET } from './mxcsr.ts'
import { laneMultiplyAdd } from './sse-arithmetic.ts'

/** A binary32 as the nearest bfloat16. */
export function bfloat16FromF32(bits: number): number {
  const magnitude = bits & 0x7fffffff
  if (magnitude > 0x7f800000) return (bits >>> 16) | 0x40
  if (magnitude < 0x00800000) return (bits >>> 16) & 0x8000
  return ((bits >>> 16) + ((bits & 0x8000) !== 0 && (bits & 0x17fff) !== 0 ? 1 : 0)) & 0xffff
}

/** MXCSR that makes the ordinary operations behave as these do. */
const CONTROL = MXCSR_RESET | MXCSR_DAZ | MXCSR_FTZ

/** `accumulator` + the products of two bfloat16 pairs, upper halves first, as binary32 bits. */
export function bfloat16DotProduct(lane: Lane, accumulator: number, a: number, b: number): number {
  lane.control(CONTROL)
  const first = multiplyAdd(lane, a & 0xffff0000, b & 0xffff0000, accumulator)
  return multiplyAdd(lane, a << 16, b << 16, first)
}

function multiplyAdd(lane: Lane, a: number, b: number, c: number): number {
  lane.setA(F32, 0, a)
  lane.setB(F32, 0, b)
  lane.setC(F32, 0, c)
  laneMultiplyAdd(lane, F32, 0, 0)
  return lane.lo
}
