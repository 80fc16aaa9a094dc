import { SPILL } from '../memory-map.ts'
import { I32, I64, V, V128, W } from '../wasm/opcodes.ts'
import { type Emitter, loadInt, storeOp } from './emitter.ts'
import { type Bits, binary, type Expr, eqz, i32, load, unary } from './expr.ts'
import { bitselect, extractLane, splat } from './lanes.ts'
import type { ElementMask } from './write-mask.ts'

/**
 * Elements in memory at `linear` of which only those selected by a mask are accessed (and can fault). When the whole
 * operand lies in one page whose translation is at hand nothing can fault, and it is accessed as one; otherwise element
 * by element.
 */
export class MaskedMemory {
  private readonly e: Emitter
  private readonly linear: Expr
  private readonly mask: ElementMask
  private readonly elementBytes: number
  private readonly bytes: number

  /** @param linear a leaf */
  constructor(e: Emitter, linear: Expr, mask: ElementMask) {
    this.e = e
    this.linear = linear
    this.mask = mask
    this.elementBytes = mask.elementBits / 8
    this.bytes = mask.count * this.elementBytes
  }

  private get spill(): Expr {
    return binary(W.i32_add, I32, this.e.ctx, i32(SPILL))
  }
  private addressOf(element: Expr): Expr {
    const offset = binary(W.i32_shl, I32, element, i32(Math.log2(this.elementBytes)))
    return this.e.let(binary(W.i64_add, I64, this.linear, unary(W.i64_extend_i32_u, I64, offset)))
  }
  /** Wasm address of an element's place in the spill area. */
  private spillOf(element: Expr): Expr {
    const offset = binary(W.i32_shl, I32, element, i32(Math.log2(this.elementBytes)))
    return binary(W.i32_add, I32, this.e.ctx, offset)
  }

  /** Wasm address at which the operand can be read; what stands in masked-off elements is undefined. */
  readPointer(): Expr {
    const e = this.e
    const bits = this.mask.elementBits
    const pointer = e.readPointerIfReady(this.linear, this.bytes)
    e.if(eqz(32, pointer), () => {
      this.mask.forEach((element) => {
        const from = e.readPointer(this.addressOf(element), this.elementBytes)
        e.store(storeOp(bits), this.spillOf(element), SPILL, loadInt(from, bits))
      })
      e.assign(pointer, this.spill)
    })
    return pointer
  }

  /** Stores the selected elements of the chunks (leaves). Nothing is written when one of them faults. */
  store(chunks: readonly Expr[]): void {
    const e = this.e
    const pointer = e.writePointerIfReady(this.linear, this.bytes)
    e.if(
      pointer,
      () => this.storeAtOnce(pointer, chunks),
      () => this.storeOneByOne(chunks),
    )
  }

  /** The same for instructions that access masked-off elements too, so that these can fault (exception class E6NF). */
  storeWhole(chunks: readonly Expr[]): void {
    const pointer = this.e.modifyPointer(this.linear, this.bytes)
    this.storeAtOnce(pointer, chunks)
    this.e.commit(pointer)
  }

  private storeAtOnce(pointer: Expr, chunks: readonly Expr[]): void {
    const e = this.e
    if (this.bytes < 16) {
      const bits = (this.bytes * 8) as Bits
      const merged = bitselect(chunks[0], splat(bits, loadInt(pointer, bits)), this.mask.lanes(0))
      e.store(storeOp(bits), pointer, 0, extractLane(bits, merged, 0))
      return
    }
    for (let c = 0; c < this.bytes >> 4; c++) {
      e.store(V.store, pointer, c * 16, bitselect(chunks[c], load(V.load, V128, pointer, c * 16), this.mask.lanes(c)))
    }
  }

  private storeOneByOne(chunks: readonly Expr[]): void {
    const e = this.e
    const bits = this.mask.elementBits
    for (let c = 0; c < Math.max(1, this.bytes >> 4); c++) e.store(V.store, e.ctx, SPILL + c * 16, chunks[c])
    // every element is checked for writing before the first is written
    this.mask.forEach((element) => void e.modifyPointer(this.addressOf(element), this.elementBytes))
    this.mask.forEach((element) => {
      const value = e.let(loadInt(this.spillOf(element), bits, SPILL))
      e.storeInt(this.addressOf(element), bits, value)
    })
  }
}
