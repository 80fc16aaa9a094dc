import {
  FCW_INIT,
  FXSAVE,
  FXSAVE_SIZE,
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
import { compactedOffset, compactedPlacement } from '../../isa/xstate-layout.ts'
import type { MachineMemory } from '../../machine/machine-memory.ts'
import { describeComponents, type RefusalDetails, refusedBy, u64Of } from '../refusal.ts'
import type { XstateConfig } from './config.ts'
import { imageDetails } from './explain.ts'
import type { FpState } from './fpstate.ts'

/** Conversion between kernel buffers and the standard user format. Linux's __copy_xstate_to_uabi_buf and copy_uabi_to_xstate. */

/** Wasm offset of an extended component in a kernel buffer. The component must be among its features. */
export function componentAt(config: XstateConfig, fpstate: FpState, component: number): number {
  const offset = config.compacted ? compactedOffset(config.layout, fpstate.xcompBv, component) : config.layout.offsets[component]
  return fpstate.image + offset
}

/** Where components lie in a kernel buffer, in bytes from its image on, by number. */
const offsetsIn = (config: XstateConfig, { xcompBv }: FpState): Int32Array | Uint32Array =>
  config.compacted ? compactedPlacement(config.layout, xcompBv) : config.layout.offsets

/** Copies `length` bytes of machine memory at `from`. `into` may be machine memory itself, which then costs no view. */
function move(mem: MachineMemory, from: number, into: Uint8Array, to: number, length: number): void {
  if (into === mem.u8) mem.u8.copyWithin(to, from, from + length)
  else into.set(mem.u8.subarray(from, from + length), to)
}

/** Little-endian words in bytes of either kind of memory, without a view. */
export const get32 = (bytes: Uint8Array, at: number): number =>
  bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)

export function put32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value
  bytes[at + 1] = value >>> 8
  bytes[at + 2] = value >>> 16
  bytes[at + 3] = value >>> 24
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
  const xstateBv = fpstate.xstateBv & fpstate.userXfeatures & features
  legacyToUabi(config, mem, fpstate.image, into, at, xstateBv)
  if (size <= XSTATE_BV_OFFSET) return
  put32(into, at + XSTATE_BV_OFFSET, xstateBv)
  const offsets = offsetsIn(config, fpstate)
  let end = XSTATE_BV_OFFSET + 4
  // Components that follow each other in both forms go in one piece: a call costs more than the bytes of most of them.
  let to = 0
  let from = 0
  let length = 0
  for (const { nr, offset, size: bytes } of config.uabiOrder) {
    if (((xstateBv >>> nr) & 1) === 0) continue
    if (offset >= size) break
    if (offset > end) into.fill(0, at + end, at + offset)
    end = offset + bytes
    const source = fpstate.image + offsets[nr]
    if (nr === XFEATURE_PKRU) {
      put32(into, at + offset, pkru)
      put32(into, at + offset + 4, 0)
    } else if (offset === to + length && source === from + length) length += Math.min(bytes, size - offset)
    else {
      if (length > 0) move(mem, from, into, at + to, length)
      to = offset
      from = source
      length = Math.min(bytes, size - offset)
    }
  }
  if (length > 0) move(mem, from, into, at + to, length)
  if (end < size) into.fill(0, at + end, at + size)
}

/** Bytes 0 to 511: initial values where the component is not in XSTATE_BV, and the host's components (XSAVE-08, -10). */
function legacyToUabi(
  config: XstateConfig,
  mem: MachineMemory,
  image: number,
  into: Uint8Array,
  at: number,
  xstateBv: number,
): void {
  const x87 = (xstateBv & XFEATURE_MASK_FP) !== 0
  const sse = (xstateBv & XFEATURE_MASK_SSE) !== 0
  const mxcsr = (xstateBv & (XFEATURE_MASK_SSE | XFEATURE_MASK_YMM)) !== 0
  const copied = sse ? FXSAVE.RESERVED : x87 ? FXSAVE.XMM : 0
  if (copied > 0) move(mem, image, into, at, copied)
  into.fill(0, at + copied, at + FXSAVE_SIZE)
  if (!x87) {
    into.fill(0, at, at + FXSAVE.MXCSR)
    if (sse) into.fill(0, at + FXSAVE.ST, at + FXSAVE.XMM)
    put32(into, at + FXSAVE.FCW, FCW_INIT)
  }
  put32(into, at + FXSAVE.MXCSR, mxcsr ? mem.i32[(image + FXSAVE.MXCSR) >> 2] : MXCSR_INIT)
  put32(into, at + FXSAVE.MXCSR_MASK, mxcsr ? mem.i32[(image + FXSAVE.MXCSR_MASK) >> 2] : config.mxcsrMask)
  put32(into, at + FXSAVE.SW_RESERVED, config.userMax)
}

/** Why an image was refused. */
export interface UabiRefusal {
  readonly rule: string
  readonly sentence: string
  readonly details: RefusalDetails
}

