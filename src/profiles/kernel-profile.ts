/**
 * What a kernel version, or a design proposed for it, does differently. Data only: code asks a question by its name
 * (`profile.xsave.getTrimsToGuestFeatures`) and never compares versions. Each question's comment says what it asks, and names
 * the rule that fixes the answer; each profile's file says from which release on.
 */
export interface KernelProfile {
  /** As `--kernel` takes it: `linux-6.12`, `proposal:sld-virt-v8`. */
  readonly name: string
  /** One line for `--kernel help`. */
  readonly title: string
  /** Where the answers come from. */
  readonly source: string
  /** Profile that this one is stated as a change of; null for the oldest. */
  readonly derivedFrom: string | null
  /** What it changes, a sentence each; `profileDifferences` has the same as data. */
  readonly changes: readonly string[]
  /** Message or commit that proposes or explains it; null where the release itself is the document. */
  readonly document: string | null
  readonly uname: Uname
  readonly permissions: PermissionProfile
  readonly fpu: FpuProfile
  readonly xsave: XsaveProfile
  readonly dynamicStates: DynamicStateProfile
  readonly kvm: KvmProfile
  readonly cet: CetProfile
  readonly splitLock: SplitLockProfile
  readonly userAbi: UserAbiProfile
}

/** uname(2). */
export interface Uname {
  readonly sysname: 'Linux'
  readonly release: string
  readonly version: string
  readonly machine: 'x86_64'
}

/** arch_prctl permission model. PERM §4, §10-12. */
export interface PermissionProfile {
  /** ARCH_GET_XCOMP_SUPP/PERM and ARCH_REQ_XCOMP_PERM exist; else EINVAL. 5.16. */
  readonly hostPermSupported: boolean
  /** ARCH_GET/REQ_XCOMP_GUEST_PERM exist; else EINVAL. 5.17. */
  readonly guestPermSupported: boolean
  /** A request for a component number not below this is EINVAL; below it and not of a facility EOPNOTSUPP. PERM-17. */
  readonly xfeatureMax: number
  /** What can be asked for: a facility by its highest component, and all components that are granted with it. PERM-19. */
  readonly facilities: readonly PermissionFacility[]
  /** A host request computes the kernel size with all supported supervisor components added. PERM §10, 5.18 to 6.15. */
  readonly hostSizeForcesSupervisor: boolean
  /** state_perm keeps supervisor bits when a request is granted; else it stores user bits only. PERM-59, 6.16. */
  readonly keepsSupervisorBits: boolean
  /** `ignored`: the reviewer's alternative, PERM-63..66. `enforced` in every release that has guest permission. */
  readonly guestPermission: 'enforced' | 'ignored'
}

/** Something a program asks permission for. Mask: bit n = component n. */
export interface PermissionFacility {
  readonly name: string
  readonly highestComponent: number
  readonly components: number
}

/** State components and kernel images. PERM §1-3, GFPU. Masks: bit n = component n. */
export interface FpuProfile {
  /** User components this kernel manages. PERM-01. */
  readonly userSupported: number
  /** Those of them a task gets only after permission. PERM-01. */
  readonly userDynamic: number
  /** Supervisor components this kernel manages. PERM-01. */
  readonly supervisorSupported: number
  /** Supervisor components present in vCPU images only. PERM-01, CET-42. */
  readonly guestOnlySupervisor: number
  /** Supervisor components enabled in IA32_XSS but never in a task's or vCPU's image. PERM-01. */
  readonly independentSupervisor: number
  /** The PKRU component needs the feature bit CR4.PKE mirrors (`ospke`), or the plain CPU bit (`pku`). PERM §1. */
  readonly pkruGate: 'ospke' | 'pku'
  /** Standard size is that of the highest-numbered component, not the maximum over all. PERM-08, before 6.16. */
  readonly standardSizeOfHighestComponent: boolean
  /** MPX together with APX disables XSAVE at boot. PERM §1, 6.16. */
  readonly refusesMpxWithApx: boolean
  /** vCPU images start from their own default set instead of the thread's. PERM §3, 6.17. */
  readonly separateGuestDefaults: boolean
  /** The guest container records a copy of the permission at creation. GFPU §1, 5.17 to 6.15. */
  readonly containerRecordsPermission: boolean
  /** A signal frame's PKRU slot holds the interrupted PKRU with its bit set. PERM-47, 6.12. */
  readonly signalFrameCarriesPkru: boolean
  /** Loading a loaded vCPU image, or putting one that is not, kills the VM. GFPU-16, 6.18. */
  readonly imbalancedSwapIsBug: boolean
  /** INIT swaps the guest FPU out and in only if it was in use. GFPU-48, late 6.18. */
  readonly initSwapsOnlyWhenInUse: boolean
}

