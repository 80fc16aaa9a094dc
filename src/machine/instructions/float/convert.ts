import { CONVERT_IGNORE_DENORMAL, CONVERT_TRUNCATE, conversion } from '../../float/float-unit.ts'
import { binary, type Expr, eqz, i32, unary } from '../../translate/expr.ts'
import { extractLane, splat } from '../../translate/lanes.ts'
import { isMmx, type VectorInstruction } from '../../translate/vector-operands.ts'
import { I32, I64, W } from '../../wasm/opcodes.ts'
import { defineVector } from '../vector/available.ts'
import { type Element, FLOAT16, FLOAT32, FLOAT64, INT16, INT32, INT64, UINT16, UINT32, UINT64 } from './elements.ts'
import type { NativeBits } from './lanes.ts'
import { type NativeConversion, nativeConversion } from './native-convert.ts'
import { elementsOf, readPacked, readScalar, writePacked, writeScalar } from './operands.ts'
import { allLanes, attempt, chunksFor, controlOf, roundsNatively, runSlow, slowResult } from './operation.ts'
import { CONTROL_EMBEDDED, CONTROL_ROUNDING, CONTROL_SAE } from './slow-path.ts'

/** CVT* and CVTT*. SDM Vol. 2. */

/** Result chunks (kept) of converting the first `lanes` elements of the source chunks. */
function convert(
  x: VectorInstruction,
  from: Element,
  to: Element,
  lanes: number,
  source: Expr[],
  modifiers: number,
  control = controlOf(x),
): Expr[] {
  const { e } = x
  const mask = x.isMasked ? x.mask(to.bits, lanes)!.bits : null
  const shape = { bits: 32 as const, lanes, masked: mask !== null, control }
  const slow = { assist: 'float-convert', what: conversion(from.type, to.type, modifiers), operands: [source], shape, mask }
  const chunks = Array.from({ length: chunksFor(to.bits, lanes) }, (_, c) => c)
  const native = nativeConversion(from, to, (modifiers & CONVERT_TRUNCATE) !== 0)
  const good = native === null ? null : conditions(x, native, from.bits as NativeBits, lanes, source)
  if (native === null || good === null) {
    runSlow(e, slow)
    return chunks.map((c) => e.let(slowResult(e, c)))
  }
  const results = chunks.map((c) => e.variable(native.result(e, source, c, lanes)))
  attempt(e, { ...slow, results, good })
  return results
}

/** i32 conditions for the native result, cheapest first; null: never. */
function conditions(
  x: VectorInstruction,
  { rounds, right, exact }: NativeConversion,
  bits: NativeBits,
  lanes: number,
  source: Expr[],
): (() => Expr)[] | null {
  const { e } = x
  const rightLanes = right === null ? null : (control?: Expr) => allLanes(bits, lanes, source.map(right), control)
  if (!rounds) return rightLanes === null ? [] : [() => rightLanes()]
  const found: (() => Expr)[] = []
  const control = roundsNatively(x)
  if (control !== null) found.push(rightLanes === null ? control : () => rightLanes(control()))
  if (exact !== null)
    found.push(() =>
      allLanes(
        bits,
        lanes,
        source.map((a) => exact(e, a)),
      ),
    )
  return found.length === 0 ? null : found
}

// ---- packed ----
function packed(mnemonics: string | string[], from: Element, to: Element, modifiers = 0): void {
  defineVector(mnemonics, (x) => {
    // The operand with the wider elements fills the vector.
    const lanes = to.bits >= from.bits ? elementsOf(x, 0, to.bits) : elementsOf(x, 1, from.bits)
    const source = readPacked(x, 1, from.bits, lanes)
    const result = convert(x, from, to, lanes, source, modifiers)
    if (isMmx(x.register(0))) x.write(0, 32, () => result[0], 8)
    else writePacked(x, to.bits, lanes, result)
  })
}
const both = (legacy: string): string[] => [legacy, `V${legacy}`]
const T = CONVERT_TRUNCATE
packed(both('CVTDQ2PS'), INT32, FLOAT32)
packed(both('CVTDQ2PD'), INT32, FLOAT64)
packed(both('CVTPS2DQ'), FLOAT32, INT32)
packed(both('CVTTPS2DQ'), FLOAT32, INT32, T)
packed(both('CVTPD2DQ'), FLOAT64, INT32)
packed(both('CVTTPD2DQ'), FLOAT64, INT32, T)
packed(both('CVTPS2PD'), FLOAT32, FLOAT64)
packed(both('CVTPD2PS'), FLOAT64, FLOAT32)
packed('VCVTPH2PS', FLOAT16, FLOAT32, CONVERT_IGNORE_DENORMAL)
for (const [suffix, integer] of [
  ['UDQ', UINT32],
  ['QQ', INT64],
  ['UQQ', UINT64],
] as [string, Element][]) {
  for (const [name, float] of [
    ['PS', FLOAT32],
    ['PD', FLOAT64],
  ] as [string, Element][]) {
    packed(`VCVT${name}2${suffix}`, float, integer)
    packed(`VCVTT${name}2${suffix}`, float, integer, T)
    packed(`VCVT${suffix}2${name}`, integer, float)
  }
}
// AVX512-FP16
packed('VCVTPH2PSX', FLOAT16, FLOAT32)
packed('VCVTPS2PHX', FLOAT32, FLOAT16)
packed('VCVTPH2PD', FLOAT16, FLOAT64)
packed('VCVTPD2PH', FLOAT64, FLOAT16)
for (const [suffix, integer] of [
  ['W', INT16],
  ['UW', UINT16],
  ['DQ', INT32],
  ['UDQ', UINT32],
  ['QQ', INT64],
  ['UQQ', UINT64],
] as [string, Element][]) {
  packed(`VCVTPH2${suffix}`, FLOAT16, integer)
  packed(`VCVTTPH2${suffix}`, FLOAT16, integer, T)
  packed(`VCVT${suffix}2PH`, integer, FLOAT16)
}