/** XSTATE_BV within what the buffer can hold (XSAVE-18, PERM-56). */
export function checkFeatures(fpstate: FpState, from: Uint8Array, at: number): UabiRefusal | null {
  const hi = get32(from, at + XSTATE_BV_OFFSET + 4) >>> 0
  const lo = get32(from, at + XSTATE_BV_OFFSET) >>> 0
  if ((lo & ~fpstate.userXfeatures) === 0 && hi === 0) return null
  const image = fpstate.isGuest ? 'guest FPU image' : 'task FPU image'
  const details = imageDetails(lo, hi, fpstate.userXfeatures, `the ${image} holds`, [
    refusedBy(image, 'XSTATE_BV', u64Of(lo, hi)),
  ])
  return {
    rule: 'XSAVE-18',
    sentence: `xstate_bv has ${describeComponents(details.bits!)}, for which the ${image} has no room`,
    details,
  }
}

/** The rest of the header is zero (XSAVE-19). */
export function checkHeader(from: Uint8Array, at: number): UabiRefusal | null {
  for (let i = XCOMP_BV_OFFSET; i < XSAVE_LEGACY_AND_HEADER; i++) {
    if (from[at + i] === 0) continue
    const isXcompBv = i < XCOMP_BV_OFFSET + 8
    const sentence = isXcompBv ? 'xcomp_bv is not 0: the user format is the standard one' : `reserved header byte ${i} is not 0`
    const name = isXcompBv ? 'XCOMP_BV' : `byte ${i} of the XSAVE header`
    const view = new DataView(from.buffer, from.byteOffset + at)
    const value = isXcompBv ? view.getBigUint64(XCOMP_BV_OFFSET, true) : BigInt(from[at + i])
    const chain = [refusedBy('XSAVE header', name, value)]
    return { rule: 'XSAVE-19', sentence, details: { asked: { kind: 'image', name, value }, chain } }
  }
  return null
}

/** No reserved MXCSR bit, where MXCSR counts (XSAVE-20). */
export function checkMxcsr(config: XstateConfig, from: Uint8Array, at: number, always: boolean): UabiRefusal | null {
  const counts = always || (get32(from, at + XSTATE_BV_OFFSET) & (XFEATURE_MASK_FPSSE | XFEATURE_MASK_YMM)) !== 0
  const mxcsr = get32(from, at + FXSAVE.MXCSR) >>> 0
  const reserved = mxcsr & ~config.mxcsrMask
  if (!counts || reserved === 0) return null
  return { rule: 'XSAVE-20', ...reservedMxcsr(mxcsr, config.mxcsrMask) }
}

/** A MXCSR with bits that the processor does not have. */
export function reservedMxcsr(mxcsr: number, mask: number): Omit<UabiRefusal, 'rule'> {
  const names: string[] = []
  for (let bit = 0; bit < 32; bit++) if (((mxcsr & ~mask) >>> bit) & 1) names.push(`bit ${bit}`)
  return {
    sentence: `MXCSR 0x${mxcsr.toString(16)} has reserved bits: ${names.join(', ')}`,
    details: {
      asked: { kind: 'image', name: 'MXCSR', value: BigInt(mxcsr) },
      bits: { mask: u64Of(mxcsr & ~mask), names },
      sides: [
        { name: 'MXCSR of the image', value: u64Of(mxcsr), names: [] },
        { name: 'MXCSR_MASK of the processor', value: u64Of(mask), names: [] },
      ],
      chain: [refusedBy('MXCSR', 'MXCSR_MASK of the processor', mask)],
    },
  }
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
  const image = fpstate.image
  const xstateBv = get32(from, at + XSTATE_BV_OFFSET)
  const copy = (to: number, offset: number, length: number): void => {
    if (from === mem.u8) mem.u8.copyWithin(to, at + offset, at + offset + length)
    else mem.u8.set(from.subarray(at + offset, at + offset + length), to)
  }
  if ((xstateBv & XFEATURE_MASK_FPSSE) === XFEATURE_MASK_FPSSE) copy(image, 0, FXSAVE.RESERVED)
  else {
    if ((xstateBv & XFEATURE_MASK_FP) !== 0) copy(image, 0, FXSAVE.XMM)
    else if ((xstateBv & (XFEATURE_MASK_SSE | XFEATURE_MASK_YMM)) !== 0) copy(image + FXSAVE.MXCSR, FXSAVE.MXCSR, 8)
    if ((xstateBv & XFEATURE_MASK_SSE) !== 0) copy(image + FXSAVE.XMM, FXSAVE.XMM, FXSAVE.RESERVED - FXSAVE.XMM)
  }
  const offsets = offsetsIn(config, fpstate)
  let to = 0
  let source = 0
  let length = 0
  for (const { nr, offset, size } of config.uabiOrder) {
    if (((xstateBv >>> nr) & 1) === 0) continue
    const target = image + offsets[nr]
    if (target === to + length && offset === source + length) length += size
    else {
      if (length > 0) copy(to, source, length)
      to = target
      source = offset
      length = size
    }
  }
  if (length > 0) copy(to, source, length)
  fpstate.xstateBv = (fpstate.xstateBv & config.supervisor) | xstateBv
  if ((xstateBv & XFEATURE_MASK_PKRU) === 0) return -1
  return get32(from, at + config.layout.offsets[XFEATURE_PKRU]) >>> 0
}
