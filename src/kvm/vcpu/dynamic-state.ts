import { enableGuestFeatures, missingGuestFeatures, requestGuestFeatures } from '../../linux/fpu/door.ts'
import type { Vcpu } from './vcpu.ts'

/**
 * Room for dynamic components where KVM_SET_CPUID2 does not make it: the two designs that were discussed before that one was
 * merged (GFPU §5, D1 and D2). Called before XCR0 or IA32_XFD takes a new value, after every check that value has to pass.
 */

/** Room is there, or has been made. */
export const ROOM = 0
/** D2: none could be made. The write fails, and nothing changes (GFPU-37). */
export const NO_ROOM = 1
/** D1: it will be made when KVM_RUN ends (GFPU-35). */
export const ROOM_REQUESTED = 2

/** What `xcr0` enables and `xfd` does not disable must have room in the image. GFPU-36. */
export function makeRoom(vcpu: Vcpu, xcr0: number, xfd: number): number {
  const { kvm } = vcpu.vm
  const { enabling } = kvm.profile.dynamicStates
  if (enabling !== 'inline' && enabling !== 'realloc-exit') return ROOM
  const missing = missingGuestFeatures(vcpu.guestFpu, xcr0 & ~xfd)
  if (missing === 0) return ROOM
  if (enabling === 'realloc-exit') {
    requestGuestFeatures(vcpu.guestFpu, missing)
    return ROOM_REQUESTED
  }
  if (enableGuestFeatures(vcpu.runner ?? kvm.callingTask!, vcpu.guestFpu, missing) !== 0) return NO_ROOM
  kvm.trace?.guestStateEnlarged(vcpu)
  return ROOM
}

/**
 * IA32_XFD need not be watched any more: no value the guest writes asks for room. With D1 and D2 that is so once its image has all
 * it can enable; the series disabled interception at that point, the merged one at the first write (GFPU-28).
 */
export function hasAllRoom(vcpu: Vcpu): boolean {
  const { enabling } = vcpu.vm.kvm.profile.dynamicStates
  if (enabling !== 'inline' && enabling !== 'realloc-exit') return true
  return missingGuestFeatures(vcpu.guestFpu, vcpu.guestSupportedXcr0) === 0
}
