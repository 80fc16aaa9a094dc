/**
 * The guest-FPU door: all that KVM may do with extended state. A guest FPU is an opaque handle; no field of it can be read
 * outside `linux/fpu`. Rules GFPU-01..54, XSAVE-06..28. Masks are unsigned 32-bit numbers of state components.
 */
import type { Preemptible } from '../preemption.ts'
import type { PinnedProcessor } from '../processor.ts'
import type { RefusalDetails } from '../refusal.ts'
import type { Task } from '../task.ts'
import * as guest from './guest-fpu.ts'
import * as realloc from './guest-realloc.ts'
import type { FxsaveFields } from './legacy-fields.ts'

declare const opaque: unique symbol
/** The extended state of one vCPU: its image, what it is sized for, and the guest's XFD_ERR. */
export interface GuestFpu {
  readonly [opaque]: true
}
export { type FxsaveFields, newFxsaveFields } from './legacy-fields.ts'

/**
 * Allocates a vCPU's image with default size in its initial state and locks the process's guest permissions (GFPU-01..04,
 * PERM-23). Null = no memory (ENOMEM). Call it in KVM_CREATE_VCPU, task = the caller.
 */
export const allocateGuestFpu: (task: Task) => GuestFpu | null = guest.allocate
/** `allocateGuestFpu` where each place at which it could be preempted counts. */
export const allocateGuestFpuPreemptibly: (task: Task) => Preemptible<GuestFpu | null> = guest.allocatePreemptibly

/** Gives the memory back. The image must not be in use (GFPU-05). */
export const freeGuestFpu: (fpu: GuestFpu) => void = guest.free

/**
 * Makes the vCPU image the thread's active one: saves the thread's registers, loads the guest's, including XFD (GFPU-09, -10).
 * On KVM_RUN entry. Until `putGuestFpu` preemption saves to and restores from the vCPU image. Loading a loaded image loses the thread's
 * own registers without a word, as in Linux; who can be told so asks `isLoaded` first (GFPU-16).
 */
export const loadGuestFpu: (cpu: PinnedProcessor, fpu: GuestFpu) => void = guest.load

/** The mirror image, before KVM_RUN returns (GFPU-11). */
export const putGuestFpu: (cpu: PinnedProcessor, fpu: GuestFpu) => void = guest.put

/**
 * Immediately before each VM entry, after everything that may sleep: reloads the active image's registers if the thread lost
 * them meanwhile (NEED_FPU_LOAD: GFPU-12..14). May write XFD.
 */
export const ensureRegistersLoaded: (cpu: PinnedProcessor) => void = guest.ensureRegistersLoaded

/**
 * Enables the components of `cpuidFeatures` (raw CPUID.(0DH,0).EDX:EAX, low half) that are dynamic and not enabled yet.
 * 0, -EPERM (the caller's guest permission lacks one), or -EFAULT (no memory). GFPU-39..43. Not while loaded by another task.
 */
export const enableGuestFeatures: (task: Task, fpu: GuestFpu, cpuidFeatures: number) => number = realloc.enableFeatures
/** `enableGuestFeatures` where each place at which it could be preempted counts. */
export const enableGuestFeaturesPreemptibly: (task: Task, fpu: GuestFpu, cpuidFeatures: number) => Preemptible<number> =
  realloc.enableFeaturesPreemptibly

/** Dynamic components of `mask` that the image has no room for. GFPU-36. */
export const missingGuestFeatures: (fpu: GuestFpu, mask: number) => number = realloc.missingFeatures
/**
 * Room for these is to be made when the image is put next (design D1). It stays asked for if it cannot be made, and is complained
 * about in the log when the image is loaded before it was (GFPU-35).
 */
export const requestGuestFeatures: (fpu: GuestFpu, mask: number) => void = realloc.requestFeatures

/** Bytes of the vCPU's image in kernel memory; 0 once it is freed. */
export const guestImageBytes: (fpu: GuestFpu) => number = guest.imageBytes

/** Bytes that KVM_GET_XSAVE2 writes and KVM_SET_XSAVE reads (GFPU-03, -39; XSAVE-05). */
export const uabiSize: (fpu: GuestFpu) => number = guest.uabiSize

/**
 * Wasm offset of a buffer for one image of `uabiSize` bytes in machine memory. What is there lasts for the length of a call that does
 * not sleep; others use it too.
 */