/** KVM_GET/SET_XSAVE and what they accept. XSAVE §2, §3, §5. */
export interface XsaveProfile {
  /** Name of the ABI era in the specification. */
  readonly era: 'E0' | 'E1' | 'E2' | 'E3' | 'E3+xfd'
  /** GET returns no component outside the guest's CPUID (FP and SSE apart). False only in E1. XSAVE-06, -34. */
  readonly getTrimsToGuestFeatures: boolean
  /** Each KVM_SET_CPUID2 rewrites the components SET accepts to the guest's. E2. XSAVE-35. */
  readonly setBoundToGuestFeatures: boolean
  /** SET also refuses components the vCPU image is not made for. From E1 on. XSAVE-18. */
  readonly setRequiresImageFeatures: boolean
  /** SET refuses a non-zero XCOMP_BV and reserved header bytes. From E1 on. XSAVE-19. */
  readonly setChecksHeader: boolean
  /** SET looks at MXCSR even when none of FP, SSE, YMM is given. E0. XSAVE §5. */
  readonly setAlwaysChecksMxcsr: boolean
  /** SET silently drops components that the vCPU's XFD disables. XSAVE-16, GFPU-33. */
  readonly setMasksWithXfd: boolean
  /** SET clears XSTATE_BV bits that the host or the image lacks instead of refusing them. Proposed, never merged: XSAVE-36, M6. */
  readonly setDropsUnsupported: boolean
  /** A non-zero IA32_XFD write clears those bits of the image's XSTATE_BV when NEED_FPU_LOAD is set. GFPU-32. */
  readonly xfdWriteClearsImage: boolean
  /** The whole switch of GFPU-32: clear on every XFD write, also host-initiated. No release does. */
  readonly xfdWriteAlwaysClearsImage: boolean
  /** XSAVE, FPU and XCRS ioctls are EINVAL on VM types with protected state. GFPU-24, XSAVE-31, 6.10. */
  readonly protectedStateIsEinval: boolean
}

/** How a guest gets space for dynamic components. GFPU §5. */
export interface DynamicStateProfile {
  /**
   * none: no guest ever has them. at-cpuid: D3, merged in 5.17. inline: D2, at XSETBV and IA32_XFD writes. realloc-exit: D1,
   * through KVM_EXIT_FPU_REALLOC.
   */
  readonly enabling: 'none' | 'at-cpuid' | 'inline' | 'realloc-exit'
}

/** KVM besides the XSAVE image. XSAVE §6-9, KAPI. */
export interface KvmProfile {
  /** KVM_CAP_XSAVE2, KVM_GET_XSAVE2. 5.17. */
  readonly hasXsave2: boolean
  /** KVM_CAP_SYS_ATTRIBUTES and KVM_X86_XCOMP_GUEST_SUPP. 5.17. */
  readonly hasSysAttributes: boolean
  /** AMX and XFD are in the sets KVM can offer. 5.17. */
  readonly offersAmx: boolean
  /** A new vCPU's XSAVE image counts at least 4096 bytes. GFPU-03, 6.1. */
  readonly baseUabiSizeFloor4096: boolean
  /** KVM_GET_SUPPORTED_CPUID drops XTILE_CFG when XTILE_DATA is not permitted. XSAVE-40, 6.4. */
  readonly hidesXtileCfgWithoutPermission: boolean
  /** KVM_SET_CPUID2 after the first KVM_RUN: accepted if nothing changes (5.17), or refused always (5.16), or unchecked. XSAVE-49. */
  readonly rejectsChangedCpuidAfterRun: boolean
  readonly rejectsAnyCpuidAfterRun: boolean
  /** Run-time CPUID bits are refreshed when looked at instead of at once. XSAVE-51, about 6.14. */
  readonly refreshesCpuidLazily: boolean
  /** CPUID.(0DH,1).EBX counts IA32_XSS components. XSAVE-50, 6.18. */
  readonly compactedSizeCountsXss: boolean
  /** Supervisor components KVM can offer, before the host's own set is applied. GFPU-07, CET-20. */
  readonly supportedXss: number
  /** A host write of IA32_XSS needs XSAVES in the guest's CPUID too. XSAVE-55, 6.18. */
  readonly xssHostWriteNeedsGuestXsaves: boolean
  /** KVM_GET/SET_ONE_REG and KVM_GET_REG_LIST work on x86. CET-17, 6.18. */
  readonly hasOneReg: boolean
  /** KVM_SET_SREGS checks EFER.LME/LMA/NX against the vCPU's CPUID even before KVM_SET_CPUID2. KAPI-43. */
  readonly setSregsChecksEferBeforeCpuid: boolean
  /** Bits of KVM_CAP_DISABLE_QUIRKS2, two-dimensional paging assumed (bit 9 needs it). KAPI-12; recorded 0x7ff on 6.12.113. */
  readonly quirks: number
  /** 1EH subleaf 1 in KVM_GET_SUPPORTED_CPUID. XSAVE-44. */
  readonly reportsTmulSubleaf1: boolean
  /** MSR_PLATFORM_INFO is in the feature-MSR list. KAPI-79. */
  readonly platformInfoIsFeatureMsr: boolean
}

