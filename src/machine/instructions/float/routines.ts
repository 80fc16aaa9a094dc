import { FLOAT_OP } from '../../float/float-unit.ts'
import { FLOAT_FAST, FLOAT_SCRATCH } from '../../memory-map.ts'
import { callOutId } from '../../translate/call-outs.ts'
import { Emitter, FIRST_TEMP, FN_FLOAT_ATTEMPT, FN_FLOAT_COMPLETE } from '../../translate/emitter.ts'
import { and, type Expr, eq, i32, load, local, or, select, shl, shrU } from '../../translate/expr.ts'
import { topBits, zero } from '../../translate/lanes.ts'
import { CodeBuffer } from '../../wasm/code.ts'
import { I32, V, V128, W, type WasmType } from '../../wasm/opcodes.ts'
import type { LaneTest, Native } from './forms.ts'
import type { NativeBits } from './lanes.ts'
import { LANES_SHIFT, SIZE_SHIFT, SLOT_BYTES, SLOT_RESULT } from './slow-path.ts'

/**
 * Native operations that many instructions share, as routines of one WebAssembly module: they make all the tests for which
 * there is no room in place, and know exact results, for which MXCSR does not matter.
 *
 *   attempt(ctx, fpu, info, a, b, c, argument) -> (result, 0 or 1: it is right)
 *   complete(ctx, fpu, info, a, b, c, argument) -> (result, 0 or a fault that was raised): takes the slow path itself
 *
 * `argument` is that of the slow path (slowArgument).
 */

const shared = new Map<number, Native>()
/** Makes routines of a native operation. */
export function share(op: number, native: Native): Native {
  shared.set(op, native)
  return native
}
/** Whether `op` has routines; they know no embedded rounding. */
export const isShared = (op: number, control: number): boolean => control === 0 && shared.has(op)

// ---- calls from compiled code ----
type Operands = readonly [Expr, Expr, Expr]

function writeCall(e: Emitter, fn: number, result: Expr, operands: Operands, argument: number): Expr {
  for (const value of [e.ctx, e.fpu, i32(e.instructionInfo), ...operands, i32(argument)]) e.eval(value)
  const status = local(e.temp(I32), I32)
  e.code.byte(W.call)
  e.code.u32(fn)
  for (const { lo } of [status, result]) {
    e.code.byte(W.local_set)
    e.code.u32(lo)
  }
  return status
}
/** Sets `result`; i32: it is right. */
export const callAttempt = (e: Emitter, result: Expr, operands: Operands, argument: number): Expr =>
  writeCall(e, FN_FLOAT_ATTEMPT, result, operands, argument)
/** Sets `result`, or leaves with the fault that was raised. */
export function callComplete(e: Emitter, result: Expr, operands: Operands, argument: number): void {
  e.brIf(e.faultDepth, writeCall(e, FN_FLOAT_COMPLETE, result, operands, argument))
}

// ---- the module ----
const INFO = local(2, I32)
const OPERANDS: Operands = [local(3, V128), local(4, V128), local(5, V128)]
const ARGUMENT = local(6, I32)
const PARAMETERS: WasmType[] = [I32, I32, I32, V128, V128, V128, I32]
const ASSIST = 0
const ATTEMPT = 1

/** Cases are FLOAT_OP and element size: bit 0 is set for 64 bits. Each native operation has a function, after the first three. */
const CASES = (Math.max(...Object.values(FLOAT_OP)) + 1) << 1
const FIRST_CASE = 3

/** Calls the case's function. */
function attemptBody(): CodeBuffer {
  return functionBody((e) => {
    for (let i = 0; i <= CASES; i++) e.openBlock()
    e.eval(or(32, and(32, shl(32, ARGUMENT, i32(1)), i32(0x1fe)), and(32, shrU(32, ARGUMENT, i32(SIZE_SHIFT + 1)), i32(1))))
    e.code.byte(W.br_table)
    e.code.u32(CASES)
    for (let i = 0; i <= CASES; i++) e.code.u32(shared.has(i >> 1) ? i : CASES)
    let fn = FIRST_CASE
    for (let i = 0; i <= CASES; i++) {
      e.end()
      if (shared.has(i >> 1)) {
        for (const parameter of allParameters(e)) e.eval(parameter)
        e.code.byte(W.call)
        e.code.u32(fn++)
        e.code.byte(W.return)
      }
    }
    e.eval(zero())
    e.eval(i32(0))
  })
}
const allParameters = (e: Emitter): Expr[] => [e.ctx, e.fpu, INFO, ...OPERANDS, ARGUMENT]

/** One operation: its native result, and whether it is right. */
const caseBody = (native: Native, bits: NativeBits): CodeBuffer => functionBody((e) => attemptOne(e, native, bits))

