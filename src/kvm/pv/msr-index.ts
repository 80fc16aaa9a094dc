/** KVM's paravirtual MSRs (arch/x86/include/uapi/asm/kvm_para.h) and MSRs that the ISA table does not name. */
export const MSR_KVM_WALL_CLOCK = 0x11
export const MSR_KVM_SYSTEM_TIME = 0x12
export const MSR_KVM_WALL_CLOCK_NEW = 0x4b564d00
export const MSR_KVM_SYSTEM_TIME_NEW = 0x4b564d01
export const MSR_KVM_ASYNC_PF_EN = 0x4b564d02
export const MSR_KVM_STEAL_TIME = 0x4b564d03
export const MSR_KVM_PV_EOI_EN = 0x4b564d04
export const MSR_KVM_POLL_CONTROL = 0x4b564d05
export const MSR_KVM_ASYNC_PF_INT = 0x4b564d06
export const MSR_KVM_ASYNC_PF_ACK = 0x4b564d07
export const MSR_IA32_MCG_EXT_CTL = 0x4d0
export const MSR_AMD64_VIRT_SPEC_CTRL = 0xc001011f
