import { define } from '../../translate/definitions.ts'
import { and, type Expr, i32, i64, shrU, sub, wrap, xor, zeroExtend, zeroOf } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'

/** The CRC-32C polynomial 0x11EDC6F41, bits in reverse order (SDM Vol. 2, CRC32). */
const POLYNOMIAL = 0x82f63b78

/** Shifts `count` bits out of the accumulator, dividing. */
function divide(s: InstructionSite, crc: Expr, count: number): void {
  const e = s.e
  const left = e.variable(i32(count))
  e.loop((again) => {
    const feedback = and(32, sub(32, zeroOf(32), and(32, crc, i32(1))), i32(POLYNOMIAL))
    e.assign(crc, xor(32, shrU(32, crc, i32(1)), feedback))
    e.assign(left, sub(32, left, i32(1)))
    e.brIf(again, left)
  })
}

define('CRC32', (s) => {
  const e = s.e
  const bits = s.bitsOf(1)
  const data = s.read(1)
  const old = s.read(0)
  const crc = e.variable(s.bitsOf(0) === 64 ? wrap(old) : old)
  if (bits === 64) {
    e.assign(crc, xor(32, crc, wrap(data)))
    divide(s, crc, 32)
    e.assign(crc, xor(32, crc, wrap(shrU(64, data, i64(32)))))
    divide(s, crc, 32)
  } else {
    e.assign(crc, xor(32, crc, data))
    divide(s, crc, bits)
  }
  s.write(0, zeroExtend(32, s.bitsOf(0), crc))
})
