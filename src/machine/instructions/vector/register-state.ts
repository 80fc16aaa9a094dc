import { VECTOR, VECTOR_STRIDE } from '../../memory-map.ts'
import { binary, i32 } from '../../translate/expr.ts'
import { zero } from '../../translate/lanes.ts'
import type { VectorInstruction } from '../../translate/vector-operands.ts'
import { I32, V, W } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'

/** Clears bytes `from`..63 of the registers the code can name without EVEX: sixteen in 64-bit mode, else eight. */
function clearRegisters(x: VectorInstruction, from: number): void {
  const e = x.e
  const end = (x.s.is64 ? 16 : 8) * VECTOR_STRIDE
  const register = e.variable(e.fpu)
  const last = e.let(binary(W.i32_add, I32, e.fpu, i32(end)))
  e.loop((again) => {
    for (let at = from; at < 64; at += 16) e.store(V.store, register, VECTOR + at, zero())
    e.assign(register, binary(W.i32_add, I32, register, i32(VECTOR_STRIDE)))
    e.brIf(again, binary(W.i32_ne, I32, register, last))
  })
}
defineVector('VZEROUPPER', (x) => clearRegisters(x, 16))
defineVector('VZEROALL', (x) => clearRegisters(x, 0))