export const uabiBuffer: (fpu: GuestFpu) => number = guest.uabiBuffer

/**
 * Writes the standard-form image (XSAVE-06..12).
 * @param into at least `size` bytes at `at`, all of them written
 * @param trim components that may appear: the guest's set with FP and SSE, as the profile's era says
 * @param pkru the guest's PKRU (XSAVE-11)
 */
export const copyGuestFpuToUabi: (fpu: GuestFpu, into: Uint8Array, at: number, size: number, trim: number, pkru: number) => void =
  guest.copyToUabi

/**
 * Loads a standard-form image of `uabiSize` bytes (XSAVE-15..26, -58). After a refusal nothing has changed.
 * @param supported the host-KVM set (XSAVE-17)
 * @returns `status` 0, or -EINVAL with `refusal`; `pkru` = the vCPU's new PKRU, or -1 when the image leaves it alone (XSAVE-24)
 */
export const copyUabiToGuestFpu: (fpu: GuestFpu, from: Uint8Array, at: number, supported: number) => UabiLoad = guest.copyFromUabi
export interface UabiLoad {
  readonly status: number
  readonly pkru: number
  readonly refusal: { readonly rule: string; readonly sentence: string; readonly details: RefusalDetails } | null
}

/** Components the image accepts in a user header: `user_xfeatures` (era E2 narrows it: `setUserFeatures`). */
export const userFeatures: (fpu: GuestFpu) => number = guest.userFeatures
/** Era E2 only: user_xfeatures := the vCPU's CPUID set with FP and SSE (XSAVE-33). */
export const setUserFeatures: (fpu: GuestFpu, mask: number) => void = guest.setUserFeatures

/** KVM_GET_FPU: raw legacy fields, XSTATE_BV ignored (XSAVE-28). The 512 bytes of the FXSAVE region go to `into`. */
export const readLegacyRegion: (fpu: GuestFpu, into: FxsaveFields) => void = guest.readLegacy
/** KVM_SET_FPU: writes them back; MXCSR and XSTATE_BV stay (XSAVE-29). */
export const writeLegacyRegion: (fpu: GuestFpu, from: FxsaveFields) => void = guest.writeLegacy

/** IA32_XFD of the guest as the kernel knows it (GFPU-27). */
export const guestXfd: (fpu: GuestFpu) => number = guest.xfd
/** An accepted write of IA32_XFD by guest or host (GFPU-27, -32). */
export const updateGuestXfd: (cpu: PinnedProcessor, fpu: GuestFpu, value: number) => void = guest.updateXfd
/** After a VM exit while XFD writes are not intercepted: reads the MSR into the active image and the shadow (GFPU-29). */
export const syncGuestXfdAfterExit: (cpu: PinnedProcessor) => void = guest.syncXfdAfterExit
/** The guest's IA32_XFD_ERR while it is not in the MSR (GFPU-30, -31). */
export const guestXfdErr: (fpu: GuestFpu) => number = guest.xfdErr
export const setGuestXfdErr: (fpu: GuestFpu, value: number) => void = guest.setXfdErr

/** Leader's guest permission without LOCKED: what xstate_get_guest_group_perm says (XSAVE-40). */
export const guestPermission: (task: Task) => number = guest.permission

/** INIT: zeroes a component's bytes if its XSTATE_BV bit is set (GFPU-48). Swap out first when in use. */
export const clearGuestComponent: (fpu: GuestFpu, component: number) => void = guest.clearComponent
/** The image is this thread's active one (between load and put). */
export const isLoaded: (fpu: GuestFpu) => boolean = guest.isLoaded

/** Register state is now encrypted in firmware's hands; swaps only keep XFD right (GFPU-22). */
export const setConfidential: (fpu: GuestFpu) => void = guest.setConfidential
export const isConfidential: (fpu: GuestFpu) => boolean = guest.isConfidential

/** Host facts that KVM needs for its own supported sets. */
export interface HostXstate {
  /** Host XCR0 (user max), IA32_XSS, dynamic components, MXCSR mask. */
  readonly xcr0: number
  readonly xss: number
  readonly dynamic: number
  readonly mxcsrMask: number
}
export const hostXstate: (task: Task) => HostXstate = guest.hostXstate
/** PKRU of the host thread, sampled at vCPU load (GFPU-17). */
export const hostPkru: (task: Task) => number = guest.hostPkru
