import { define } from '../../translate/definitions.ts'
import type { Emitter } from '../../translate/emitter.ts'
import { storeOp } from '../../translate/emitter.ts'
import {
  add,
  and,
  type Bits,
  binary,
  type Expr,
  eq,
  eqz,
  gtU,
  i32,
  i64,
  ltU,
  mul,
  select,
  shrU,
  sub,
  wrap,
  zeroExtend,
} from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { I32, W } from '../../wasm/opcodes.ts'
import { ACCUMULATOR } from './multiply.ts'
import { isStringForm, StringSite } from './string.ts'

const RCX = 1
const RSI = 6
const RDI = 7
const PAGE = 4096

// MOVS and STOS. With a repeat prefix and DF clear, as many elements as lie in the pages at hand are done at once when both
// pages are in the software TLB; else one element the ordinary way, which faults or brings its page in.

const minimum = (e: Emitter, a: Expr, b: Expr): Expr => e.let(select(ltU(32, a, b), a, b))

/** Elements from this address (a leaf) to the end of its page, i32 leaf. */
function elementsInPage(string: StringSite, address: Expr): Expr {
  const left = sub(32, i32(PAGE), and(32, wrap(address), i32(PAGE - 1)))
  return string.s.e.let(shrU(32, left, i32(Math.log2(string.bytes))))
}

/** The count register (an i64 leaf) as far as a page can need it. */
const boundedCount = (e: Emitter, count: Expr): Expr => e.let(select(gtU(64, count, i64(PAGE)), i32(PAGE), wrap(count)))

/** Limits `n` to the page of an index: of its linear address, and of the register itself, which may wrap. */
function limitTo(string: StringSite, n: Expr, index: number, linear: Expr): Expr {
  const e = string.s.e
  const inPage = minimum(e, n, elementsInPage(string, linear))
  return string.addressBits === 64 ? inPage : minimum(e, inPage, elementsInPage(string, string.register(index)))
}

/** Registers after `n` elements (a leaf) going up. */
function advance(string: StringSite, n: Expr, indices: number[]): void {
  const e = string.s.e
  const bytes = e.let(zeroExtend(32, 64, mul(32, n, i32(string.bytes))))
  for (const index of indices) string.addTo(index, bytes)
  string.addTo(RCX, sub(64, i64(0), zeroExtend(32, 64, n)))
}

function copyInPage(string: StringSite, count: Expr, again: number, scalar: number): void {
  const e = string.s.e
  e.brIf(scalar, string.oneByOne())
  const from = string.sourceAddress()
  const to = string.destinationAddress()
  const source = e.pointerIfMapped(from, false)
  e.brIf(scalar, eqz(32, source))
  const destination = e.pointerIfMapped(to, true)
  e.brIf(scalar, eqz(32, destination))
  let n = limitTo(string, limitTo(string, boundedCount(e, count), RSI, from), RDI, to)
  // A destination a little above the source repeats what was copied before: only up to there at once.
  const distance = e.let(sub(32, destination, source))
  const repeats = and(32, ltU(32, distance, mul(32, n, i32(string.bytes))), gtU(32, distance, i32(0)))
  n = e.let(select(repeats, shrU(32, distance, i32(Math.log2(string.bytes))), n))
  e.brIf(scalar, eqz(32, n))
  e.memoryCopy(destination, source, mul(32, n, i32(string.bytes)))
  advance(string, n, [RSI, RDI])
  e.br(again)
}

function movs(s: InstructionSite): void {
  const string = new StringSite(s)
  const one = () => {
    const value = s.e.loadInt(string.sourceAddress(), string.bits)
    s.e.storeInt(string.destinationAddress(), string.bits, value)
    string.addTo(RSI, string.step)
    string.addTo(RDI, string.step)
  }
  string.repeat(one, (count, again, scalar) => copyInPage(string, count, again, scalar))
}

/** Whether all bytes of the value (a leaf) are equal, i32. */
function isOneByteRepeated(bits: Bits, value: Expr): Expr {
  if (bits === 64) return eq(64, value, binary(W.i64_mul, value.type, and(64, value, i64(0xff)), i64(0x01010101, 0x01010101)))
  return eq(32, value, binary(W.i32_mul, I32, and(32, value, i32(0xff)), i32(bits === 32 ? 0x01010101 : 0x0101)))
}

function fillInPage(string: StringSite, value: Expr, count: Expr, again: number, scalar: number): void {
  const e = string.s.e
  e.brIf(scalar, string.oneByOne())
  const to = string.destinationAddress()
  const destination = e.pointerIfMapped(to, true)
  e.brIf(scalar, eqz(32, destination))
  const n = limitTo(string, boundedCount(e, count), RDI, to)
  e.brIf(scalar, eqz(32, n))
  const bytes = e.let(mul(32, n, i32(string.bytes)))
  const fill = () => e.memoryFill(destination, string.bits === 64 ? wrap(value) : value, bytes)
  if (string.bits === 8) fill()
  else e.if(isOneByteRepeated(string.bits, value), fill, () => storeEach(string, destination, value, bytes))
  advance(string, n, [RDI])
  e.br(again)
}

function storeEach(string: StringSite, destination: Expr, value: Expr, bytes: Expr): void {
  const e = string.s.e
  const at = e.variable(destination)
  const end = e.let(add(32, destination, bytes))
  e.loop((next) => {
    e.store(storeOp(string.bits), at, 0, value)
    e.assign(at, add(32, at, i32(string.bytes)))
    e.brIf(next, ltU(32, at, end))
  })
}

function stos(s: InstructionSite): void {
  const string = new StringSite(s)
  const value = s.readGpr(ACCUMULATOR[string.bits])
  const one = () => {
    s.e.storeInt(string.destinationAddress(), string.bits, value)
    string.addTo(RDI, string.step)
  }
  string.repeat(one, (count, again, scalar) => fillInPage(string, value, count, again, scalar))
}

for (const size of ['B', 'W', 'D', 'Q']) {
  define(`MOVS${size}`, movs, isStringForm)
  define(`STOS${size}`, stos)
}
