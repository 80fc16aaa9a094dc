import { Register } from '../../decoder/iced-tables.ts'
import { type Bits, binary, type Expr, i32 } from '../../translate/expr.ts'
import { anyTrue, EQ, extractLane, lanesIn, splat, vec2, vor, zero } from '../../translate/lanes.ts'
import { setOpmask, type VectorInstruction } from '../../translate/vector-operands.ts'
import { I32, W } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'
import { elementBits, readOperands } from './forms.ts'

/**
 * VP2INTERSECT: bit i of the even opmask of the pair says whether element i of the first source occurs in the second, the odd
 * one the other way round.
 */
function intersect(x: VectorInstruction, bits: Bits): void {
  const { e } = x
  const [a, b] = readOperands(x, 1, 2, {}).map((source) => x.keep((c) => source.chunk(c)))
  const found = a.map(() => e.variable(zero()))
  const occurs = e.variable(i32(0))
  for (let i = 0; i < (x.bytes * 8) / bits; i++) {
    const value = e.let(splat(bits, extractLane(bits, b[Math.floor(i / lanesIn(bits))], i % lanesIn(bits))))
    const equal = a.map((chunk) => e.let(vec2(EQ[bits], chunk, value)))
    equal.forEach((lanes, c) => {
      e.assign(found[c], vor(found[c], lanes))
    })
    const any = anyTrue(equal.reduce((all: Expr, lanes) => vor(all, lanes)))
    e.assign(occurs, binary(W.i32_or, I32, occurs, binary(W.i32_shl, I32, any, i32(i))))
  }
  const even = (x.register(0) - Register.K0) & ~1
  setOpmask(
    e,
    even,
    elementBits(bits, x.chunks, (c) => found[c]),
  )
  setOpmask(e, even + 1, occurs)
}
defineVector('VP2INTERSECTD', (x) => intersect(x, 32))
defineVector('VP2INTERSECTQ', (x) => intersect(x, 64))
