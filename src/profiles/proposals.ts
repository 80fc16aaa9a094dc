import type { KernelProfile } from './kernel-profile.ts'
import { linux66_0, linux517, linux612, linux618 } from './releases.ts'

/**
 * Designs that were posted and not merged, each on top of a released kernel so that only the design differs: the kernel it was
 * posted against, or where that one lacks what the design is about the first that has it.
 */

interface Proposal {
  readonly name: string
  readonly title: string
  readonly source: string
  readonly changes: readonly string[]
  readonly document: string
}

const on = (base: KernelProfile, { name, title, source, changes, document }: Proposal): KernelProfile => ({
  ...base,
  name: `proposal:${name}`,
  title: `${title} (on ${base.name})`,
  source,
  derivedFrom: base.name,
  changes,
  document,
})

const GUEST_PERM_MAIL =
  '"x86/fpu/xstate: Opt-in kernel dynamic bits when calculate guest xstate size", Maxim Levitsky to Sean Christopherson, 2023-10-31'

/** A facility that no processor has: component 20, to show what bookkeeping does with a second dynamic component. PERM-60. */
const SECOND_DYNAMIC = 1 << 20
const secondFacility: KernelProfile = {
  ...linux66_0,
  permissions: {
    ...linux66_0.permissions,
    xfeatureMax: 21,
    facilities: [
      ...linux66_0.permissions.facilities,
      { name: 'a made-up second facility', highestComponent: 20, components: SECOND_DYNAMIC },
    ],
  },
  fpu: {
    ...linux66_0.fpu,
    userSupported: linux66_0.fpu.userSupported | SECOND_DYNAMIC,
    userDynamic: linux66_0.fpu.userDynamic | SECOND_DYNAMIC,
  },
}
const KNOWS_SECOND = 'knows a second dynamic component, 20, which only the CPU model Synthetic-TwoDynamic has'

/** state_perm as it was: supervisor bits are lost at the first grant. PERM-59..62. */
export const permBookkeepingBefore: KernelProfile = {
  ...on(secondFacility, {
    name: 'perm-bookkeeping-before',
    title: 'permission bookkeeping as it was, with a second dynamic component',
    source: 'PERM §10, PERM-59..62',
    changes: [KNOWS_SECOND],
    document: `${GUEST_PERM_MAIL}: the code it quotes (781c64bfcb73)`,
  }),
}

/** Sean Christopherson's patch in the same message; merged in 6.16. PERM §10 "after". */
export const permBookkeepingFixed: KernelProfile = {
  ...on(secondFacility, {
    name: 'perm-bookkeeping-fixed',
    title: 'permission bookkeeping as fixed, with a second dynamic component',
    source: 'PERM §10, PERM-59..62',
    changes: [
      'a grant stores the whole mask; only the user size is computed from its user bits',
      'the kernel size no longer has all supervisor components forced in for the host',
      KNOWS_SECOND,
    ],
    document: `${GUEST_PERM_MAIL}: the patch in it, "Always preserve non-user xfeatures/flags in __state_perm"`,
  }),
  permissions: { ...secondFacility.permissions, hostSizeForcesSupervisor: false, keepsSupervisorBits: true },
}

/** Guest permission accepted and ignored: the buffer follows the features KVM asks for. PERM-63..66. */
export const guestPermissionIgnored: KernelProfile = {
  ...on(linux66_0, {
    name: 'guest-perm-ignored',
    title: 'guest permission requests are accepted and ignored',
    source: 'PERM-63..66',
    changes: [
      'KVM no longer asks for guest permission: it tells the allocator all features it wants',
      'ARCH_REQ_XCOMP_GUEST_PERM always succeeds and does nothing',
    ],
    document: `${GUEST_PERM_MAIL}: the reviewer's alternative`,
  }),
  permissions: { ...linux66_0.permissions, guestPermission: 'ignored' },
}

