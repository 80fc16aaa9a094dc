import { type Bits, load } from '../../translate/expr.ts'
import { bitselect, extractLane, shiftLanes, vand } from '../../translate/lanes.ts'
import { MaskedMemory } from '../../translate/masked-memory.ts'
import { type VectorInstruction, VectorSource } from '../../translate/vector-operands.ts'
import { ElementMask } from '../../translate/write-mask.ts'
import { V, V128, W } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'
import { both, elementBits } from './forms.ts'

/** Moves to and from memory of the elements whose top bit in a vector register is set. Others are not accessed. */

const maskOf = (x: VectorInstruction, op: number, bits: Bits): ElementMask => {
  const source = x.source(op)
  const selected = elementBits(bits, x.chunks, (c) => source.chunk(c))
  return new ElementMask(x.e, x.e.let(selected), bits, (x.bytes * 8) / bits)
}

/** VMASKMOV and VPMASKMOV: (register, mask, memory) loads with zeros, (memory, mask, register) stores. */
function maskMove(mnemonic: string, bits: Bits): void {
  defineVector(mnemonic, (x) => {
    const mask = maskOf(x, 1, bits)
    const memory = new MaskedMemory(x.e, x.s.memoryAddress(), mask)
    if (x.s.isMemory(0)) {
      const source = x.source(2)
      return memory.store(x.keep((c) => source.chunk(c)))
    }
    const loaded = new VectorSource(memory.readPointer(), 0, x.bytes)
    x.write(0, bits, (c) => vand(loaded.chunk(c), mask.lanes(c)))
  })
}
maskMove('VMASKMOVPS', 32)
maskMove('VMASKMOVPD', 64)
maskMove('VPMASKMOVD', 32)
maskMove('VPMASKMOVQ', 64)

/**
 * MASKMOVQ and MASKMOVDQU: bytes to DS:rDI. Operands: implicit memory, source, mask. The whole operand must be writable,
 * whatever the mask (measured on Zen 4; the SDM leaves it open).
 */
defineVector(['MASKMOVQ', ...both('MASKMOVDQU')], (x) => {
  const { e } = x
  const source = x.source(1)
  const mask = x.source(2)
  const selected = shiftLanes(V.i8x16_shr_s, mask.chunk(0), 7)
  const pointer = e.modifyPointer(x.implicitDestination(), x.bytes)
  const old = load(x.isMmx ? V.load64_zero : V.load, V128, pointer, 0)
  const merged = bitselect(source.chunk(0), old, selected)
  if (x.isMmx) e.store(W.i64_store, pointer, 0, extractLane(64, merged, 0))
  else e.store(V.store, pointer, 0, merged)
  e.commit(pointer)
})
