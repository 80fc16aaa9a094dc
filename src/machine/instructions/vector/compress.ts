import { SPILL } from '../../memory-map.ts'
import { type Emitter, loadInt, storeOp } from '../../translate/emitter.ts'
import { type Bits, binary, type Expr, i32, load } from '../../translate/expr.ts'
import { zero } from '../../translate/lanes.ts'
import { MaskedMemory } from '../../translate/masked-memory.ts'
import { registerOffset, type VectorInstruction, VectorSource } from '../../translate/vector-operands.ts'
import type { ElementMask } from '../../translate/write-mask.ts'
import { I32, V, V128, W } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'

/** VPCOMPRESS and VPEXPAND. The work is done element by element in the spill area of the context. */

/** Above what masked memory accesses use. */
const WORK = SPILL + 0x80

const NAMES: [suffix: string, bits: Bits][] = [
  ['PS', 32],
  ['PD', 64],
  ['B', 8],
  ['W', 16],
  ['D', 32],
  ['Q', 64],
]
const nameOf = (verb: string, suffix: string): string => `V${suffix.startsWith('P') ? '' : 'P'}${verb}${suffix}`

const scaled = (element: Expr, bits: Bits): Expr =>
  bits === 8 ? element : binary(W.i32_shl, I32, element, i32(Math.log2(bits / 8)))
const plus = (a: Expr, b: Expr): Expr => binary(W.i32_add, I32, a, b)

/** The selected elements of a register, in the first places of the work area. */
function compressInto(x: VectorInstruction, bits: Bits, mask: ElementMask, source: number): void {
  const { e } = x
  const next = e.variable(plus(e.ctx, i32(WORK)))
  mask.forEach((element) => {
    const value = loadInt(plus(e.fpu, scaled(element, bits)), bits, registerOffset(source))
    e.store(storeOp(bits), next, 0, value)
    e.assign(next, plus(next, i32(bits / 8)))
  })
}
/** Fills the work area: with the destination for merging, with zeros for zeroing. */
function prepare(x: VectorInstruction, register: number | null): void {
  const { e } = x
  for (let c = 0; c < x.chunks; c++) {
    e.store(
      V.store,
      e.ctx,
      WORK + c * 16,
      register === null ? zero() : load(V.load, V128, e.fpu, registerOffset(register) + c * 16),
    )
  }
}
const worked = (e: Emitter, c: number): Expr => load(V.load, V128, e.ctx, WORK + c * 16)

for (const [suffix, bits] of NAMES) {
  defineVector(nameOf('COMPRESS', suffix), (x) => {
    const mask = x.mask(bits)
    const source = x.source(1)
    if (mask === null) {
      if (x.s.isMemory(0))
        x.store(
          bits,
          x.keep((c) => source.chunk(c)),
          x.bytes,
        )
      else x.write(0, bits, (c) => source.chunk(c))
      return
    }
    if (x.s.isMemory(0)) {
      compressInto(x, bits, mask, x.register(1))
      new MaskedMemory(x.e, x.s.memoryAddress(), mask.packed()).store(x.keep((c) => worked(x.e, c)))
      return
    }
    prepare(x, x.s.d.zeroing ? null : x.register(0))
    compressInto(x, bits, mask, x.register(1))
    x.writeUnmasked(0, (c) => worked(x.e, c))
  })

  /** The first elements of the source go to the selected places. */
  defineVector(nameOf('EXPAND', suffix), (x) => {
    const { e } = x
    const mask = x.mask(bits)
    if (mask === null) {
      const source = x.source(1)
      return x.write(0, bits, (c) => source.chunk(c))
    }
    const source = x.s.isMemory(1)
      ? new VectorSource(new MaskedMemory(e, x.s.memoryAddress(), mask.packed()).readPointer(), 0, x.bytes)
      : x.source(1)
    prepare(x, x.s.d.zeroing ? null : x.register(0))
    const from = e.variable(source.pointer)
    mask.forEach((element) => {
      e.store(storeOp(bits), plus(e.ctx, scaled(element, bits)), WORK, loadInt(from, bits))
      e.assign(from, plus(from, i32(bits / 8)))
    })
    x.writeUnmasked(0, (c) => worked(e, c))
  })
}
