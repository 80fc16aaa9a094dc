/**
 * What the host kernel asks its profile: each question has a name, each answer a rule. `src/profiles` holds the answers
 * (a kernel version, or a proposal); nothing here compares versions.
 */
export interface LinuxProfile {
  /** `linux-6.12`. */
  readonly name: string
  readonly linux: LinuxQuestions
}

export interface LinuxQuestions {
  /** uname -r, uname -v. */
  readonly release: string
  readonly version: string
  readonly xstate: XstateQuestions
}

export interface XstateQuestions {
  /** First component number REQ_XCOMP_PERM calls invalid (PERM-17): 19, since 6.16 20. */
  readonly xfeatureMax: number
  /** Masks of PERM-01. */
  readonly userSupported: number
  readonly userDynamic: number
  readonly supervisorSupported: number
  /** Supervisor components that only vCPU images have (CET_S, 6.17+). */
  readonly guestSupervisor: number
  readonly independent: number
  /** The stored permission keeps supervisor and flag bits (PERM-59): false before 6.16. */
  readonly statePermKeepsSupervisor: boolean
  /** A host request computes the kernel size with all supervisor components (PERM §10): 5.18 to 6.15. */
  readonly requestSizeHasSupervisor: boolean
  /** PERM-66. */
  readonly guestPermission: 'enforced' | 'ignored'
  /** Least number of bytes KVM_GET_XSAVE2 moves (GFPU-03): 4096; 0 in 5.17. */
  readonly guestUabiFloor: number
  /** A non-zero guest XFD clears the image's XSTATE_BV bits (GFPU-32). */
  readonly guestXfdClearsImage: 'never' | 'when registers are not loaded' | 'always'
  /** KVM_SET_XSAVE drops components that the image's XFD disables (XSAVE-16). */
  readonly setXsaveDropsDisabled: boolean
  /** The signal frame's PKRU slot holds the interrupted value (PERM-47): 6.12+. */
  readonly signalFrameHasPkru: boolean
  /** STRICT_SIGALTSTACK_SIZE (PERM-31). */
  readonly strictSigaltstack: boolean
  /** Built with IA32 emulation: larger frames (PERM §5). */
  readonly ia32Emulation: boolean
}
