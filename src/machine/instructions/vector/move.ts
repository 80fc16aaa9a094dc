import type { Decoded } from '../../decoder/decoder.ts'
import { OpKind } from '../../decoder/iced-tables.ts'
import { type Bits, type Expr, load, low, zeroExtend } from '../../translate/expr.ts'
import { gprBits } from '../../translate/instruction.ts'
import { lanesOf, rearrange, replaceLane, shuffle, splat, vand, zero } from '../../translate/lanes.ts'
import { isMmx, registerOffset, type VectorInstruction, vectorBytes } from '../../translate/vector-operands.ts'
import { I32, I64, V, V128, W } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'
import { both, defineLanes } from './forms.ts'

// ---- whole vectors ----
/** [mnemonic, element width of the opmask, memory must be aligned] */
const whole: [string, Bits, boolean][] = [
  ['MOVAPS', 32, true],
  ['MOVAPD', 64, true],
  ['MOVDQA', 32, true],
  ['MOVUPS', 32, false],
  ['MOVUPD', 64, false],
  ['MOVDQU', 32, false],
  ['VMOVAPS', 32, true],
  ['VMOVAPD', 64, true],
  ['VMOVDQA', 32, true],
  ['VMOVUPS', 32, false],
  ['VMOVUPD', 64, false],
  ['VMOVDQU', 32, false],
  ['VMOVDQA32', 32, true],
  ['VMOVDQA64', 64, true],
  ['VMOVDQU8', 8, false],
  ['VMOVDQU16', 16, false],
  ['VMOVDQU32', 32, false],
  ['VMOVDQU64', 64, false],
  ['LDDQU', 32, false],
  ['VLDDQU', 32, false],
  ['MOVNTPS', 32, true],
  ['MOVNTPD', 64, true],
  ['MOVNTDQ', 32, true],
  ['MOVNTDQA', 32, true],
  ['VMOVNTPS', 32, true],
  ['VMOVNTPD', 64, true],
  ['VMOVNTDQ', 32, true],
  ['VMOVNTDQA', 32, true],
]
for (const [mnemonic, bits, aligned] of whole) {
  defineVector(mnemonic, (x) => {
    const alignment = { aligned, unaligned: !aligned }
    const source = x.source(1, { ...alignment, suppress: bits })
    if (x.s.isMemory(0))
      x.store(
        bits,
        x.keep((c) => source.chunk(c)),
        x.bytes,
        alignment,
      )
    else x.write(0, bits, (c) => source.chunk(c))
  })
}
defineVector('MOVNTQ', (x) => x.store(64, [x.e.let(x.source(1).chunk(0))], 8))

// ---- with general registers ----
/** MOVD and MOVQ: the low element to or from a general register or memory; the rest of a vector register becomes 0. */
defineVector(both('MOVD'), (x) => moveElement(x, 32))
defineVector(both('MOVQ'), (x) => moveElement(x, 64))
function moveElement(x: VectorInstruction, bits: 32 | 64): void {
  const { s, e } = x
  if (s.isRegister(0) && vectorBytes(x.register(0)) !== 0) {
    const value = lowElement(x, bits)
    x.write(0, bits, () => value, isMmx(x.register(0)) ? 8 : 16)
  } else if (s.isRegister(0)) s.write(0, lane(x, 1, gprBits(x.register(0)) as Bits))
  else e.storeInt(s.memoryAddress(), bits, lane(x, 1, bits))
}
/** Element 0 of a vector register operand. */
const lane = (x: VectorInstruction, op: number, bits: Bits): Expr =>
  x.source(op).part(bits === 64 ? W.i64_load : W.i32_load, bits === 64 ? I64 : I32, 0)

/** Operand 1 (general or vector register, or memory) as a vector with zeros above its low `bits`. */
function lowElement(x: VectorInstruction, bits: 32 | 64): Expr {
  const { s, e } = x
  const zeroLoad = bits === 64 ? V.load64_zero : V.load32_zero
  if (s.isMemory(1)) return load(zeroLoad, V128, e.readPointer(s.memoryAddress(), bits / 8), 0)
  if (vectorBytes(x.register(1)) !== 0) return x.source(1).part(zeroLoad, V128, 0)
  return replaceLane(bits, zero(), 0, s.read(1))
}

// ---- scalars ----
/**
 * MOVSS and MOVSD: between registers the low element moves and the rest comes from the first source; from memory the rest
 * becomes 0. EVEX forms move or keep the element by bit 0 of the opmask.
 */
