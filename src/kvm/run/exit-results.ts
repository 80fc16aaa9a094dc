/** What an exit handler, completion or emulation step says. Negative results are -errno of KVM_RUN. */
/** Enter the guest again. */
export const ENTER_GUEST = 1
/** KVM_RUN returns 0; kvm_run says why. */
export const EXIT_TO_USER = 0