function attemptOne(e: Emitter, native: Native, bits: NativeBits): void {
  const way = { e, bits }
  const result = e.let(native.result(way, ...OPERANDS))
  const wanted = e.let(
    select(eq(32, and(32, shrU(32, ARGUMENT, i32(LANES_SHIFT)), i32(63)), i32(1)), i32(1), i32((1 << (128 / bits)) - 1)),
  )
  const holds = (test: LaneTest): Expr => eq(32, and(32, topBits(bits, test(way, result, ...OPERANDS)), wanted), wanted)
  const returnIf = (condition: Expr): void =>
    e.if(condition, () => {
      e.eval(result)
      e.eval(i32(1))
      e.code.byte(W.return)
    })
  const thorough = holds(native.tests[native.tests.length - 1])
  returnIf(native.control === 'rounds' ? and(32, load(W.i32_load, I32, e.fpu, FLOAT_FAST), thorough) : thorough)
  if (native.exact !== undefined) returnIf(holds(native.exact))
  e.eval(result)
  e.eval(i32(0))
}

function completeBody(): CodeBuffer {
  return functionBody((e) => {
    const result = local(e.temp(V128), V128)
    for (const parameter of allParameters(e)) e.eval(parameter)
    e.code.byte(W.call)
    e.code.u32(ATTEMPT)
    const isRight = local(e.temp(I32), I32)
    for (const { lo } of [isRight, result]) {
      e.code.byte(W.local_set)
      e.code.u32(lo)
    }
    e.if(isRight, () => {
      e.eval(result)
      e.eval(i32(0))
      e.code.byte(W.return)
    })
    for (const [slot, operand] of OPERANDS.entries()) e.store(V.store, e.fpu, FLOAT_SCRATCH + slot * SLOT_BYTES, operand)
    for (const value of [e.ctx, i32(callOutId('float')), ARGUMENT, INFO]) e.eval(value)
    e.code.byte(W.call)
    e.code.u32(ASSIST)
    e.code.byte(W.local_set)
    e.code.u32(isRight.lo)
    e.eval(load(V.load, V128, e.fpu, FLOAT_SCRATCH + SLOT_RESULT))
    e.eval(isRight)
  })
}

/** Locals, code and end of a function with PARAMETERS; the emitter's numbering of locals is that of a region. */
function functionBody(write: (e: Emitter) => void): CodeBuffer {
  const e = new Emitter()
  e.reset()
  write(e)
  const body = new CodeBuffer(4096)
  body.u32(1 + e.temporaries.length)
  body.u32(FIRST_TEMP - PARAMETERS.length)
  body.byte(I32)
  for (const type of e.temporaries) {
    body.u32(1)
    body.byte(type)
  }
  body.append(e.code.view())
  body.byte(W.end)
  return body
}

function moduleBytes(): Uint8Array<ArrayBuffer> {
  const out = new CodeBuffer(16384)
  for (const byte of [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) out.byte(byte)
  const section = (id: number, bytes: readonly number[]): void => {
    const contents = new CodeBuffer(128)
    for (const byte of bytes) contents.byte(byte)
    out.section(id, contents)
  }
  const name = (text: string): number[] => [text.length, ...Array.from(text, (c) => c.charCodeAt(0))]
  section(1, [2, 0x60, 4, I32, I32, I32, I32, 1, I32, 0x60, PARAMETERS.length, ...PARAMETERS, 2, V128, I32])
  section(2, [2, ...name('m'), ...name('assist'), 0, 0, ...name('m'), ...name('memory'), 2, 0, 1])
  const bodies = [attemptBody(), completeBody()]
  for (let i = 0; i < CASES; i++) {
    const native = shared.get(i >> 1)
    if (native !== undefined) bodies.push(caseBody(native, i & 1 ? 64 : 32))
  }
  section(3, [bodies.length, ...bodies.map(() => 1)])
  section(7, [2, ...name('floatAttempt'), 0, ATTEMPT, ...name('floatComplete'), 0, ATTEMPT + 1])
  const code = new CodeBuffer(16384)
  code.u32(bodies.length)
  for (const body of bodies) {
    code.u32(body.length)
    code.append(body.view())
  }
  out.section(10, code)
  return out.bytes.slice(0, out.length)
}

let compiled: WebAssembly.Module | undefined

/** The routines for one machine, as imports of its regions. */
export function floatRoutines(
  memory: WebAssembly.Memory,
  assist: (ctx: number, id: number, argument: number, info: number) => number,
): WebAssembly.ModuleImports {
  compiled ??= new WebAssembly.Module(moduleBytes())
  return new WebAssembly.Instance(compiled, { m: { memory, assist } }).exports as unknown as WebAssembly.ModuleImports
}
