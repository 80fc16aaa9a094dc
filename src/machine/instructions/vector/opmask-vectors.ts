import { Register } from '../../decoder/iced-tables.ts'
import type { Bits } from '../../translate/expr.ts'
import { ElementMask } from '../../translate/write-mask.ts'
import { defineVector } from './available.ts'
import { elementBits } from './forms.ts'

/** VPMOVM2: ones in the elements whose bit is set. VPMOV2M: the top bit of every element. */
for (const [letter, bits] of [
  ['B', 8],
  ['W', 16],
  ['D', 32],
  ['Q', 64],
] as [string, Bits][]) {
  defineVector(`VPMOVM2${letter}`, (x) => {
    const mask = ElementMask.ofOpmask(x.e, x.register(1) - Register.K0, bits, (x.bytes * 8) / bits)
    x.write(0, bits, (c) => mask.lanes(c))
  })
  defineVector(`VPMOV${letter}2M`, (x) => {
    const source = x.source(1)
    x.writeOpmask(
      0,
      elementBits(bits, x.chunks, (c) => source.chunk(c)),
      null,
    )
  })
}
