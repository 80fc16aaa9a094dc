import { VECTOR } from '../../memory-map.ts'
import { type Bits, type Expr, load } from '../../translate/expr.ts'
import { bitselect, lanesIn, lanesOf, SHR_S, shiftLanes } from '../../translate/lanes.ts'
import { V, V128 } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'
import { both, defineLanes, readOperands } from './forms.ts'

/** The second source where the immediate has a bit for the element, else the first. */
function blendImmediate(mnemonics: string[], bits: Bits): void {
  defineLanes(mnemonics, bits, 2, ({ immediate, chunk }, a, b) => {
    // words: the same eight bits for every chunk
    const first = bits === 16 ? 0 : chunk * lanesIn(bits)
    return bitselect(
      b,
      a,
      lanesOf(bits, (i) => ((immediate >> (first + i)) & 1 ? -1 : 0)),
    )
  })
}
blendImmediate(both('PBLENDW'), 16)
blendImmediate(['VPBLENDD'], 32)
blendImmediate(both('BLENDPS'), 32)
blendImmediate(both('BLENDPD'), 64)

/** The second source where the mask's top bit is set: XMM0 in legacy forms, the fourth operand in VEX ones. */
const byTopBit = (bits: Bits, a: Expr, b: Expr, mask: Expr): Expr => bitselect(b, a, shiftLanes(SHR_S[bits], mask, bits - 1))
function blendVariable(mnemonics: string[], bits: Bits): void {
  defineVector(mnemonics, (x) => {
    const [a, b] = readOperands(x, x.firstSource, 2, {})
    const xmm0 = () => load(V.load, V128, x.e.fpu, VECTOR)
    const mask = x.isLegacy ? null : x.source(3)
    x.write(0, bits, (c) => byTopBit(bits, a.chunk(c), b.chunk(c), mask === null ? xmm0() : mask.chunk(c)))
  })
}
blendVariable(['PBLENDVB', 'VPBLENDVB'], 8)
blendVariable(['BLENDVPS', 'VBLENDVPS'], 32)
blendVariable(['BLENDVPD', 'VBLENDVPD'], 64)

/** VPBLENDM: the second source where the opmask is set; elsewhere the first, or 0 with zeroing. */
function blendOpmask(mnemonic: string, bits: Bits): void {
  defineVector(mnemonic, (x) => {
    const [a, b] = readOperands(x, 1, 2, { suppress: bits })
    const mask = x.mask(bits)
    if (mask === null || x.s.d.zeroing) return x.write(0, bits, (c) => b.chunk(c))
    x.writeUnmasked(0, (c) => bitselect(b.chunk(c), a.chunk(c), mask.lanes(c)))
  })
}
blendOpmask('VPBLENDMB', 8)
blendOpmask('VPBLENDMW', 16)
blendOpmask('VPBLENDMD', 32)
blendOpmask('VPBLENDMQ', 64)
blendOpmask('VBLENDMPS', 32)
blendOpmask('VBLENDMPD', 64)