/** Control-flow enforcement. CET §3, §5, LUX-33..36. */
export interface CetProfile {
  /** arch_prctl ARCH_SHSTK_*, map_shadow_stack: shadow stacks for host tasks. 6.6. */
  readonly userShadowStack: boolean
  /** SHSTK and IBT can be offered to guests. CET-21, 6.18. */
  readonly offeredToGuests: boolean
  /**
   * Where CET_S lives. absent: nowhere. guest-only: G, merged in 6.17. kernel-wide: K, in every image. kvm-managed: M, in the
   * vCPU structure with MSR accesses at load and put. CET §5.
   */
  readonly supervisorState: 'absent' | 'guest-only' | 'kernel-wide' | 'kvm-managed'
  /** kvm-managed: nothing is moved before a register was written with something other than 0. CET-41. */
  readonly managedStateWaitsForUse: boolean
  /** Components that must be in KVM's IA32_XSS for SHSTK and IBT to be offered. CET-21. */
  readonly neededXss: number
}

/** Split-lock detection. SLD. */
export interface SplitLockProfile {
  /** Warn mode: log, sleep, switch off for the CPU and back on by timer (SLD-19); or set a thread flag for good (SLD-22). */
  readonly warnDesign: 'timed-reenable' | 'thread-flag'
  /** With mitigation off, all CPUs share one re-enabling work item. SLD-21. */
  readonly sharedReenableWork: boolean
  /** The CPU feature flag is set although the boot option says off. SLD-11. */
  readonly featureSetWhenOff: boolean
  /** sysctl kernel.split_lock_mitigate exists. SLD-15. */
  readonly hasMitigateSysctl: boolean
  /** Bus-lock #DB and `ratelimit:N` are supported. SLD-13, -24; 5.13. */
  readonly busLockDetection: boolean
  /** How guests see it: not at all (SLD-36), or as one of the posted series. SLD §5.3, SLD-52. */
  readonly guestVirtualization: 'none' | 'v8' | 'v10'
  /** In fatal mode guests are offered it although cores have two threads. SLD-52: v10. */
  readonly offeredDespiteSmtIfFatal: boolean
  /** Clearing CORE_CAPS[5] also clears a stored MSR_TEST_CTRL[29]. SLD-64: false in v8, true in a corrected variant. */
  readonly clearingCapabilityClearsControl: boolean
}

/** What else unmodified programs can see of the version. LUX. */
export interface UserAbiProfile {
  /** Anonymous mappings of a multiple of 2 MiB, placed by the kernel, are aligned to 2 MiB (thp_get_unmapped_area). 6.7. */
  readonly alignsLargeMappings: boolean
  /** AT_MINSIGSTKSZ in the auxiliary vector. 5.14. */
  readonly auxvMinSigStkSz: boolean
  /** AT_RSEQ_FEATURE_SIZE and AT_RSEQ_ALIGN. 6.3. */
  readonly auxvRseq: boolean
  /** Linear address masking: ARCH_ENABLE_TAGGED_ADDR and friends. 6.4. */
  readonly taggedAddresses: boolean
}
