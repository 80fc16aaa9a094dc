import type { KernelProfile } from './kernel-profile.ts'

/**
 * Released kernels, oldest first; each states what changed since the one before it. `linux-X.Y` is a late stable release of the
 * series, `linux-X.Y.0` the mainline release where the two differ. Releases in which a change first appeared: PERM §12, GFPU,
 * XSAVE §9, CET §5, SLD §4; "recorded" = seen on a running kernel.
 */

const FP_TO_HI16_ZMM = 0xff
const PKRU = 0x200
const PASID = 0x400
const CET_U = 0x800
const CET_S = 0x1000
const LBR = 0x8000
const XTILE_CFG = 0x20000
const XTILE_DATA = 0x40000
/** Asked for by its highest component; XTILE_CFG is everybody's from the start. PERM-19. */
const AMX = { name: 'AMX', highestComponent: 18, components: XTILE_DATA }
const APX = 0x80000

const uname = (release: string, version = '#1 SMP PREEMPT_DYNAMIC'): KernelProfile['uname'] => ({
  sysname: 'Linux',
  release,
  version,
  machine: 'x86_64',
})

/** Last release without AMX. */
export const linux515: KernelProfile = {
  name: 'linux-5.15',
  title: 'before AMX: no permissions, user-visible XSAVE untouched by guests (E0)',
  source: 'PERM §12, XSAVE §5 (E0), SLD §4',
  derivedFrom: null,
  changes: [],
  document: null,
  uname: uname('5.15.0', '#1 SMP'),
  permissions: {
    hostPermSupported: false,
    guestPermSupported: false,
    xfeatureMax: 19,
    facilities: [],
    hostSizeForcesSupervisor: false,
    keepsSupervisorBits: false,
    guestPermission: 'enforced',
  },
  fpu: {
    userSupported: FP_TO_HI16_ZMM | PKRU,
    userDynamic: 0,
    // PASID is "5.18 in practice": PERM §1.
    supervisorSupported: 0,
    guestOnlySupervisor: 0,
    independentSupervisor: LBR,
    pkruGate: 'pku',
    standardSizeOfHighestComponent: true,
    refusesMpxWithApx: false,
    separateGuestDefaults: false,
    containerRecordsPermission: false,
    signalFrameCarriesPkru: false,
    imbalancedSwapIsBug: false,
    initSwapsOnlyWhenInUse: false,
  },
  xsave: {
    era: 'E0',
    getTrimsToGuestFeatures: true,
    setBoundToGuestFeatures: false,
    setRequiresImageFeatures: false,
    setChecksHeader: false,
    setAlwaysChecksMxcsr: true,
    setMasksWithXfd: false,
    setDropsUnsupported: false,
    xfdWriteClearsImage: false,
    xfdWriteAlwaysClearsImage: false,
    protectedStateIsEinval: false,
  },
  dynamicStates: { enabling: 'none' },
  kvm: {
    hasXsave2: false,
    hasSysAttributes: false,
    offersAmx: false,
    // Only KVM_GET_XSAVE existed: 4096 bytes.
    baseUabiSizeFloor4096: true,
    hidesXtileCfgWithoutPermission: false,
    rejectsChangedCpuidAfterRun: false,
    rejectsAnyCpuidAfterRun: false,
    refreshesCpuidLazily: false,
    compactedSizeCountsXss: false,
    supportedXss: 0,
    xssHostWriteNeedsGuestXsaves: false,
    hasOneReg: false,
    setSregsChecksEferBeforeCpuid: false,
    quirks: 0x1f,
    reportsTmulSubleaf1: false,
    platformInfoIsFeatureMsr: false,
  },
  cet: {
    userShadowStack: false,
    offeredToGuests: false,
    supervisorState: 'absent',
    managedStateWaitsForUse: false,
    neededXss: CET_U | CET_S,
  },
  splitLock: {
    warnDesign: 'thread-flag',
    sharedReenableWork: false,
    featureSetWhenOff: true,
    hasMitigateSysctl: false,
    busLockDetection: true,
    guestVirtualization: 'none',
    offeredDespiteSmtIfFatal: false,
    clearingCapabilityClearsControl: false,
  },
  userAbi: { alignsLargeMappings: false, auxvMinSigStkSz: true, auxvRseq: false, taggedAddresses: false },
}

