import { type Bits } from '../../translate/expr.ts'
import { signBits, vand } from '../../translate/lanes.ts'
import { MaskedMemory } from '../../translate/masked-memory.ts'
import { VectorSource, type VectorInstruction } from '../../translate/vector-operands.ts'
import { ElementMask } from '../../translate/write-mask.ts'
import { defineVector } from './available.ts'
import { both, elementBits } from './forms.ts'

/** Moves to and from memory of the elements whose top bit in a vector register is set. Others are not accessed. */

const maskOf = (x: VectorInstruction, op: number, bits: Bits, bytes = x.bytes): ElementMask => {
  const source = x.source(op)
  const selected = elementBits(bits, x.chunks, (c) => (bytes === 8 ? vand(source.chunk(c), signBits(bits)) : source.chunk(c)))
  return new ElementMask(x.e, x.e.let(selected), bits, (bytes * 8) / bits)
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

/** MASKMOVQ and MASKMOVDQU: bytes to DS:rDI. Operands: implicit memory, source, mask. */
defineVector(['MASKMOVQ', ...both('MASKMOVDQU')], (x) => {
  const mask = maskOf(x, 2, 8)
  const source = x.source(1)
  new MaskedMemory(x.e, x.implicitDestination(), mask).store(x.keep((c) => source.chunk(c)))
})