function scalarMove(mnemonics: string | string[], bits: 16 | 32 | 64, applies?: (d: Decoded) => boolean): void {
  const elementOnly = (element: Expr, rest: Expr): Expr => shuffle(bits, element, rest, scalarPick(bits))
  const move = (x: VectorInstruction): void => {
    const { s, e } = x
    const mask = x.mask(bits, 1)
    if (s.isMemory(0)) x.store(bits, [e.let(x.source(1).chunk(0))], bits / 8)
    else if (s.isMemory(1)) {
      const element = load(scalarLoad(bits), bits === 64 ? I64 : I32, x.elementPointer(bits, mask), 0)
      const loaded = x.mergeChunk(0, bits, 0, replaceLane(bits, zero(), 0, element), 1)
      writeWhole(x, mask === null ? loaded : elementOnly(loaded, zero()))
    } else {
      const moved = x.mergeChunk(0, bits, 0, x.source(s.d.opCount - 1).chunk(0), 1)
      writeWhole(x, elementOnly(moved, x.source(x.firstSource).chunk(0)))
    }
  }
  defineVector(mnemonics, move, applies)
}
/** Lane 0 of the first vector, the others of the second. */
export const scalarPick = (bits: Bits): number[] => Array.from({ length: 128 / bits }, (_, i) => (i === 0 ? 0 : i + 128 / bits))
const scalarLoad = (bits: 16 | 32 | 64): number => (bits === 64 ? W.i64_load : bits === 32 ? W.i32_load : W.i32_load16_u)
/** Writes 16 bytes to register operand 0 past its opmask (already applied); VEX and EVEX clear the rest. */
export function writeWhole(x: VectorInstruction, value: Expr): void {
  const register = x.register(0)
  x.e.store(V.store, x.e.fpu, registerOffset(register), value)
  if (!x.isLegacy) x.clearFrom(register, 16)
}
scalarMove(both('MOVSS'), 32)
scalarMove('VMOVSD', 64)
// iced calls the string instruction MOVSD too; that has two memory operands
scalarMove('MOVSD', 64, (d) => d.opKind[0] === OpKind.Register || d.opKind[1] === OpKind.Register)
scalarMove('VMOVSH', 16)

/** VMOVW: the low word to or from a general register or memory. */
defineVector('VMOVW', (x) => {
  const { s, e } = x
  if (s.isRegister(0) && vectorBytes(x.register(0)) !== 0) {
    const word = s.isMemory(1) ? e.loadInt(s.memoryAddress(), 16) : low(s.bitsOf(1), 32, s.read(1))
    return x.write(
      0,
      16,
      () =>
        vand(
          splat(16, word),
          lanesOf(16, (i) => (i === 0 ? -1 : 0)),
        ),
      16,
    )
  }
  const word = x.source(1).part(W.i32_load16_u, I32, 0)
  if (s.isRegister(0)) s.write(0, zeroExtend(32, s.bitsOf(0), word))
  else e.storeInt(s.memoryAddress(), 16, word)
})

// ---- halves ----
/** MOVLPS and MOVHPS: one half of the vector in memory; the other comes from the first source. */
function halfMove(mnemonics: string[], half: 0 | 1): void {
  defineVector(mnemonics, (x) => {
    const { s, e } = x
    if (s.isMemory(0)) return e.storeInt(s.memoryAddress(), 64, x.source(1).part(W.i64_load, I64, half * 8))
    const memory = x.source(s.d.opCount - 1, { bytes: 8 }).part(V.load64_zero, V128, 0)
    const other = x.source(x.firstSource).chunk(0)
    writeWhole(x, half === 0 ? shuffle(64, memory, other, [0, 3]) : shuffle(64, other, memory, [0, 2]))
  })
}
halfMove([...both('MOVLPS'), ...both('MOVLPD')], 0)
halfMove([...both('MOVHPS'), ...both('MOVHPD')], 1)
defineLanes(both('MOVHLPS'), 64, 2, (_x, a, b) => shuffle(64, b, a, [1, 3]))
defineLanes(both('MOVLHPS'), 64, 2, (_x, a, b) => shuffle(64, a, b, [0, 2]))

defineVector('MOVQ2DQ', (x) => {
  const source = x.source(1)
  writeWhole(x, source.chunk(0))
})
defineVector('MOVDQ2Q', (x) => {
  const source = x.source(1)
  x.write(0, 64, () => source.chunk(0), 8)
})

// ---- duplicated elements ----
defineLanes(both('MOVSLDUP'), 32, 1, ({ e }, a) => rearrange(32, e.let(a), [0, 0, 2, 2]), { readsAll: true })
defineLanes(both('MOVSHDUP'), 32, 1, ({ e }, a) => rearrange(32, e.let(a), [1, 1, 3, 3]), { readsAll: true })
/** MOVDDUP: even 64-bit elements. The 128-bit form reads 8 bytes of memory. */
defineVector(both('MOVDDUP'), (x) => {
  if (x.bytes === 16) {
    const low = x.source(1, { bytes: 8 }).part(V.load64_splat, V128, 0)
    return x.write(0, 64, () => low)
  }
  const source = x.source(1)
  x.write(0, 64, (c) => rearrange(64, x.e.let(source.chunk(c)), [0, 0]))
})