/** AMX for tasks; XSAVE ioctls go through the common validator and leak (E1). */
export const linux516: KernelProfile = {
  ...linux515,
  name: 'linux-5.16',
  title: 'AMX for tasks; KVM_GET_XSAVE untrimmed (E1)',
  source: 'PERM §12, XSAVE §5 (E1), XSAVE-34, -49',
  derivedFrom: 'linux-5.15',
  changes: [
    'AMX for tasks: ARCH_REQ_XCOMP_PERM, XFD, buffers that grow',
    'KVM_GET_XSAVE and KVM_SET_XSAVE go through the common converter: GET is no longer trimmed, SET checks the header',
    'KVM_SET_CPUID2 after KVM_RUN is refused',
  ],
  document: null,
  uname: uname('5.16.0'),
  permissions: { ...linux515.permissions, hostPermSupported: true, facilities: [AMX] },
  fpu: {
    ...linux515.fpu,
    userSupported: FP_TO_HI16_ZMM | PKRU | XTILE_CFG | XTILE_DATA,
    userDynamic: XTILE_DATA,
  },
  xsave: {
    ...linux515.xsave,
    era: 'E1',
    getTrimsToGuestFeatures: false,
    setRequiresImageFeatures: true,
    setChecksHeader: true,
    setAlwaysChecksMxcsr: false,
  },
  kvm: { ...linux515.kvm, rejectsAnyCpuidAfterRun: true },
}

/** AMX for guests; SET_XSAVE bound to the guest's CPUID (E2). */
export const linux517: KernelProfile = {
  ...linux516,
  name: 'linux-5.17',
  title: 'AMX for guests; KVM_SET_XSAVE bound to guest CPUID (E2)',
  source: 'PERM §12, GFPU §5 (D3), XSAVE §5 (E2), §9',
  derivedFrom: 'linux-5.16',
  changes: [
    'AMX for guests: guest permissions, vCPU images enlarged at KVM_SET_CPUID2, KVM_GET_XSAVE2',
    "KVM_SET_CPUID2 binds what KVM_GET_XSAVE and KVM_SET_XSAVE accept to the guest's CPUID (ad856280ddea)",
    'KVM_SET_CPUID2 after KVM_RUN is accepted if it changes nothing',
  ],
  document: null,
  uname: uname('5.17.0'),
  permissions: { ...linux516.permissions, guestPermSupported: true },
  fpu: { ...linux516.fpu, containerRecordsPermission: true },
  xsave: { ...linux516.xsave, era: 'E2', getTrimsToGuestFeatures: true, setBoundToGuestFeatures: true },
  dynamicStates: { enabling: 'at-cpuid' },
  kvm: {
    ...linux516.kvm,
    hasXsave2: true,
    hasSysAttributes: true,
    offersAmx: true,
    // GFPU-03: the user default size itself.
    baseUabiSizeFloor4096: false,
    rejectsAnyCpuidAfterRun: false,
    rejectsChangedCpuidAfterRun: true,
  },
}

/** 5.18 brought PASID and the forced supervisor bits, 5.19 the timed split-lock design. */
export const linux61_0: KernelProfile = {
  ...linux517,
  name: 'linux-6.1.0',
  title: 'mainline 6.1: PASID, forced supervisor size, timed split-lock warning (E2)',
  source: 'PERM §10, §12, XSAVE §9 (6.1 .0), SLD-26',
  derivedFrom: 'linux-5.17',
  changes: [
    '5.18: PASID in every image; a host request computes its size with all supervisor components (781c64bfcb73)',
    '5.19: split-lock warn mode switches detection off for a moment only',
    'KVM_GET_XSAVE2 moves at least 4096 bytes',
  ],
  document: null,
  uname: uname('6.1.0'),
  permissions: { ...linux517.permissions, hostSizeForcesSupervisor: true },
  fpu: { ...linux517.fpu, supervisorSupported: PASID },
  kvm: { ...linux517.kvm, baseUabiSizeFloor4096: true, quirks: 0x7f },
  splitLock: {
    ...linux517.splitLock,
    // First release UNVERIFIED in the specification: 5.19.
    warnDesign: 'timed-reenable',
    sharedReenableWork: true,
    hasMitigateSysctl: false,
  },
}