/**
 * VCVTPS2PH: immediate bits 1:0 round, or MXCSR with bit 2; register or memory destination. Memory is checked before the
 * conversion, whose exceptions a page fault leaves unreported.
 */
defineVector('VCVTPS2PH', (x) => {
  const { s } = x
  const lanes = elementsOf(x, 1, 32)
  const imm = x.immediate
  const bytes = lanes * 2
  if (s.isMemory(0)) checkDestination(x, lanes)
  const sae = controlOf(x) === CONTROL_SAE
  const control = imm & 4 ? controlOf(x) : (sae ? CONTROL_EMBEDDED : CONTROL_ROUNDING) | (imm & 3)
  const result = convert(x, FLOAT32, FLOAT16, lanes, readPacked(x, 1, 32, lanes), 0, control)
  if (s.isMemory(0)) x.store(16, result, bytes)
  else writePacked(x, 16, lanes, result)
})

/** Faults unless the selected 16-bit elements can be written. */
function checkDestination(x: VectorInstruction, lanes: number): void {
  const { s, e } = x
  const linear = s.memoryAddress()
  const mask = x.mask(16, lanes)
  if (mask === null) return void e.modifyPointer(linear, lanes * 2)
  e.if(eqz(32, e.writePointerIfReady(linear, lanes * 2)), () =>
    mask.forEach((element) => {
      const offset = unary(W.i64_extend_i32_u, I64, binary(W.i32_shl, I32, element, i32(1)))
      e.modifyPointer(binary(W.i64_add, I64, linear, offset), 2)
    }),
  )
}

// ---- with MMX registers ----
packed('CVTPI2PD', INT32, FLOAT64)
packed('CVTPS2PI', FLOAT32, INT32)
packed('CVTTPS2PI', FLOAT32, INT32, T)
packed('CVTPD2PI', FLOAT64, INT32)
packed('CVTTPD2PI', FLOAT64, INT32, T)
/** CVTPI2PS: the upper half of the destination stays. */
defineVector('CVTPI2PS', (x) => writeScalar(x, 64, 0, convert(x, INT32, FLOAT32, 2, readPacked(x, 1, 32, 2), 0)[0]))

// ---- scalars ----
const integerOf = (bits: number, signed: boolean): Element => (bits === 64 ? (signed ? INT64 : UINT64) : signed ? INT32 : UINT32)

/** CVTSD2SI and the like: element 0 to a general register. */
function toRegister(mnemonics: string | string[], from: Element, signed: boolean, modifiers: number): void {
  defineVector(mnemonics, (x) => {
    const { s } = x
    const bits = s.bitsOf(0) as 32 | 64
    const result = convert(x, from, integerOf(bits, signed), 1, [readScalar(x, 1, from.bits)], modifiers)
    s.write(0, extractLane(bits, result[0], 0))
  })
}
/** CVTSI2SD and the like: a general register or integer in memory to element 0. */
function fromRegister(mnemonics: string | string[], to: Element, signed: boolean): void {
  defineVector(mnemonics, (x) => {
    const { s, e } = x
    const last = s.d.opCount - 1
    const bits = s.bitsOf(last) as 32 | 64
    const source = e.let(splat(bits, s.read(last)))
    writeScalar(x, to.bits, x.firstSource, convert(x, integerOf(bits, signed), to, 1, [source], 0)[0])
  })
}
/** CVTSD2SS and the like. */
function betweenScalars(mnemonics: string | string[], from: Element, to: Element): void {
  defineVector(mnemonics, (x) => {
    const source = readScalar(x, x.s.d.opCount - 1, from.bits)
    writeScalar(x, to.bits, x.firstSource, convert(x, from, to, 1, [source], 0)[0])
  })
}
for (const [suffix, float] of [
  ['SS', FLOAT32],
  ['SD', FLOAT64],
  ['SH', FLOAT16],
] as [string, Element][]) {
  const names = (legacy: string): string[] => (float === FLOAT16 ? [`V${legacy}`] : both(legacy))
  toRegister(names(`CVT${suffix}2SI`), float, true, 0)
  toRegister(names(`CVTT${suffix}2SI`), float, true, T)
  toRegister(`VCVT${suffix}2USI`, float, false, 0)
  toRegister(`VCVTT${suffix}2USI`, float, false, T)
  fromRegister(names(`CVTSI2${suffix}`), float, true)
  fromRegister(`VCVTUSI2${suffix}`, float, false)
}
betweenScalars(both('CVTSD2SS'), FLOAT64, FLOAT32)
betweenScalars(both('CVTSS2SD'), FLOAT32, FLOAT64)
betweenScalars('VCVTSD2SH', FLOAT64, FLOAT16)
betweenScalars('VCVTSH2SD', FLOAT16, FLOAT64)
betweenScalars('VCVTSS2SH', FLOAT32, FLOAT16)
betweenScalars('VCVTSH2SS', FLOAT16, FLOAT32)
