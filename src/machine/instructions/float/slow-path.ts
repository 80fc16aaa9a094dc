import { CTL, type ExecutionContext } from '../../execution-context.ts'
import { FLOAT_OP, FLOAT_UNMASKED } from '../../float/float-unit.ts'
import { MXCSR_MASKS, MXCSR_RC, MXCSR_RC_SHIFT } from '../../float/mxcsr.ts'
import { FLOAT_SCRATCH, MXCSR } from '../../memory-map.ts'
import type { Processor } from '../../processor.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import type { FloatBits } from './lanes.ts'

/**
 * The exact floating-point unit as assists of compiled code. Operands and results are in the register file at FLOAT_SCRATCH;
 * flags go to MXCSR; an unmasked exception is #XM, or #UD with CR4.OSXMMEXCPT clear (SDM Vol. 1, 11.5.1).
 */

// Offsets in FLOAT_SCRATCH.
export const SLOT_BYTES = 64
export const SLOT_RESULT = 192
/** Selected lanes, u32; counts with MASKED. */
export const SLOT_MASK = 256

// ---- the assists' argument: low 16 bits what to do, then ----
export const SIZE_SHIFT = 16
export const LANES_SHIFT = 18
export const MASKED = 1 << 24
const CONTROL_SHIFT = 25
/**
 * Rounding and exceptions: both as MXCSR says; no exceptions ({sae}); also rounding as encoded (EMBEDDED + RC); rounding by an
 * immediate (ROUNDING + RC).
 */
export const CONTROL_MXCSR = 0
export const CONTROL_SAE = 1
export const CONTROL_EMBEDDED = 4
export const CONTROL_ROUNDING = 8
const raisesExceptions = (control: number): boolean => control === CONTROL_MXCSR || control >= CONTROL_ROUNDING

export interface SlowShape {
  bits: FloatBits
  lanes: number
  masked: boolean
  control: number
}

/** `what`: FLOAT_OP with its immediate in bits 8..15, or a `conversion`. */
export const slowArgument = (what: number, { bits, lanes, masked, control }: SlowShape): number =>
  what | ((bits >> 5) << SIZE_SHIFT) | (lanes << LANES_SHIFT) | (masked ? MASKED : 0) | (control << CONTROL_SHIFT)

const bitsOf = (argument: number): number => 16 << ((argument >> SIZE_SHIFT) & 3)
export const lanesOf = (argument: number): number => (argument >> LANES_SHIFT) & 63
export const controlOf = (argument: number): number => (argument >> CONTROL_SHIFT) & 15
export const maskOf = (p: Processor, argument: number): number =>
  argument & MASKED ? p.registerFile32(FLOAT_SCRATCH + SLOT_MASK) : -1

/** MXCSR for an operation: {sae} and embedded rounding mask all exceptions. */
export function controlWord(p: Processor, control: number): number {
  const mxcsr = p.registerFile32(MXCSR)
  if (control === CONTROL_MXCSR) return mxcsr
  if (control === CONTROL_SAE) return mxcsr | MXCSR_MASKS
  return (mxcsr & ~MXCSR_RC) | ((control & 3) << MXCSR_RC_SHIFT) | (raisesExceptions(control) ? 0 : MXCSR_MASKS)
}

const CR4_OSXMMEXCPT = 1 << 10
const UD = 6
const XM = 19

/** Enters an operation's exceptions into MXCSR; 1 after raising one that is not masked. */
export function settle(p: Processor, ctx: ExecutionContext, status: number, control = CONTROL_MXCSR): number {
  if (!raisesExceptions(control)) return 0
  const mxcsr = p.registerFile32(MXCSR)
  if ((status & 0x3f & ~mxcsr) !== 0) p.setMxcsr(mxcsr | (status & 0x3f))
  if ((status & FLOAT_UNMASKED) === 0) return 0
  if (ctx.ctlLo(CTL.CR4) & CR4_OSXMMEXCPT) p.raise(XM, 0, 'unmasked SIMD floating-point exception')
  else p.raise(UD, 0, 'unmasked SIMD floating-point exception, and CR4.OSXMMEXCPT is clear')
  return 1
}

