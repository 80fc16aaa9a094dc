/**
 * MXCSR (Intel SDM Vol. 1 §10.2.3, Figure 10-3). The x87 status and control words use the same order of the six
 * exceptions in their low six bits, and the same encoding of rounding control.
 */

export const EXCEPTION_IE = 0x01
export const EXCEPTION_DE = 0x02
export const EXCEPTION_ZE = 0x04
export const EXCEPTION_OE = 0x08
export const EXCEPTION_UE = 0x10
export const EXCEPTION_PE = 0x20
export const EXCEPTIONS = 0x3f
/** Found before anything is computed; they are reported for all lanes before any of the others (SDM Vol. 1 §11.5.1). */
export const EXCEPTIONS_PRE_COMPUTATION = EXCEPTION_IE | EXCEPTION_DE | EXCEPTION_ZE

export const MXCSR_DAZ = 0x40
/** Masks of the six exceptions, in the order of the flags. */
export const MXCSR_MASKS = 0x1f80
export const MXCSR_MASKS_SHIFT = 7
export const MXCSR_RC = 0x6000
export const MXCSR_RC_SHIFT = 13
export const MXCSR_FTZ = 0x8000
/** Value after reset and the init value of XSAVE. */
export const MXCSR_RESET = 0x1f80
/** MXCSR_MASK: the bits that can be set; the rest raise #GP when loaded. */
export const MXCSR_WRITABLE = 0xffff

export const ROUND_NEAREST = 0
export const ROUND_DOWN = 1
export const ROUND_UP = 2
export const ROUND_TO_ZERO = 3

/**
 * Value of FLOAT_FAST: 1 while a native WebAssembly operation whose result passes the exponent-range test leaves both the
 * architectural result and the architectural flags: nearest rounding, everything masked, DAZ = FTZ = 0 and PE set already.
 */
export function floatFast(mxcsr: number): 0 | 1 {
  return (mxcsr & (MXCSR_FTZ | MXCSR_RC | MXCSR_MASKS | MXCSR_DAZ | EXCEPTION_PE)) === (MXCSR_MASKS | EXCEPTION_PE) ? 1 : 0
}
