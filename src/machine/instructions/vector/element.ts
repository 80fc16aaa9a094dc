import { type Bits, low, zeroExtend } from '../../translate/expr.ts'
import { lanesIn, lanesOf, replaceLane, vand } from '../../translate/lanes.ts'
import { I32, I64, W } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'
import { both, elementBits } from './forms.ts'
import { writeWhole } from './move.ts'

/** One element between a vector register and a general register or memory; the immediate is its number. */

const LOAD: Record<Bits, number> = { 8: W.i32_load8_u, 16: W.i32_load16_u, 32: W.i32_load, 64: W.i64_load }

function insert(mnemonics: string[], bits: Bits): void {
  defineVector(mnemonics, (x) => {
    const { s, e } = x
    const last = s.d.opCount - 1
    const value = s.isMemory(last - 1)
      ? e.loadInt(s.memoryAddress(), bits)
      : low(s.bitsOf(last - 1), bits === 64 ? 64 : 32, s.read(last - 1))
    const index = x.immediate & (x.isMmx ? 3 : lanesIn(bits) - 1)
    const inserted = replaceLane(bits, x.source(x.firstSource).chunk(0), index, value)
    if (x.isMmx) x.write(0, bits, () => inserted)
    else writeWhole(x, inserted)
  })
}
insert(both('PINSRB'), 8)
insert(both('PINSRW'), 16)
insert(both('PINSRD'), 32)
insert(both('PINSRQ'), 64)

function extract(mnemonics: string[], bits: Bits): void {
  defineVector(mnemonics, (x) => {
    const { s, e } = x
    const index = x.immediate & (x.isMmx ? 3 : lanesIn(bits) - 1)
    const value = x.source(1).part(LOAD[bits], bits === 64 ? I64 : I32, (index * bits) / 8)
    if (s.isMemory(0)) e.storeInt(s.memoryAddress(), bits, value)
    else s.write(0, zeroExtend(bits, s.bitsOf(0), value))
  })
}
extract(both('PEXTRB'), 8)
extract(both('PEXTRW'), 16)
extract(both('PEXTRD'), 32)
extract(both('PEXTRQ'), 64)
extract(both('EXTRACTPS'), 32)

/** INSERTPS: immediate 7:6 source element (registers only), 5:4 where it goes, 3:0 elements that become 0. */
defineVector(both('INSERTPS'), (x) => {
  const { s, e } = x
  const last = s.d.opCount - 1
  const element = s.isMemory(last - 1)
    ? e.loadInt(s.memoryAddress(), 32)
    : x.source(last - 1).part(W.i32_load, I32, (x.immediate >> 6) * 4)
  const inserted = replaceLane(32, x.source(x.firstSource).chunk(0), (x.immediate >> 4) & 3, element)
  writeWhole(
    x,
    vand(
      inserted,
      lanesOf(32, (i) => ((x.immediate >> i) & 1 ? 0 : -1)),
    ),
  )
})

// ---- sign bits to a general register ----
function signMask(mnemonics: string[], bits: Bits): void {
  defineVector(mnemonics, (x) => {
    const source = x.source(1)
    const mask = elementBits(bits, x.chunks, (c) => source.chunk(c))
    x.s.write(0, zeroExtend(32, x.s.bitsOf(0), mask))
  })
}
signMask(both('PMOVMSKB'), 8)
signMask(both('MOVMSKPS'), 32)
signMask(both('MOVMSKPD'), 64)
