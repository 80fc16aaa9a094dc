import {
  XFEATURE_MASK_AVX512,
  XFEATURE_MASK_BNDCSR,
  XFEATURE_MASK_BNDREGS,
  XFEATURE_MASK_FP,
  XFEATURE_MASK_SSE,
  XFEATURE_MASK_XTILE,
  XFEATURE_MASK_YMM,
} from '../../isa/xfeatures.ts'
import { guestXfd } from '../../linux/fpu/door.ts'
import { updateRuntimeCpuid } from '../cpuid/vcpu-cpuid.ts'
import { type Reasoned, xcr0Foreign, xcr0Incomplete } from '../explain.ts'
import { makeRoom, NO_ROOM, ROOM_REQUESTED } from './dynamic-state.ts'
import type { Vcpu } from './vcpu.ts'

const MPX = XFEATURE_MASK_BNDREGS | XFEATURE_MASK_BNDCSR
const EXTENDED = ~(XFEATURE_MASK_FP | XFEATURE_MASK_SSE)

/** Null if `value` may be XCR0 of this vCPU, else the first rule it breaks. GFPU-45. */
export function xcr0Refusal(vcpu: Vcpu, lo: number, hi: number): Reasoned | null {
  if (!(lo & XFEATURE_MASK_FP)) return xcr0Incomplete(vcpu, lo, XFEATURE_MASK_FP, 'x87 (bit 0) must be set')
  if (lo & XFEATURE_MASK_YMM && !(lo & XFEATURE_MASK_SSE)) return xcr0Incomplete(vcpu, lo, XFEATURE_MASK_SSE, 'YMM without SSE')
  const allowed = vcpu.guestSupportedXcr0 | XFEATURE_MASK_FP
  if (hi !== 0 || (lo & ~allowed) !== 0) return xcr0Foreign(vcpu, lo, hi, lo & ~allowed)
  const mpx = lo & MPX
  if (mpx !== 0 && mpx !== MPX) return xcr0Incomplete(vcpu, lo, MPX, 'BNDREGS and BNDCSR go together')
  const avx512 = lo & XFEATURE_MASK_AVX512
  if (avx512 !== 0 && (avx512 !== XFEATURE_MASK_AVX512 || !(lo & XFEATURE_MASK_YMM)))
    return xcr0Incomplete(vcpu, lo, XFEATURE_MASK_AVX512 | XFEATURE_MASK_YMM, 'AVX-512 needs all three components and YMM')
  const tiles = lo & XFEATURE_MASK_XTILE
  if (tiles !== 0 && tiles !== XFEATURE_MASK_XTILE)
    return xcr0Incomplete(vcpu, lo, XFEATURE_MASK_XTILE, 'XTILE_CFG and XTILE_DATA go together')
  return null
}

/**
 * XSETBV by the guest and KVM_SET_XCRS. As merged, storing never allocates and never touches the image (GFPU-46); the designs before
 * that make room first (`makeRoom`). CPUID's sizes follow when bits above SSE change. False: a rule is broken, or there is no room.
 */
export function setXcr0(vcpu: Vcpu, lo: number, hi: number): boolean {
  if (xcr0Refusal(vcpu, lo, hi) !== null) return false
  const room = makeRoom(vcpu, lo, guestXfd(vcpu.guestFpu))
  if (room === NO_ROOM) return false
  if (room === ROOM_REQUESTED && vcpu.runner !== null) vcpu.exitsForRoom = true
  const changed = vcpu.xcr0 ^ lo
  vcpu.xcr0 = lo >>> 0
  vcpu.vm.kvm.trace?.xcr0Written(vcpu)
  if (changed & EXTENDED) updateRuntimeCpuid(vcpu, vcpu.cpuid)
  return true
}
