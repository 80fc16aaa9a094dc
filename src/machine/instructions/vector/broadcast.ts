import { Register } from '../../decoder/iced-tables.ts'
import { OPMASK } from '../../memory-map.ts'
import { type Bits, binary, type Expr, i32, load, low, unary } from '../../translate/expr.ts'
import { LOAD_SPLAT, splat } from '../../translate/lanes.ts'
import { MaskedMemory } from '../../translate/masked-memory.ts'
import { type VectorInstruction, VectorSource, vectorBytes } from '../../translate/vector-operands.ts'
import { ElementMask } from '../../translate/write-mask.ts'
import { I32, I64, V, V128, W } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'

/** One element of a register or memory in every lane. */
function broadcast(mnemonic: string, bits: Bits): void {
  defineVector(mnemonic, (x) => {
    const value = x.e.let(elementEverywhere(x, bits))
    x.write(0, bits, () => value)
  })
}
function elementEverywhere(x: VectorInstruction, bits: Bits): Expr {
  const { s } = x
  if (s.isMemory(1)) return load(LOAD_SPLAT[bits], V128, x.elementPointer(bits, x.mask(bits)), 0)
  if (vectorBytes(x.register(1)) !== 0) return x.source(1).part(LOAD_SPLAT[bits], V128, 0)
  const from = s.bitsOf(1)
  return splat(bits, from === bits ? s.read(1) : low(from, bits, s.read(1)))
}
broadcast('VPBROADCASTB', 8)
broadcast('VPBROADCASTW', 16)
broadcast('VPBROADCASTD', 32)
broadcast('VPBROADCASTQ', 64)
broadcast('VBROADCASTSS', 32)
broadcast('VBROADCASTSD', 64)

/** A group of `groupBytes` repeated; masked-off elements of memory are read only if another repetition of them is selected. */
function broadcastGroup(mnemonic: string, bits: Bits, groupBytes: 8 | 16 | 32): void {
  defineVector(mnemonic, (x) => {
    const source = groupSource(x, bits, groupBytes)
    if (groupBytes === 8) {
      const value = x.e.let(source.part(V.load64_splat, V128, 0))
      return x.write(0, bits, () => value)
    }
    const kept = x.keep((c) => source.chunk(c), groupBytes / 16)
    x.write(0, bits, (c) => kept[c % kept.length])
  })
}
function groupSource(x: VectorInstruction, bits: Bits, groupBytes: number): VectorSource {
  const mask = x.mask(bits)
  if (!x.s.isMemory(1) || mask === null) return x.source(1, { bytes: groupBytes })
  const count = (groupBytes * 8) / bits
  let folded = mask.bits
  for (let width = mask.count / 2; width >= count; width /= 2) {
    folded = x.e.let(binary(W.i32_or, I32, folded, binary(W.i32_shr_u, I32, folded, i32(width))))
  }
  const used = x.e.let(binary(W.i32_and, I32, folded, i32((1 << count) - 1)))
  const memory = new MaskedMemory(x.e, x.s.memoryAddress(), new ElementMask(x.e, used, bits, count))
  return new VectorSource(memory.readPointer(), 0, groupBytes)
}
broadcastGroup('VBROADCASTF128', 32, 16)
broadcastGroup('VBROADCASTI128', 32, 16)
for (const kind of ['F', 'I']) {
  broadcastGroup(`VBROADCAST${kind}32X2`, 32, 8)
  broadcastGroup(`VBROADCAST${kind}32X4`, 32, 16)
  broadcastGroup(`VBROADCAST${kind}32X8`, 32, 32)
  broadcastGroup(`VBROADCAST${kind}64X2`, 64, 16)
  broadcastGroup(`VBROADCAST${kind}64X4`, 64, 32)
}

/** An opmask register's low byte or word, zero-extended, in every element. */
for (const [mnemonic, bits, wasm] of [
  ['VPBROADCASTMB2Q', 64, W.i32_load8_u],
  ['VPBROADCASTMW2D', 32, W.i32_load16_u],
] as [string, Bits, number][]) {
  defineVector(mnemonic, (x) => {
    const value = load(wasm, I32, x.e.fpu, OPMASK + (x.register(1) - Register.K0) * 8)
    const lanes = x.e.let(splat(bits, bits === 64 ? unary(W.i64_extend_i32_u, I64, value) : value))
    x.write(0, bits, () => lanes)
  })
}
