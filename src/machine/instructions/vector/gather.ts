import { Register } from '../../decoder/iced-tables.ts'
import { OPMASK } from '../../memory-map.ts'
import { loadInt, storeOp } from '../../translate/emitter.ts'
import { and, type Bits, binary, type Expr, i32, i64, load } from '../../translate/expr.ts'
import { SHR_S, shiftLanes } from '../../translate/lanes.ts'
import { registerOffset, type VectorInstruction } from '../../translate/vector-operands.ts'
import { ElementMask } from '../../translate/write-mask.ts'
import { I32, I64, V, V128, W } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'
import { elementBits } from './forms.ts'

/**
 * Gathers and scatters, element by element from the lowest. Each element done clears its mask bit, so that after a fault the
 * instruction goes on where it was (SDM Vol. 2C, VPGATHERDD: "partially updated").
 */

const plus = (a: Expr, b: Expr): Expr => binary(W.i32_add, I32, a, b)
const scaled = (element: Expr, bits: Bits): Expr => binary(W.i32_shl, I32, element, i32(Math.log2(bits / 8)))

/** Elements: as many as fit both the data and the index operand. */
const elementCount = (x: VectorInstruction, indexBits: Bits, dataBits: Bits, dataOperand: number): number =>
  Math.min((vectorBytesOf(x.register(dataOperand)) * 8) / dataBits, (vectorBytesOf(x.s.d.memoryIndex) * 8) / indexBits)
const vectorBytesOf = (register: number): number => (register >= Register.ZMM0 ? 64 : register >= Register.YMM0 ? 32 : 16)

/** Linear address of an element: base + displacement + index * scale, in the address size. */
function addressOf(x: VectorInstruction, base: Expr, indexBits: Bits, element: Expr): Expr {
  const { s, e } = x
  const at = registerOffset(s.d.memoryIndex)
  const place = plus(e.fpu, scaled(element, indexBits))
  const index = load(indexBits === 64 ? W.i64_load : W.i64_load32_s, I64, place, at)
  const sum = binary(W.i64_add, I64, base, binary(W.i64_shl, I64, index, i64(Math.log2(s.d.memoryScale))))
  const bits = s.addressBits()
  const effective = bits === 64 ? sum : and(64, sum, i64(bits === 32 ? -1 : 0xffff, 0))
  return e.let(s.linear(effective, s.d.memorySegment))
}

/** The mask bit of an element that is done. */
function clearOpmaskBit(x: VectorInstruction, element: Expr): void {
  const { e } = x
  const at = OPMASK + x.s.d.opMask * 8
  const bit = binary(W.i32_shl, I32, i32(1), element)
  e.store(W.i32_store, e.fpu, at, and(32, load(W.i32_load, I32, e.fpu, at), binary(W.i32_xor, I32, bit, i32(-1))))
}
function clearOpmask(x: VectorInstruction): void {
  x.e.store(W.i64_store, x.e.fpu, OPMASK + x.s.d.opMask * 8, i64(0))
}

function gather(mnemonic: string, indexBits: Bits, bits: Bits): void {
  defineVector(mnemonic, (x) => {
    const { s, e } = x
    const count = elementCount(x, indexBits, bits, 0)
    const base = e.let(s.effectiveAddress())
    const done = x.isEvex ? (element: Expr) => clearOpmaskBit(x, element) : (element: Expr) => clearVectorMask(x, bits, element)
    const mask = x.isEvex ? x.mask(bits, count)! : vectorMask(x, bits, count)
    mask.forEach((element) => {
      const from = e.readPointer(addressOf(x, base, indexBits, element), bits / 8)
      e.store(storeOp(bits), plus(e.fpu, scaled(element, bits)), registerOffset(x.register(0)), loadInt(from, bits))
      done(element)
    })
    finishGather(x, (count * bits) / 8)
  })
}
/** The upper part of the destination and the whole mask become 0. */
function finishGather(x: VectorInstruction, bytes: number): void {
  const { e } = x
  if (bytes < 16) e.store(W.i64_store, e.fpu, registerOffset(x.register(0)) + 8, i64(0))
  x.clearFrom(x.register(0), Math.max(16, bytes))
  if (x.isEvex) clearOpmask(x)
  else x.clearFrom(x.register(2), 0)
}

// ---- VEX: the mask is a vector of which the top bits count ----
function vectorMask(x: VectorInstruction, bits: Bits, count: number): ElementMask {
  const { e } = x
  const chunks = Math.max(1, (count * bits) >> 7)
  const source = x.source(2)
  const selected = elementBits(bits, chunks, (c) => source.chunk(c))
  const mask = new ElementMask(e, e.let(and(32, selected, i32((1 << count) - 1))), bits, count)
  // a fault in the middle leaves all ones or all zeros in the mask's elements
  const at = registerOffset(x.register(2))
  for (let c = 0; c < chunks; c++)
    e.store(V.store, e.fpu, at + c * 16, shiftLanes(SHR_S[bits], load(V.load, V128, e.fpu, at + c * 16), bits - 1))
  return mask
}
function clearVectorMask(x: VectorInstruction, bits: Bits, element: Expr): void {
  const { e } = x
  e.store(storeOp(bits), plus(e.fpu, scaled(element, bits)), registerOffset(x.register(2)), bits === 64 ? i64(0) : i32(0))
}

function scatter(mnemonic: string, indexBits: Bits, bits: Bits): void {
  defineVector(mnemonic, (x) => {
    const { s, e } = x
    const count = elementCount(x, indexBits, bits, 1)
    const base = e.let(s.effectiveAddress())
    x.mask(bits, count)!.forEach((element) => {
      const value = e.let(loadInt(plus(e.fpu, scaled(element, bits)), bits, registerOffset(x.register(1))))
      e.storeInt(addressOf(x, base, indexBits, element), bits, value)
      clearOpmaskBit(x, element)
    })
    clearOpmask(x)
  })
}

for (const [index, indexBits] of [
  ['D', 32],
  ['Q', 64],
] as [string, Bits][]) {
  for (const [data, bits] of [
    ['D', 32],
    ['Q', 64],
    ['PS', 32],
    ['PD', 64],
  ] as [string, Bits][]) {
    const prefix = data.length === 2 ? 'V' : 'VP'
    gather(`${prefix}GATHER${index}${data}`, indexBits, bits)
    scatter(`${prefix}SCATTER${index}${data}`, indexBits, bits)
  }
}
