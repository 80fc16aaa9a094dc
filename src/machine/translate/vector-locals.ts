import { VECTOR, VECTOR_STRIDE } from '../memory-map.ts'
import type { CodeBuffer } from '../wasm/code.ts'
import { F32, F64, I32, I64, V, V128, W, type WasmType } from '../wasm/opcodes.ts'
import { type Emitter, LOCAL_CTX, LOCAL_FPU } from './emitter.ts'
import { Expr, lane, load, local, writeExpr } from './expr.ts'

const END = VECTOR + 32 * VECTOR_STRIDE

/** Stores of part of a chunk: the lane instruction that does the same to a v128, and the lane's size. */
const LANE_STORES: Record<number, [replace: number, bytes: number, type: WasmType]> = {
  [W.i32_store8]: [V.i8x16_replace_lane, 1, I32],
  [W.i32_store16]: [V.i16x8_replace_lane, 2, I32],
  [W.i32_store]: [V.i32x4_replace_lane, 4, I32],
  [W.i64_store]: [V.i64x2_replace_lane, 8, I64],
  [W.f32_store]: [V.f32x4_replace_lane, 4, F32],
  [W.f64_store]: [V.f64x2_replace_lane, 8, F64],
}

/**
 * Copies of vector registers in locals, 16 bytes each, so that an instruction does not wait for the store of the one before
 * it. Hot code only. The register file in memory is always up to date: every store to it goes through here and sets the
 * copy too, and copies that are read are loaded where a region is entered and where something else may have written.
 */
export class VectorLocals {
  private readonly e: Emitter
  /** Local of the chunk at VECTOR + 16 i, -1 without one. */
  private readonly locals = new Int32Array((32 * VECTOR_STRIDE) / 16).fill(-1)
  /** Chunks whose copies are read. */
  private readonly read = new Set<number>()
  /** Where in the code copies have to be loaded again. */
  private readonly reloads: number[] = []
  private changed = false
  enabled = true

  constructor(e: Emitter) {
    this.e = e
  }

  reset(): void {
    this.locals.fill(-1)
    this.read.clear()
    this.reloads.length = 0
    this.changed = false
  }

  get isActive(): boolean {
    return this.e.hot && this.enabled
  }

  /** 16 bytes of the register file: the register as it is now, to be consumed before it is written. */
  chunk(offset: number): Expr {
    if (!this.isActive || offset < VECTOR || offset >= END || (offset & 15) !== 0) return load(V.load, V128, this.e.fpu, offset)
    const index = (offset - VECTOR) >> 4
    this.read.add(index)
    return this.copyOf(index)
  }

  private copyOf(index: number): Expr {
    if (this.locals[index] < 0) this.locals[index] = this.e.reserve(V128)
    // The mark keeps `let` from taking it for a value that stays.
    return new Expr(W.local_get, V128, null, null, null, this.locals[index], 1)
  }

  /** A store at `address` + `offset` that is not to the context: true when it was to a vector register and has been written. */
  store(op: number, address: Expr, offset: number, value: Expr): boolean {
    if (!this.isActive || offset < VECTOR || offset >= END) return false
    if (address.op !== W.local_get || address.lo !== LOCAL_FPU) {
      if (address.op !== W.local_get || address.lo !== LOCAL_CTX) this.changed = true
      return false
    }
    const { e } = this
    const copy = this.copyOf((offset - VECTOR) >> 4)
    if (op === V.store && (offset & 15) === 0) {
      writeExpr(e.code, address)
      writeExpr(e.code, value)
      e.code.byte(W.local_tee)
      e.code.u32(copy.lo)
      e.rawStore(op, offset)
      return true
    }
    const part = LANE_STORES[op]
    if (part === undefined || offset % part[1] !== 0) {
      this.changed = true
      return false
    }
    const [replace, bytes, type] = part
    const kept = local(e.temp(type), type)
    writeExpr(e.code, address)
    writeExpr(e.code, value)
    e.code.byte(W.local_tee)
    e.code.u32(kept.lo)
    e.rawStore(op, offset)
    this.read.add((offset - VECTOR) >> 4)
    e.assign(copy, lane(replace, V128, copy, kept, (offset & 15) / bytes))
    return true
  }

  /** After an instruction: what was written past this class is loaded again. */
  endInstruction(): void {
    if (this.changed) this.reload()
    this.changed = false
  }
  /** Something outside this code may have written registers. */
  reload(): void {
    this.reloads.push(this.e.code.length)
  }

  /** Loads the copies that are read: at the start of the function, before the code. */
  writePrologue(out: CodeBuffer): void {
    for (const index of this.read) {
      writeExpr(out, load(V.load, V128, this.e.fpu, VECTOR + index * 16))
      out.byte(W.local_set)
      out.u32(this.locals[index])
    }
  }
  /** The emitter's code with the loads that came to be known later. */
  writeCode(out: CodeBuffer): void {
    const code = this.e.code.view()
    let done = 0
    for (const at of this.reloads) {
      out.append(code.subarray(done, at))
      this.writePrologue(out)
      done = at
    }
    out.append(code.subarray(done))
  }
}