const REALLOC_MAIL = '"x86/fpu: Prepare KVM for dynamically enabled states" ([PATCH 02/19]), Paolo Bonzini, 2021-12-13'

/** D1: the guest's first use leaves KVM_RUN with KVM_EXIT_FPU_REALLOC. GFPU-35. */
export const fpuReallocExit: KernelProfile = {
  ...on(linux517, {
    name: 'fpu-realloc-exit',
    title: 'dynamic state enlarged through an exit to user space',
    source: 'GFPU §5 D1, GFPU-35',
    changes: [
      'KVM_SET_CPUID2 no longer enlarges the image (the rest of the series as merged)',
      'an XSETBV or IA32_XFD write that needs room leaves a request and KVM_RUN with KVM_EXIT_FPU_REALLOC; the FPU is enlarged when it is put',
    ],
    document: `the series that ${REALLOC_MAIL} answers, as posted`,
  }),
  dynamicStates: { enabling: 'realloc-exit' },
}

/** D2: enlarged inside the guest's XSETBV or XFD write. GFPU-36, -37. */
export const fpuReallocInline: KernelProfile = {
  ...on(linux517, {
    name: 'fpu-realloc-inline',
    title: 'dynamic state enlarged inside XSETBV and XFD writes',
    source: 'GFPU §5 D2, GFPU-36, -37',
    changes: [
      'KVM_SET_CPUID2 no longer enlarges the image (the rest of the series as merged)',
      'an XSETBV or IA32_XFD write that needs room enlarges the image at once, or fails: #GP for the guest, an error for an ioctl',
    ],
    document: `${REALLOC_MAIL}: the reviewer's proposal`,
  }),
  dynamicStates: { enabling: 'inline' },
}

/** KVM_SET_XSAVE drops what the host cannot load. XSAVE-36, M6. */
export const setXsaveSilentDrop: KernelProfile = {
  ...on(linux66_0, {
    name: 'set-xsave-silent-drop',
    title: 'KVM_SET_XSAVE silently drops components the host cannot load',
    source: 'XSAVE-36, XSAVE §5 M6',
    changes: ['KVM_SET_XSAVE clears XSTATE_BV bits that host or image lack, instead of EINVAL'],
    document:
      '"KVM: x86: Fix breakage in KVM_SET_XSAVE\'s ABI" ([PATCH 0/5]), Tyler Stachecki\'s request in the thread of 2023-10-04',
  }),
  xsave: { ...linux66_0.xsave, setDropsUnsupported: true },
}

/** The whole switch of GFPU-32. Nobody proposed it: it shows what the fix of the stable trees leaves open. */
export const xfdWriteClears: KernelProfile = {
  ...linux612,
  name: 'variant:xfd-write-clears',
  title: `every IA32_XFD write clears the components it disables from the image (on ${linux612.name})`,
  source: 'GFPU-32, GFPU-53',
  derivedFrom: linux612.name,
  changes: ['a write of IA32_XFD by the host clears XSTATE_BV bits of the image whatever the state of the calling thread'],
  document: null,
  xsave: { ...linux612.xsave, xfdWriteAlwaysClearsImage: true },
}

const CET_S_MAIL = '"KVM:x86: Make guest supervisor states as non-XSAVE managed" ([PATCH v5 09/19]), Dave Hansen, 2023-08-10'

/** K: CET_S in every task's image. CET §5. */
export const cetSupervisorKernelWide: KernelProfile = {
  ...on(linux618, {
    name: 'cet-s-kernel-wide',
    title: 'CET_S in every image, task or guest',
    source: 'CET §5 K',
    changes: ['CET_S is among the default components of every task, not of vCPUs alone'],
    document: `${CET_S_MAIL}: solution 1, "eat the 24 bytes"`,
  }),
  fpu: { ...linux618.fpu, guestOnlySupervisor: 0, separateGuestDefaults: false },
  cet: { ...linux618.cet, supervisorState: 'kernel-wide' },
}

