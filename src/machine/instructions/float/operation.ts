import { RoundingControl } from '../../decoder/iced-tables.ts'
import { FLOAT_FAST, FLOAT_SCRATCH, MXCSR } from '../../memory-map.ts'
import { callOutId } from '../../translate/call-outs.ts'
import type { Emitter } from '../../translate/emitter.ts'
import { add, and, type Expr, eq, eqz, i32, load } from '../../translate/expr.ts'
import { topBits, vand } from '../../translate/lanes.ts'
import type { VectorInstruction } from '../../translate/vector-operands.ts'
import { I32, V, V128, W } from '../../wasm/opcodes.ts'
import type { FloatBits, NativeBits } from './lanes.ts'
import {
  CONTROL_EMBEDDED,
  CONTROL_MXCSR,
  CONTROL_SAE,
  SLOT_BYTES,
  SLOT_MASK,
  SLOT_RESULT,
  type SlowShape,
  slowArgument,
} from './slow-path.ts'

/**
 * How native results come to be used. WebAssembly arithmetic rounds to nearest, knows no flags and leaves NaN bits open, so
 * a native result counts only if tests on operands and result show that the processor's is the same and that no exception
 * flag would change. The tests stand in a list, cheapest first; when all fail the operation runs in TypeScript
 * (slow-path.ts). What the tests have to rule out:
 *
 *   NaN results, infinities (OE, ZE) and results that may be tiny (UE, FTZ): by the magnitude of the result
 *   denormal operands (DE, DAZ): by the magnitude of the operands
 *   inexact results (PE), other rounding, unmasked exceptions: by FLOAT_FAST, or by showing that the result is exact
 */
export interface Attempt {
  /** Variables with the native results, one for each chunk of 16 bytes. */
  results: Expr[]
  /** i32 conditions under which they are right. Empty: always. */
  good: (() => Expr)[]
  /** Call-out and its low argument bits. */
  assist: string
  what: number
  /** Leaves: chunks of the operands A, B, C. */
  operands: Expr[][]
  shape: SlowShape
  /** Leaf of the write mask, counted when the shape is masked. */
  mask: Expr | null
}

export function attempt(e: Emitter, a: Attempt): void {
  if (a.good.length > 0) tryNext(e, a, 0)
}
function tryNext(e: Emitter, a: Attempt, test: number): void {
  if (test === a.good.length) {
    runSlow(e, a)
    for (const [c, result] of a.results.entries()) e.assign(result, slowResult(e, c))
  } else e.if(eqz(32, a.good[test]()), () => tryNext(e, a, test + 1))
}

/** The operation in TypeScript; results: `slowResult`. */
export function runSlow(e: Emitter, a: Omit<Attempt, 'results' | 'good'>): void {
  for (const [slot, chunks] of a.operands.entries()) {
    for (const [c, chunk] of chunks.entries()) e.store(V.store, e.fpu, FLOAT_SCRATCH + slot * SLOT_BYTES + c * 16, chunk)
  }
  if (a.mask !== null) e.store(W.i32_store, e.fpu, FLOAT_SCRATCH + SLOT_MASK, a.mask)
  e.assist(callOutId(a.assist), i32(slowArgument(a.what, a.shape)))
}
export const slowResult = (e: Emitter, c: number): Expr => load(V.load, V128, e.fpu, FLOAT_SCRATCH + SLOT_RESULT + c * 16)
export const slowWord = (e: Emitter): Expr => load(W.i32_load, I32, e.fpu, FLOAT_SCRATCH + SLOT_RESULT)

// ---- control ----
/** How an EVEX instruction replaces MXCSR: CONTROL_* of slow-path.ts. */
export function controlOf(x: VectorInstruction): number {
  const { roundingControl, sae } = x.s.d
  if (!x.isEvex) return CONTROL_MXCSR
  if (roundingControl !== RoundingControl.None) return CONTROL_EMBEDDED | (roundingControl - RoundingControl.RoundToNearest)
  return sae ? CONTROL_SAE : CONTROL_MXCSR
}

const MXCSR_DAZ_FTZ = 0x8040
const MXCSR_RC = 0x6000

/**
 * i32: native rounding, and flags of an inexact result, are those asked for; null when they cannot be (embedded rounding
 * other than to nearest). Zero and denormal results are left to the tests.
 */
export function roundsNatively(x: VectorInstruction): (() => Expr) | null {
  const { e } = x
  const control = controlOf(x)
  if (control < CONTROL_EMBEDDED) return () => load(W.i32_load, I32, e.fpu, FLOAT_FAST)
  if (control !== CONTROL_EMBEDDED) return null
  return () => eqz(32, and(32, load(W.i32_load, I32, e.fpu, MXCSR), i32(MXCSR_DAZ_FTZ)))
}
/** i32: MXCSR.RC is to nearest. */
export const mxcsrIsNearest = (e: Emitter): Expr => eqz(32, and(32, load(W.i32_load, I32, e.fpu, MXCSR), i32(MXCSR_RC)))

// ---- tests ----
/**
 * i32, not 0 when the first `lanes` lanes (of one chunk; of each of them with several) are ones in every mask, and `control`
 * (an i32 of 0 or 1) holds.
 */
export function allLanes(bits: NativeBits, lanes: number, masks: Expr[], control?: Expr): Expr {
  const perChunk = 128 / bits
  const wanted = (1 << Math.min(lanes, perChunk)) - 1
  const found = topBits(
    bits,
    masks.reduce((all, mask) => vand(all, mask)),
  )
  if (wanted === 1) return and(32, found, control ?? i32(1))
  const counted = lanes >= perChunk ? found : and(32, found, i32(wanted))
  return control === undefined ? eq(32, counted, i32(wanted)) : eq(32, add(32, counted, control), i32(wanted + 1))
}

/** Number of 16-byte chunks that hold `lanes` elements. */
export const chunksFor = (bits: number, lanes: number): number => Math.max(1, (bits * lanes) >> 7)

export const shapeOf = (x: VectorInstruction, bits: FloatBits, lanes: number): SlowShape => ({
  bits,
  lanes,
  masked: x.isMasked,
  control: controlOf(x),
})