/** Debian's 6.1.y: the late-2023 series and the XFD fix arrived from stable. */
export const linux61: KernelProfile = {
  ...linux61_0,
  name: 'linux-6.1',
  title: 'late 6.1.y stable: KVM_SET_XSAVE takes what the host can load, XFD masked (E3+xfd)',
  source: 'XSAVE §5 (E3), §9 (later 6.1.y)',
  derivedFrom: 'linux-6.1.0',
  changes: [
    'KVM_SET_XSAVE takes what the host can load, KVM_GET_XSAVE trims (the late-2023 series, from stable)',
    'XFD is masked in KVM_SET_XSAVE and on XFD writes',
    'sysctl kernel.split_lock_mitigate, and a work item per processor that turns split-lock detection on again (Debian 6.1.192)',
  ],
  document: null,
  uname: uname('6.1.172'),
  xsave: {
    ...linux61_0.xsave,
    era: 'E3+xfd',
    setBoundToGuestFeatures: false,
    setMasksWithXfd: true,
    xfdWriteClearsImage: true,
  },
  splitLock: { ...linux61_0.splitLock, hasMitigateSysctl: true, sharedReenableWork: false },
}

/** User shadow stacks; CET_U in every image. */
export const linux66_0: KernelProfile = {
  ...linux61_0,
  name: 'linux-6.6.0',
  title: 'mainline 6.6: user shadow stacks, KVM_SET_XSAVE takes what the host can load (E3)',
  source: 'PERM §12, XSAVE §5 (E3), §9, CET §5',
  derivedFrom: 'linux-6.1.0',
  changes: [
    'User shadow stacks: CET_U in every image',
    'KVM_SET_XSAVE takes what the host can load, KVM_GET_XSAVE trims',
    'XTILE_CFG is hidden from guests without permission for tile data',
    '6.2: sysctl kernel.split_lock_mitigate',
  ],
  document: null,
  uname: uname('6.6.0'),
  fpu: { ...linux61_0.fpu, supervisorSupported: PASID | CET_U, pkruGate: 'ospke' },
  xsave: { ...linux61_0.xsave, era: 'E3', setBoundToGuestFeatures: false },
  kvm: { ...linux61_0.kvm, hidesXtileCfgWithoutPermission: true },
  cet: { ...linux61_0.cet, userShadowStack: true },
  splitLock: { ...linux61_0.splitLock, hasMitigateSysctl: true },
  userAbi: { alignsLargeMappings: false, auxvMinSigStkSz: true, auxvRseq: true, taggedAddresses: true },
}

export const linux66: KernelProfile = {
  ...linux66_0,
  name: 'linux-6.6',
  title: 'late 6.6.y stable: XFD masked in KVM_SET_XSAVE (E3+xfd)',
  source: 'XSAVE §9 (later 6.6.y)',
  derivedFrom: 'linux-6.6.0',
  changes: ['XFD is masked in KVM_SET_XSAVE and on XFD writes (stable)'],
  document: null,
  uname: uname('6.6.120'),
  xsave: { ...linux66_0.xsave, era: 'E3+xfd', setMasksWithXfd: true, xfdWriteClearsImage: true },
}

export const linux612_0: KernelProfile = {
  ...linux66_0,
  name: 'linux-6.12.0',
  title: 'mainline 6.12: PKRU in signal frames, protected-state checks (E3)',
  source: 'PERM §12, XSAVE §9, PERM-47, GFPU-24',
  derivedFrom: 'linux-6.6.0',
  changes: ['Signal frames carry the interrupted PKRU', 'XSAVE, FPU and XCRS ioctls of VM types with protected state are EINVAL'],
  document: null,
  uname: uname('6.12.0'),
  fpu: { ...linux66_0.fpu, signalFrameCarriesPkru: true },
  xsave: { ...linux66_0.xsave, protectedStateIsEinval: true },
  kvm: { ...linux66_0.kvm, quirks: 0xff },
  // CONFIG_ADDRESS_MASKING needs !CPU_MITIGATIONS here ("wait for LASS"); distribution builds lack it.
  userAbi: { ...linux66_0.userAbi, alignsLargeMappings: true, taggedAddresses: false },
}