/** M: CET_S in the vCPU structure, moved by MSR accesses. CET §5, CET-40, -41. */
export const cetSupervisorKvmManaged: KernelProfile = {
  ...on(linux618, {
    name: 'cet-s-kvm-managed',
    title: 'PL0..2_SSP switched by KVM as MSRs',
    source: 'CET §5 M, CET-40, -41',
    changes: [
      'CET_S is no XSAVE component of this kernel: IA32_XSS[12] is 0, and guests are not offered it',
      'KVM keeps PL0_SSP..PL2_SSP in the vCPU: WRMSR at the first VM entry after vcpu_load(), RDMSR at vcpu_put()',
    ],
    document: `${CET_S_MAIL}: solution 2, as in the patch`,
  }),
  fpu: { ...linux618.fpu, supervisorSupported: 0xc00, guestOnlySupervisor: 0, separateGuestDefaults: false },
  kvm: { ...linux618.kvm, supportedXss: 0x800 },
  cet: { ...linux618.cet, supervisorState: 'kvm-managed', neededXss: 0x800 },
}

/** M with the optimization of CET-41: nothing is moved until the guest has used one of the registers. */
export const cetSupervisorKvmManagedLazy: KernelProfile = {
  ...on(linux618, {
    name: 'cet-s-kvm-managed-lazy',
    title: 'PL0..2_SSP switched by KVM as MSRs once a guest uses them',
    source: 'CET §5 M, CET-41',
    changes: [
      ...cetSupervisorKvmManaged.changes,
      'as long as no PL0_SSP..PL2_SSP was written with anything but 0, nothing is moved',
    ],
    document: `${CET_S_MAIL}: an optimization discussed for solution 2`,
  }),
  fpu: cetSupervisorKvmManaged.fpu,
  kvm: cetSupervisorKvmManaged.kvm,
  cet: { ...cetSupervisorKvmManaged.cet, managedStateWaitsForUse: true },
}

const SPLIT_LOCK_MAIL = '"kvm: vmx: virtualize split lock detection" ([PATCH v8 4/4]), Thomas Gleixner, 2020-04-15'

/** Split-lock detection for guests, eighth posting: thread flag, warn mode only, no SMT. SLD §5.3. */
export const splitLockV8: KernelProfile = {
  ...on(linux612, {
    name: 'sld-virt-v8',
    title: 'split-lock detection virtualized, v8',
    source: 'SLD §5.3, §6',
    changes: ['MSR_TEST_CTRL of a guest switches detection through the thread flag, in warn mode'],
    document: `the patch that ${SPLIT_LOCK_MAIL} reviews`,
  }),
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
  ...on(linux612, {
    name: 'sld-virt-v8-fixed',
    title: 'as v8; withdrawing the capability clears the control bit',
    source: 'SLD §5.3, SLD-64',
    changes: [...splitLockV8.changes, 'clearing CORE_CAPS[5] clears a stored MSR_TEST_CTRL[29]'],
    document: `the patch that ${SPLIT_LOCK_MAIL} reviews, corrected`,
  }),
  splitLock: { ...splitLockV8.splitLock, clearingCapabilityClearsControl: true },
}

/** Tenth posting: one switch function, and in fatal mode no matter whether cores have two threads. SLD-52. */
export const splitLockV10: KernelProfile = {
  ...on(linux612, {
    name: 'sld-virt-v10',
    title: 'split-lock detection virtualized, v10',
    source: 'SLD-50, SLD-52',
    changes: ['one switch function for host and guest', 'offered in fatal mode although cores have two threads'],
    document: `the tenth posting of the series that ${SPLIT_LOCK_MAIL} reviews`,
  }),
  splitLock: { ...splitLockV8.splitLock, guestVirtualization: 'v10', offeredDespiteSmtIfFatal: true },
}
