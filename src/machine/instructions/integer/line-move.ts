import { Register } from '../../decoder/iced-tables.ts'
import { define } from '../../translate/definitions.ts'
import { and, type Expr, i32, i64, load, wrap } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { gprBits, gprNumber } from '../../translate/instruction.ts'
import { V, V128 } from '../../wasm/opcodes.ts'

const VECTOR_GP = 13
const LINE = 64

/** Writes four 16-byte values to a line; `address` is a leaf, aligned to 64. */
function storeLine(s: InstructionSite, address: Expr, values: Expr[]): void {
  const pointer = s.e.modifyPointer(address, LINE)
  values.forEach((value, i) => {
    s.e.store(V.store, pointer, i * 16, value)
  })
  s.e.commit(pointer)
}

define('MOVDIR64B', (s) => {
  const e = s.e
  const register = s.d.opRegister[0]
  const bits = gprBits(register)
  const whole = e.gprNow(gprNumber(register))
  const offset = bits === 64 ? whole : and(64, whole, i64(bits === 32 ? -1 : 0xffff, 0))
  const destination = e.let(s.linear(offset, Register.ES))
  s.raiseIf(and(32, wrap(destination), i32(LINE - 1)), VECTOR_GP)
  const source = e.readPointer(s.memoryAddress(), LINE)
  const values = [0, 16, 32, 48].map((at) => e.let(load(V.load, V128, source, at)))
  storeLine(s, destination, values)
})