const takesThree = (op: number): boolean => (op >= FLOAT_OP.FMADD && op <= FLOAT_OP.FMSUBADD) || op === FLOAT_OP.FIXUPIMM

/** result = op(A, B, C), lane by lane. */
registerCallOut('float', (p, ctx, argument) => {
  const at = p.registerFile + FLOAT_SCRATCH
  const control = controlOf(argument)
  const op = argument & 0xffff
  const b = at + SLOT_BYTES
  const c = takesThree(op & 0xff) ? b + SLOT_BYTES : b
  const mask = maskOf(p, argument)
  const mxcsr = controlWord(p, control)
  return settle(
    p,
    ctx,
    p.float.packed3(op, bitsOf(argument), lanesOf(argument), at, b, c, at + SLOT_RESULT, mxcsr, mask, 0),
    control,
  )
})

/** result = conversion(A). */
registerCallOut('float-convert', (p, ctx, argument) => {
  const at = p.registerFile + FLOAT_SCRATCH
  const control = controlOf(argument)
  const mask = maskOf(p, argument)
  return settle(
    p,
    ctx,
    p.float.convert(argument & 0xffff, lanesOf(argument), at, at + SLOT_RESULT, controlWord(p, control), mask, 0),
    control,
  )
})

/** RFLAGS bits of comparing element 0 of A and B; bit 0 of the argument: quiet NaNs signal. */
registerCallOut('float-compare', (p, ctx, argument) => {
  const at = p.registerFile + FLOAT_SCRATCH
  const control = controlOf(argument)
  const status = p.float.compareFlags(bitsOf(argument), argument & 1, at, at + SLOT_BYTES, controlWord(p, control))
  p.setRegisterFile32(FLOAT_SCRATCH + SLOT_RESULT, status >>> 16)
  return settle(p, ctx, status & 0xffff, control)
})

/** Bits of the lanes of A in a class of the immediate (low byte of the argument). */
registerCallOut('float-classify', (p, _ctx, argument) => {
  const at = p.registerFile + FLOAT_SCRATCH
  const bits = p.float.classify(
    argument & 0xff,
    bitsOf(argument),
    lanesOf(argument),
    at,
    p.registerFile32(MXCSR),
    maskOf(p, argument),
  )
  p.setRegisterFile32(FLOAT_SCRATCH + SLOT_RESULT, bits)
  return 0
})

/** DPPS, DPPD of A and B; the immediate in the low byte. Both 128-bit halves of a 256-bit one report their exceptions. */
registerCallOut('float-dot-product', (p, ctx, argument) => {
  const at = p.registerFile + FLOAT_SCRATCH
  const bits = bitsOf(argument)
  let status = 0
  for (let half = 0; half < (lanesOf(argument) * bits) >> 3; half += 16) {
    const a = at + half
    status |= p.float.dotProduct(bits, argument & 0xff, a, a + SLOT_BYTES, a + SLOT_RESULT, p.registerFile32(MXCSR))
  }
  return settle(p, ctx, status)
})

/** VCVTNEPS2BF16: the lanes of A. No exceptions. */
registerCallOut('bfloat16-convert', (p, _ctx, argument) => {
  const at = p.registerFile + FLOAT_SCRATCH
  p.float.convertToBfloat16(lanesOf(argument), at, at + SLOT_RESULT, maskOf(p, argument))
  return 0
})

/** VDPBF16PS: adds to C, which is both operand and result, the products of A and B. No exceptions. */
registerCallOut('bfloat16-dot-product', (p, _ctx, argument) => {
  const at = p.registerFile + FLOAT_SCRATCH
  const c = at + 2 * SLOT_BYTES
  p.float.dotProductBfloat16(lanesOf(argument), at, at + SLOT_BYTES, c, maskOf(p, argument))
  p.machine.mem.u8.copyWithin(at + SLOT_RESULT, c, c + SLOT_BYTES)
  return 0
})
