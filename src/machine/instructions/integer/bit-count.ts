import { RFLAGS_ZF } from '../../flags.ts'
import { define } from '../../translate/definitions.ts'
import { type Bits, constant, type Expr, eqz, i32, or, shl, sub, unary, xor } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { I32, I64, W } from '../../wasm/opcodes.ts'

const counting =
  (op32: number, op64: number) =>
  (bits: Bits, a: Expr): Expr =>
    bits === 64 ? unary(op64, I64, a) : unary(op32, I32, a)
const clz = counting(W.i32_clz, W.i64_clz)
const ctz = counting(W.i32_ctz, W.i64_ctz)
const popcount = counting(W.i32_popcnt, W.i64_popcnt)

/**
 * BSF and BSR: with a zero source ZF is set and the destination keeps all its 64 bits, as AMD documents and Intel's
 * processors do (SDM: undefined).
 */
function bitScan(position: (bits: Bits, a: Expr) => Expr) {
  return (s: InstructionSite): void => {
    const bits = s.bitsOf(0)
    const source = s.read(1)
    s.e.if(source.type === I64 ? eqz(32, eqz(64, source)) : source, () => s.write(0, position(bits, source)))
    s.e.flags.fromLogic(bits, source)
  }
}
define(
  'BSF',
  bitScan((bits, a) => ctz(bits, a)),
)
define(
  'BSR',
  bitScan((bits, a) => xor(bits, clz(bits, a), constant(bits, bits === 64 ? 63 : 31))),
)

/** CF = the source is zero, ZF = the count is zero; the other flags are undefined. */
function count(s: InstructionSite, value: (bits: Bits, source: Expr) => Expr): void {
  const bits = s.bitsOf(0)
  const source = s.read(1)
  const res = s.e.let(value(bits, source))
  s.e.flags.fromResult(bits, res, eqz(bits, source))
  s.write(0, res)
}
define('TZCNT', (s) => count(s, (bits, source) => (bits === 16 ? ctz(32, or(32, source, i32(0x10000))) : ctz(bits, source))))
define('LZCNT', (s) => count(s, (bits, source) => (bits === 16 ? sub(32, clz(32, source), i32(16)) : clz(bits, source))))

define('POPCNT', (s) => {
  const bits = s.bitsOf(0)
  const source = s.read(1)
  s.e.flags.fromBits(shl(32, eqz(bits, source), i32(Math.log2(RFLAGS_ZF))))
  s.write(0, popcount(bits, source))
})
