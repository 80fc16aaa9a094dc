import { OPMASK } from '../memory-map.ts'
import { I32, I64, V, W } from '../wasm/opcodes.ts'
import type { Emitter } from './emitter.ts'
import { type Bits, binary, Expr, i32, i64, load, local, Shuffle, unary, wrap } from './expr.ts'
import { bytesOf, EQ, lanesIn, lanesOf, splat, upTo, vand, vec2 } from './lanes.ts'

/**
 * One bit an element, kept in a local: i32 up to 32 elements, i64 above. Made from an opmask register or from the top bits
 * of a vector. Bits above `count` are clear.
 */
export class ElementMask {
  private readonly e: Emitter
  /** The bits: a leaf. */
  readonly bits: Expr
  readonly elementBits: Bits
  readonly count: number

  constructor(e: Emitter, bits: Expr, elementBits: Bits, count: number) {
    this.e = e
    this.bits = bits
    this.elementBits = elementBits
    this.count = count
  }

  /** Opmask register `k` for `count` elements. */
  static ofOpmask(e: Emitter, k: number, elementBits: Bits, count: number): ElementMask {
    const at = OPMASK + k * 8
    if (count > 32) return new ElementMask(e, e.let(load(W.i64_load, I64, e.fpu, at)), elementBits, count)
    const op = count <= 8 ? W.i32_load8_u : count <= 16 ? W.i32_load16_u : W.i32_load
    const raw = load(op, I32, e.fpu, at)
    return new ElementMask(e, e.let(count < 8 ? binary(W.i32_and, I32, raw, i32((1 << count) - 1)) : raw), elementBits, count)
  }

  get isWide(): boolean {
    return this.count > 32
  }

  /** The lanes of 16-byte chunk `c` as ones where the element's bit is set. */
  lanes(c: number): Expr {
    const perChunk = lanesIn(this.elementBits)
    const first = c * perChunk
    if (this.elementBits === 8) return this.byteLanes(first)
    const bits = this.elementBits === 16 ? 16 : 32
    const word = first & ~(bits - 1)
    // a 64-bit lane tests the same bit in both of its halves
    const bitOf = (lane: number) => 1 << ((first + (this.elementBits === 64 ? lane >> 1 : lane)) & (bits - 1))
    const tested = vand(splat(bits, this.shifted(word)), lanesOf(bits, bitOf))
    return vec2(EQ[bits], tested, lanesOf(bits, bitOf))
  }

  /** Sixteen elements: the low byte of the bits in bytes 0..7, the next in 8..15. */
  private byteLanes(first: number): Expr {
    const pair = this.e.let(splat(16, this.shifted(first)))
    const spread = new Shuffle(
      pair,
      pair,
      upTo(16).map((i) => i >> 3),
    )
    const bit = () => bytesOf((i) => 1 << (i & 7))
    return vec2(V.i8x16_eq, vand(spread, bit()), bit())
  }

  /** i32 with the bits from `from` on. */
  private shifted(from: number): Expr {
    if (!this.isWide) return from === 0 ? this.bits : binary(W.i32_shr_u, I32, this.bits, i32(from))
    return wrap(from === 0 ? this.bits : binary(W.i64_shr_u, I64, this.bits, i64(from)))
  }

  /** i32: no element is selected. */
  isEmpty(): Expr {
    return unary(this.isWide ? W.i64_eqz : W.i32_eqz, I32, this.bits)
  }

  /** Runs `body` for the number (an i32 leaf) of each selected element, lowest first. */
  forEach(body: (element: Expr) => void): void {
    const e = this.e
    const wide = this.isWide
    const type = wide ? I64 : I32
    const rest = e.variable(this.bits)
    const element = local(e.temp(I32), I32)
    e.block((done) => {
      e.loop((again) => {
        e.brIf(done, unary(wide ? W.i64_eqz : W.i32_eqz, I32, rest))
        const index = unary(wide ? W.i64_ctz : W.i32_ctz, type, rest)
        e.assign(element, wide ? wrap(index) : index)
        const lessOne = binary(wide ? W.i64_sub : W.i32_sub, type, rest, wide ? i64(1) : i32(1))
        e.assign(rest, binary(wide ? W.i64_and : W.i32_and, type, rest, lessOne))
        body(element)
        e.br(again)
      })
    })
  }

  /** The first popcount(bits) elements. */
  packed(): ElementMask {
    return lowElements(this.e, this.popcount(), this.elementBits, this.count)
  }
  /** i32: how many elements are selected. */
  popcount(): Expr {
    const n = unary(this.isWide ? W.i64_popcnt : W.i32_popcnt, this.isWide ? I64 : I32, this.bits)
    return this.isWide ? wrap(n) : n
  }
}

/** The mask of the first n (an i32) of `count` elements. */
function lowElements(e: Emitter, n: Expr, elementBits: Bits, count: number): ElementMask {
  // (1 << n) - 1 in 64 bits, with n = 64 giving all ones
  const kept = e.let(n)
  const shifted = binary(W.i64_shl, I64, i64(1), unary(W.i64_extend_i32_u, I64, kept))
  const low = binary(W.i64_sub, I64, shifted, i64(1))
  const all = new Expr(W.select, I64, i64(-1), low, binary(W.i32_eq, I32, kept, i32(64)), 0, 0)
  return new ElementMask(e, e.let(count > 32 ? all : wrap(low)), elementBits, count)
}
