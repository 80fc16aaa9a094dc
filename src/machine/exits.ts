/** Why `Processor.runHost` returned. Details of an exception: `Processor.fault`. */
export const HOST_EXIT_BUDGET = 0
/** SYSCALL executed at CPL 3: RCX and R11 are already loaded; RIP is the address after SYSCALL. */
export const HOST_EXIT_SYSCALL = 1
/** A fault, trap or abort; RIP as the SDM says for its class. */
export const HOST_EXIT_EXCEPTION = 2
/** INT n (n in `fault.vector`), RIP after it. INT3/INTO/INT1 are exceptions. */
export const HOST_EXIT_SOFTWARE_INTERRUPT = 3

/** VM-exit basic reasons (SDM Vol. 3, Appendix C). */
export const EXIT_REASON_EXCEPTION_NMI = 0
export const EXIT_REASON_EXTERNAL_INTERRUPT = 1
export const EXIT_REASON_TRIPLE_FAULT = 2
export const EXIT_REASON_INTERRUPT_WINDOW = 7
export const EXIT_REASON_NMI_WINDOW = 8
export const EXIT_REASON_CPUID = 10
export const EXIT_REASON_HLT = 12
export const EXIT_REASON_INVD = 13
export const EXIT_REASON_INVLPG = 14
export const EXIT_REASON_RDPMC = 15
export const EXIT_REASON_RDTSC = 16
export const EXIT_REASON_VMCALL = 18
/** VMCLEAR 19 .. VMXON 27: VMX instructions executed by the guest. */
export const EXIT_REASON_VMCLEAR = 19
export const EXIT_REASON_VMXON = 27
export const EXIT_REASON_CR_ACCESS = 28
export const EXIT_REASON_DR_ACCESS = 29
export const EXIT_REASON_IO_INSTRUCTION = 30
export const EXIT_REASON_MSR_READ = 31
export const EXIT_REASON_MSR_WRITE = 32
export const EXIT_REASON_INVALID_STATE = 33
export const EXIT_REASON_MWAIT = 36
export const EXIT_REASON_MONITOR = 39
export const EXIT_REASON_PAUSE = 40
export const EXIT_REASON_EPT_VIOLATION = 48
export const EXIT_REASON_RDTSCP = 51
/** The instruction budget of this entry is used up (stands for the host timer interrupt). */
export const EXIT_REASON_PREEMPTION_TIMER = 52
export const EXIT_REASON_WBINVD = 54
export const EXIT_REASON_XSETBV = 55
export const EXIT_REASON_BUS_LOCK = 74
