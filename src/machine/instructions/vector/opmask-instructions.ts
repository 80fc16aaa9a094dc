import { Register } from '../../decoder/iced-tables.ts'
import { RFLAGS_CF, RFLAGS_ZF } from '../../flags.ts'
import { OPMASK } from '../../memory-map.ts'
import {
  add,
  and,
  type Bits,
  binary,
  constant,
  type Expr,
  eq,
  eqz,
  i32,
  load,
  not,
  or,
  shl,
  shrU,
  truncate,
  typeOf,
  xor,
  zeroExtend,
  zeroOf,
} from '../../translate/expr.ts'
import { isOpmask, setOpmask, type VectorInstruction } from '../../translate/vector-operands.ts'
import { I32, W } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'

/** Instructions on opmask registers (SDM Vol. 2A, "KADD..." to "KXOR..."). Values are integers of the width; the rest becomes 0. */
const WIDTHS: [suffix: string, bits: Bits][] = [
  ['B', 8],
  ['W', 16],
  ['D', 32],
  ['Q', 64],
]
const LOAD: Record<Bits, number> = { 8: W.i32_load8_u, 16: W.i32_load16_u, 32: W.i32_load, 64: W.i64_load }

const readOpmask = (x: VectorInstruction, op: number, bits: Bits): Expr =>
  x.e.let(load(LOAD[bits], typeOf(bits), x.e.fpu, OPMASK + (x.register(op) - Register.K0) * 8))
const writeOpmask = (x: VectorInstruction, op: number, value: Expr): void => setOpmask(x.e, x.register(op) - Register.K0, value)

function two(name: string, meaning: (bits: Bits, a: Expr, b: Expr) => Expr): void {
  for (const [suffix, bits] of WIDTHS) {
    defineVector(name + suffix, (x) => writeOpmask(x, 0, meaning(bits, readOpmask(x, 1, bits), readOpmask(x, 2, bits))))
  }
}
two('KAND', and)
two('KANDN', (bits, a, b) => and(bits, not(bits, a), b))
two('KOR', or)
two('KXOR', xor)
two('KXNOR', (bits, a, b) => not(bits, xor(bits, a, b)))
two('KADD', add)

for (const [suffix, bits] of WIDTHS) {
  defineVector(`KNOT${suffix}`, (x) => writeOpmask(x, 0, not(bits, readOpmask(x, 1, bits))))

  const shift = (operation: (bits: Bits, a: Expr, n: Expr) => Expr) => (x: VectorInstruction) => {
    const n = x.immediate
    writeOpmask(x, 0, n < bits ? operation(bits, readOpmask(x, 1, bits), constant(bits, n, 0)) : zeroOf(bits))
  }
  defineVector(`KSHIFTL${suffix}`, shift(shl))
  defineVector(`KSHIFTR${suffix}`, shift(shrU))

  /** Both flags are i32 0 or 1; OF SF AF PF become 0. */
  const setFlags = (x: VectorInstruction, zf: Expr, cf: Expr) =>
    x.e.flags.fromBits(
      binary(W.i32_or, I32, binary(W.i32_mul, I32, zf, i32(RFLAGS_ZF)), binary(W.i32_mul, I32, cf, i32(RFLAGS_CF))),
    )
  defineVector(`KORTEST${suffix}`, (x) => {
    const value = x.e.let(or(bits, readOpmask(x, 0, bits), readOpmask(x, 1, bits)))
    setFlags(x, eqz(bits, value), eq(bits, value, constant(bits, -1)))
  })
  defineVector(`KTEST${suffix}`, (x) => {
    const a = readOpmask(x, 0, bits)
    const b = readOpmask(x, 1, bits)
    setFlags(x, eqz(bits, and(bits, a, b)), eqz(bits, and(bits, not(bits, a), b)))
  })

  /** KMOV: opmask, general register or memory; always zero-extended. */
  defineVector(`KMOV${suffix}`, (x) => {
    const { s, e } = x
    if (s.isRegister(0) && isOpmask(x.register(0))) {
      if (s.isMemory(1)) writeOpmask(x, 0, e.loadInt(s.memoryAddress(), bits))
      else if (isOpmask(x.register(1))) writeOpmask(x, 0, readOpmask(x, 1, bits))
      else writeOpmask(x, 0, bits === 64 ? s.read(1) : truncate(bits, s.read(1)))
    } else if (s.isMemory(0)) e.storeInt(s.memoryAddress(), bits, readOpmask(x, 1, bits))
    else s.write(0, zeroExtend(bits, s.bitsOf(0), readOpmask(x, 1, bits)))
  })
}

/** KUNPCK: the low halves of the first source (above) and the second. */
for (const [mnemonic, half, bits] of [
  ['KUNPCKBW', 8, 16],
  ['KUNPCKWD', 16, 32],
  ['KUNPCKDQ', 32, 64],
] as [string, Bits, Bits][]) {
  defineVector(mnemonic, (x) => {
    const upper = zeroExtend(half, bits, readOpmask(x, 1, half))
    const lower = zeroExtend(half, bits, readOpmask(x, 2, half))
    writeOpmask(x, 0, or(bits, shl(bits, upper, constant(bits, half, 0)), lower))
  })
}
