import type { Emitter } from '../../translate/emitter.ts'
import type { Bits, Expr } from '../../translate/expr.ts'
import { andNot, bitselect, ones, vand, vnot, vor, vxor, zero } from '../../translate/lanes.ts'
import { both, defineLanes } from './forms.ts'

/** Each operation under the names that differ only in the element width of the opmask. */
const operations: [names: string[], meaning: (a: Expr, b: Expr) => Expr][] = [
  [['PAND', 'ANDPS', 'ANDPD'], vand],
  [['POR', 'ORPS', 'ORPD'], vor],
  [['PXOR', 'XORPS', 'XORPD'], vxor],
  [['PANDN', 'ANDNPS', 'ANDNPD'], (a, b) => andNot(b, a)],
]
for (const [[integer, single, double], meaning] of operations) {
  const of = (names: string[], bits: Bits) => defineLanes(names, bits, 2, (_x, a, b) => meaning(a, b))
  of([...both(integer), `V${integer}D`], 32)
  of([`V${integer}Q`], 64)
  of(both(single), 32)
  of(both(double), 64)
}

/** The function of two bits whose value for (b, c) is bit 2b + c of `table`. */
function twoInputs(e: Emitter, table: number, b: Expr, c: Expr): Expr {
  switch (table & 15) {
    case 0b0000:
      return zero()
    case 0b1111:
      return ones()
    case 0b1100:
      return b
    case 0b1010:
      return c
    case 0b1000:
      return vand(b, c)
    case 0b1110:
      return vor(b, c)
    case 0b0110:
      return vxor(b, c)
    case 0b0100:
      return andNot(b, c)
    case 0b0010:
      return andNot(c, b)
    default:
      return vnot(twoInputs(e, ~table, b, c))
  }
}
/** VPTERNLOG: bit 4a + 2b + c of the immediate, for every bit. */
for (const [mnemonic, bits] of [
  ['VPTERNLOGD', 32],
  ['VPTERNLOGQ', 64],
] as [string, Bits][]) {
  defineLanes(mnemonic, bits, 3, ({ e, immediate }, first, second, third) => {
    if (immediate === 0xff) return ones()
    if (immediate === 0) return zero()
    const b = e.let(second)
    const c = e.let(third)
    if (immediate >> 4 === (immediate & 15)) return twoInputs(e, immediate, b, c)
    return bitselect(twoInputs(e, immediate >> 4, b, c), twoInputs(e, immediate & 15, b, c), first)
  })
}
