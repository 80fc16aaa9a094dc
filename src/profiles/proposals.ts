import type { KernelProfile } from './kernel-profile.ts'
import { linux612, linux618 } from './releases.ts'

/**
 * Designs that were posted and not merged, each on top of a released kernel so that only the design differs.
 */

const on = (base: KernelProfile, name: string, title: string, source: string): KernelProfile => ({
  ...base,
  name: `proposal:${name}`,
  title: `${title} (on ${base.name})`,
  source,
})

/** Guest permission accepted and ignored: the buffer follows the features KVM asks for. PERM-63..66. */
export const guestPermissionIgnored: KernelProfile = {
  ...on(linux612, 'guest-perm-ignored', 'guest permission requests are accepted and ignored', 'PERM-63..66'),
  permissions: { ...linux612.permissions, guestPermission: 'ignored' },
}

/** D1: the guest's first use leaves KVM_RUN with KVM_EXIT_FPU_REALLOC. GFPU-35. */
export const fpuReallocExit: KernelProfile = {
  ...on(linux612, 'fpu-realloc-exit', 'dynamic state enlarged through an exit to user space', 'GFPU §5 D1, GFPU-35'),
  dynamicStates: { enabling: 'realloc-exit' },
}

/** D2: enlarged inside the guest's XSETBV or XFD write. GFPU-36, -37. */
export const fpuReallocInline: KernelProfile = {
  ...on(linux612, 'fpu-realloc-inline', 'dynamic state enlarged inside XSETBV and XFD writes', 'GFPU §5 D2, GFPU-36, -37'),
  dynamicStates: { enabling: 'inline' },
}

/** K: CET_S in every task's image. CET §5. */
export const cetSupervisorKernelWide: KernelProfile = {
  ...on(linux618, 'cet-s-kernel-wide', 'CET_S in every image, task or guest', 'CET §5 K'),
  fpu: { ...linux618.fpu, guestOnlySupervisor: 0, separateGuestDefaults: false },
  cet: { ...linux618.cet, supervisorState: 'kernel-wide' },
}

/** M: CET_S in the vCPU structure, moved by MSR accesses. CET §5, CET-40, -41. */
export const cetSupervisorKvmManaged: KernelProfile = {
  ...on(linux618, 'cet-s-kvm-managed', 'PL0..2_SSP switched by KVM as MSRs', 'CET §5 M, CET-40, -41'),
  fpu: { ...linux618.fpu, supervisorSupported: 0xc00, guestOnlySupervisor: 0, separateGuestDefaults: false },
  kvm: { ...linux618.kvm, supportedXss: 0x800 },
  cet: { ...linux618.cet, supervisorState: 'kvm-managed' },
}

/** Split-lock detection for guests, eighth posting: thread flag, warn mode only, no SMT. SLD §5.3. */
export const splitLockV8: KernelProfile = {
  ...on(linux612, 'sld-virt-v8', 'split-lock detection virtualized, v8', 'SLD §5.3, §6'),
  splitLock: {
    ...linux612.splitLock,
    warnDesign: 'thread-flag',
    sharedReenableWork: false,
    featureSetWhenOff: false,
    hasMitigateSysctl: false,
    guestVirtualization: 'v8',
  },
}

/** v8 with the leftover of SLD-64 corrected. */
export const splitLockV8Fixed: KernelProfile = {
  ...on(linux612, 'sld-virt-v8-fixed', 'as v8; withdrawing the capability clears the control bit', 'SLD §5.3, SLD-64'),
  splitLock: { ...splitLockV8.splitLock, clearingCapabilityClearsControl: true },
}

/** Tenth posting: also in fatal mode, one switch function. SLD-52. */
export const splitLockV10: KernelProfile = {
  ...on(linux612, 'sld-virt-v10', 'split-lock detection virtualized, v10', 'SLD-50, SLD-52'),
  splitLock: { ...splitLockV8.splitLock, guestVirtualization: 'v10' },
}
