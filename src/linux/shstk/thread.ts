/** User shadow stacks, LUX-33..36. Linux: Documentation/arch/x86/shstk.rst, arch/x86/kernel/shstk.c. */
import { XFEATURE_MASK_CET_USER } from '../../isa/xfeatures.ts'
import type { Kernel } from '../kernel.ts'

/** Features of a thread (arch_prctl ARCH_SHSTK_*). */
export const ARCH_SHSTK_SHSTK = 1
export const ARCH_SHSTK_WRSS = 2

/** What a thread has of user shadow stacks (thread.features, features_locked, shstk). */
export interface ThreadShadowStack {
  features: number
  lockedLo: number
  lockedHi: number
  /** The area the kernel made for this thread and takes away with it; 0 = none. */
  base: number
  size: number
}

export function noShadowStack(): ThreadShadowStack {
  return { features: 0, lockedLo: 0, lockedHi: 0, base: 0, size: 0 }
}

/** X86_FEATURE_USER_SHSTK: built in, and the processor can; XSAVES carries SSP from thread to thread. */
export function hasUserShadowStacks(kernel: Kernel): boolean {
  return (
    kernel.profile.cet.userShadowStack && kernel.model.has('shstk') && (kernel.xstate.supervisor & XFEATURE_MASK_CET_USER) !== 0
  )
}

/** `address` lies in the user half as the kernel sees it: 57 bits wide where the processor has LA57. */
export function isUserAddress(kernel: Kernel, address: number): boolean {
  return address >= 0 && address < 2 ** (kernel.model.linearAddrBits - 1) - 4096
}
