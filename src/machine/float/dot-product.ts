import { F32, F64, type Format } from './format.ts'
import type { Lane } from './lane.ts'
import { laneAdd, laneMultiply } from './sse-arithmetic.ts'

/** Products, then sums, of one 128-bit DPPS or DPPD: lower halves, then upper halves of 64-bit elements. */
const LANES = 4

/**
 * DPPS and DPPD on 128 bits (SDM Vol. 2): products selected by imm bits 7:4, added in pairs, the result where imm bits 3:0 say,
 * zero elsewhere. Every multiplication and addition rounds and raises exceptions of its own; an unmasked one ends the
 * instruction at its step.
 */
export class DotProduct {
  private readonly terms = new Int32Array(2 * LANES)

  /** Returns the exceptions raised; the sum is in the lane. `words` holds the operands at the word indices a and b. */
  compute(lane: Lane, elementBits: number, imm: number, words: Int32Array, a: number, b: number): number {
    const format = elementBits === 64 ? F64 : F32
    const count = elementBits === 64 ? 2 : 4
    let flags = 0
    for (let i = 0; i < count; i++) {
      if (((imm >>> (4 + i)) & 1) === 0) {
        this.terms[i] = this.terms[LANES + i] = 0
        continue
      }
      const at = count === 2 ? 2 * i : i
      lane.setA(format, count === 2 ? words[a + at + 1] : 0, words[a + at])
      lane.setB(format, count === 2 ? words[b + at + 1] : 0, words[b + at])
      lane.flags = 0
      laneMultiply(lane, format)
      this.keep(lane, i)
      flags |= lane.flags
    }
    for (let half = count >> 1; half > 0 && (flags & lane.unmasked) === 0; half >>= 1) {
      for (let i = 0; i < half; i++) flags |= this.add(lane, format, i)
    }
    return flags
  }

  private keep(lane: Lane, i: number): void {
    this.terms[i] = lane.lo
    this.terms[LANES + i] = lane.hi
  }

  /** Term i becomes the sum of the terms 2i and 2i + 1. */
  private add(lane: Lane, format: Format, i: number): number {
    const t = this.terms
    lane.setA(format, t[LANES + 2 * i], t[2 * i])
    lane.setB(format, t[LANES + 2 * i + 1], t[2 * i + 1])
    lane.flags = 0
    laneAdd(lane, format, 0)
    this.keep(lane, i)
    return lane.flags
  }
}
