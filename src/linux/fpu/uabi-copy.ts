import {
  FCW_INIT,
  FXSAVE,
  MXCSR_INIT,
  XCOMP_BV_OFFSET,
  XFEATURE_MASK_FP,
  XFEATURE_MASK_FPSSE,
  XFEATURE_MASK_PKRU,
  XFEATURE_MASK_SSE,
  XFEATURE_MASK_YMM,
  XFEATURE_PKRU,
  XSAVE_LEGACY_AND_HEADER,
  XSTATE_BV_OFFSET,
} from '../../isa/xfeatures.ts'
import { compactedOffset } from '../../isa/xstate-layout.ts'
import type { MachineMemory } from '../../machine/machine-memory.ts'
import type { XstateConfig } from './config.ts'
import type { FpState } from './fpstate.ts'

/** Conversion between kernel buffers and the standard user format. Linux's __copy_xstate_to_uabi_buf and copy_uabi_to_xstate. */

/** Wasm offset of an extended component in a kernel buffer. The component must be among its features. */
export function componentAt(config: XstateConfig, fpstate: FpState, component: number): number {
  const offset = config.compacted ? compactedOffset(config.layout, fpstate.xcompBv, component) : config.layout.offsets[component]
  return fpstate.image + offset
}

/**
 * Standard-form image of a buffer into `into`, `size` bytes at `at`, all written (XSAVE-06..11, PERM-55).
 * @param features components that may appear, besides being the buffer's own user features
 * @param pkru what the PKRU slot shows
 */
export function copyToUabi(
  config: XstateConfig,
  mem: MachineMemory,
  fpstate: FpState,
  into: Uint8Array,
  at: number,
  size: number,
  features: number,
  pkru: number,
): void {
  const { u8 } = mem
  const image = fpstate.image
  const full = new Uint8Array(Math.max(size, config.userMaxSize))
  const view = new DataView(full.buffer)
  const xstateBv = fpstate.xstateBv & fpstate.userXfeatures & features
  const copy = (offset: number, length: number) => full.set(u8.subarray(image + offset, image + offset + length), offset)
  if ((xstateBv & XFEATURE_MASK_FP) !== 0) {
    copy(0, FXSAVE.MXCSR)
    copy(FXSAVE.ST, FXSAVE.XMM - FXSAVE.ST)
  } else view.setUint16(FXSAVE.FCW, FCW_INIT, true)
  if ((xstateBv & (XFEATURE_MASK_SSE | XFEATURE_MASK_YMM)) !== 0) copy(FXSAVE.MXCSR, 8)
  else {
    view.setUint32(FXSAVE.MXCSR, MXCSR_INIT, true)
    view.setUint32(FXSAVE.MXCSR_MASK, config.mxcsrMask, true)
  }
  if ((xstateBv & XFEATURE_MASK_SSE) !== 0) copy(FXSAVE.XMM, FXSAVE.RESERVED - FXSAVE.XMM)
  view.setUint32(FXSAVE.SW_RESERVED, config.userMax, true)
  view.setUint32(XSTATE_BV_OFFSET, xstateBv, true)
  for (const { nr, offset, size: bytes } of config.layout.components) {
    if (((xstateBv >>> nr) & 1) === 0) continue
    if (nr === XFEATURE_PKRU) view.setUint32(offset, pkru, true)
    else {
      const from = componentAt(config, fpstate, nr)
      full.set(u8.subarray(from, from + bytes), offset)
    }
  }
  into.set(full.subarray(0, size), at)
}

/** Why an image was refused, or null. */
export interface UabiRefusal {
  readonly rule: string
  readonly because: string
}

/** XSTATE_BV within what the buffer can hold (XSAVE-18, PERM-56). */
export function checkFeatures(fpstate: FpState, from: Uint8Array, at: number): UabiRefusal | null {
  const view = new DataView(from.buffer, from.byteOffset + at)
  const high = view.getUint32(XSTATE_BV_OFFSET + 4, true)
  const foreign = (view.getInt32(XSTATE_BV_OFFSET, true) & ~fpstate.userXfeatures) >>> 0
  if (foreign === 0 && high === 0) return null
  const bits = high === 0 ? foreign.toString(16) : `${high.toString(16)}${foreign.toString(16).padStart(8, '0')}`
  return { rule: 'XSAVE-18', because: `XSTATE_BV has components the buffer has no room for: 0x${bits}` }
}

/** The rest of the header is zero (XSAVE-19). */
export function checkHeader(from: Uint8Array, at: number): UabiRefusal | null {
  for (let i = XCOMP_BV_OFFSET; i < XSAVE_LEGACY_AND_HEADER; i++) {
    if (from[at + i] === 0) continue
    const because =
      i < XCOMP_BV_OFFSET + 8 ? 'XCOMP_BV is not 0: the user format is the standard one' : `reserved header byte ${i} is not 0`
    return { rule: 'XSAVE-19', because }
  }
  return null
}

/** No reserved MXCSR bit, where MXCSR counts (XSAVE-20). */
export function checkMxcsr(config: XstateConfig, from: Uint8Array, at: number, always: boolean): UabiRefusal | null {
  const view = new DataView(from.buffer, from.byteOffset + at)
  const counts = always || (view.getInt32(XSTATE_BV_OFFSET, true) & (XFEATURE_MASK_FPSSE | XFEATURE_MASK_YMM)) !== 0
  const mxcsr = view.getUint32(FXSAVE.MXCSR, true)
  if (!counts || (mxcsr & ~config.mxcsrMask) === 0) return null
  return { rule: 'XSAVE-20', because: `MXCSR 0x${mxcsr.toString(16)} has reserved bits` }
}

/** All checks of the common validator (validate_user_xstate_header and MXCSR; PERM-56). Changes nothing. */
export function checkUabi(config: XstateConfig, fpstate: FpState, from: Uint8Array, at: number): UabiRefusal | null {
  return checkFeatures(fpstate, from, at) ?? checkHeader(from, at) ?? checkMxcsr(config, from, at, false)
}

/**
 * Loads a checked standard-form image (XSAVE-22, -23, PERM-57): supplied components replace, omitted user components become
 * initial, supervisor components stay.
 * @returns PKRU of the image, -1 when its bit is clear
 */
export function copyFromUabi(config: XstateConfig, mem: MachineMemory, fpstate: FpState, from: Uint8Array, at: number): number {
  const { u8 } = mem
  const image = fpstate.image
  const view = new DataView(from.buffer, from.byteOffset + at)
  const xstateBv = view.getInt32(XSTATE_BV_OFFSET, true)
  const copy = (to: number, offset: number, length: number) => u8.set(from.subarray(at + offset, at + offset + length), to)
  if ((xstateBv & XFEATURE_MASK_FP) !== 0) copy(image, 0, FXSAVE.XMM)
  else if ((xstateBv & (XFEATURE_MASK_SSE | XFEATURE_MASK_YMM)) !== 0) copy(image + FXSAVE.MXCSR, FXSAVE.MXCSR, 8)
  if ((xstateBv & XFEATURE_MASK_SSE) !== 0) copy(image + FXSAVE.XMM, FXSAVE.XMM, FXSAVE.RESERVED - FXSAVE.XMM)
  for (const { nr, offset, size } of config.layout.components) {
    if (((xstateBv >>> nr) & 1) !== 0) copy(componentAt(config, fpstate, nr), offset, size)
  }
  fpstate.xstateBv = (fpstate.xstateBv & config.supervisor) | xstateBv
  if ((xstateBv & XFEATURE_MASK_PKRU) === 0) return -1
  return view.getUint32(config.layout.offsets[XFEATURE_PKRU], true)
}