/** The kernel of the recordings and of the conformance ladder. */
export const linux612: KernelProfile = {
  ...linux612_0,
  name: 'linux-6.12',
  title: "Debian's 6.12.y as recorded (6.12.113): XFD masked in KVM_SET_XSAVE (E3+xfd)",
  source: 'recordings linux-6.12-bochs-spr and linux-6.12-qemu-tcg (6.12.113+deb12); PERM, GFPU, XSAVE, CET, SLD, KAPI, LUX',
  derivedFrom: 'linux-6.12.0',
  changes: ['XFD is masked in KVM_SET_XSAVE and on XFD writes (stable)', 'quirks and SREGS checks as recorded'],
  document: null,
  uname: uname('6.12.113+deb12-cloud-amd64', '#1 SMP PREEMPT_DYNAMIC Debian 6.12.113-1~deb12u1'),
  xsave: { ...linux612_0.xsave, era: 'E3+xfd', setMasksWithXfd: true, xfdWriteClearsImage: true },
  kvm: { ...linux612_0.kvm, setSregsChecksEferBeforeCpuid: true, quirks: 0x7ff },
}

/** APX (6.16), guest-only CET_S (6.17), CET for guests (6.18). */
export const linux618_0: KernelProfile = {
  ...linux612_0,
  name: 'linux-6.18.0',
  title: 'mainline 6.18: CET for guests, guest-only CET_S, APX; XFD not masked (E3)',
  source: 'PERM §10, §12, XSAVE §9, CET §2-5',
  derivedFrom: 'linux-6.12.0',
  changes: [
    '6.16: state_perm keeps supervisor bits; APX',
    '6.17: CET_S in vCPU images only',
    '6.18: SHSTK and IBT for guests, IA32_XSS for guests, KVM_GET_ONE_REG',
  ],
  document: null,
  uname: uname('6.18.0'),
  permissions: {
    ...linux612_0.permissions,
    xfeatureMax: 20,
    hostSizeForcesSupervisor: false,
    keepsSupervisorBits: true,
  },
  fpu: {
    ...linux612_0.fpu,
    userSupported: linux612_0.fpu.userSupported | APX,
    supervisorSupported: PASID | CET_U | CET_S,
    guestOnlySupervisor: CET_S,
    standardSizeOfHighestComponent: false,
    refusesMpxWithApx: true,
    separateGuestDefaults: true,
    containerRecordsPermission: false,
    imbalancedSwapIsBug: true,
  },
  kvm: {
    ...linux612_0.kvm,
    refreshesCpuidLazily: true,
    compactedSizeCountsXss: true,
    supportedXss: CET_U | CET_S,
    xssHostWriteNeedsGuestXsaves: true,
    hasOneReg: true,
    setSregsChecksEferBeforeCpuid: true,
    quirks: 0x7ff,
    platformInfoIsFeatureMsr: true,
  },
  cet: { ...linux612_0.cet, offeredToGuests: true, supervisorState: 'guest-only' },
  // SLD-21: newer kernels have a work item per CPU.
  splitLock: { ...linux612_0.splitLock, sharedReenableWork: false },
}

export const linux618: KernelProfile = {
  ...linux618_0,
  name: 'linux-6.18',
  title: 'late 6.18.y stable as recorded (6.18.44): as 6.18.0 with XFD masked (E3+xfd)',
  source: 'recording linux-6.18-host (6.18.44); PERM, GFPU, XSAVE, CET',
  derivedFrom: 'linux-6.18.0',
  changes: ['XFD is masked in KVM_SET_XSAVE and on XFD writes (stable)', 'INIT swaps the guest FPU only when it was in use'],
  document: null,
  uname: uname('6.18.44'),
  fpu: { ...linux618_0.fpu, initSwapsOnlyWhenInUse: true },
  xsave: { ...linux618_0.xsave, era: 'E3+xfd', setMasksWithXfd: true, xfdWriteClearsImage: true },
}
