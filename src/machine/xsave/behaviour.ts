import type { CpuModel } from '../../isa/cpu-model.ts'

/** What processors do differently with the XSAVE feature set, apart from the layout of CPUID leaf 0xD. */
export interface XsaveBehaviour {
  /** Valid MXCSR bits, saved as MXCSR_MASK. */
  readonly mxcsrMask: number
  /** MXCSR bits that fault when loaded. */
  readonly mxcsrReserved: number
  /**
   * Last x87 opcode and pointers exist only while FSW.ES is set, else they are saved and loaded as 0; pointers are
   * sign-extended from bit 56 when loaded. Otherwise all bits are kept.
   */
  readonly x87PointersOnlyWithError: boolean
  /** Outside 64-bit mode registers 8..31 still count for XINUSE, though they are neither saved nor loaded. */
  readonly inUseIgnoresMode: boolean
  /** XINUSE is 1 for every component but the MPX bounds, whatever it holds. */
  readonly inUseAssumed: boolean
}

/** SDM Vol. 1 §11.6.6, §13.5, §13.6. */
export const INTEL_XSAVE: XsaveBehaviour = {
  mxcsrMask: 0xffff,
  mxcsrReserved: ~0xffff,
  x87PointersOnlyWithError: false,
  inUseIgnoresMode: false,
  inUseAssumed: false,
}

/** Measured on a Zen 5 (test/fixtures/xsave); APM Vol. 2 §11.4.4. MXCSR has the misaligned-exception mask, bit 17. */
export const AMD_XSAVE: XsaveBehaviour = {
  mxcsrMask: 0x2ffff,
  mxcsrReserved: ~0x2ffff,
  x87PointersOnlyWithError: true,
  inUseIgnoresMode: true,
  inUseAssumed: false,
}

/** A model's own. */
export function xsaveBehaviour({ vendor, mxcsrMask, emulator }: CpuModel): XsaveBehaviour {
  return {
    ...(vendor === 'AuthenticAMD' ? AMD_XSAVE : INTEL_XSAVE),
    mxcsrMask,
    mxcsrReserved: emulator.mxcsrUnchecked ? 0 : ~mxcsrMask,
    inUseAssumed: emulator.xinuseAssumed === true,
  }
}
