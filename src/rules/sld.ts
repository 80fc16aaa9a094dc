import type { Rule } from './rule.ts'

const LOCKS = 'SDM Vol. 3A §9.1.2.3 (features to disable bus locks)'
const SDM4 = 'SDM Vol. 4, MSR_TEST_CTRL and IA32_CORE_CAPABILITIES'
const DEBUG = 'SDM Vol. 3B §18.3.1.6 (OS bus-lock detection)'
const INTEL = 'arch/x86/kernel/cpu/intel.c, 6.12'
const FLAG = 'arch/x86/kernel/cpu/intel.c, arch/x86/kernel/process.c, 5.7 to 5.18'
const TRAPS = 'arch/x86/kernel/traps.c, 6.12'
const VMX = 'arch/x86/kvm/vmx/vmx.c, 6.12'
const X86 = 'arch/x86/kvm/x86.c, 6.12'
const V8 = 'lkml series "kvm/split_lock" v8 (2020-04)'
const REVIEW = `review of ${V8}, patch 4/4 (2020-04-15)`
const V10 = 'lkml series "kvm/split_lock" v9 and v10 (2020)'

/** Rules SLD-*: split-lock detection. Where the series leaves something open, the row says what the model does. */
export const SLD_RULES: readonly Rule[] = [
  {
    id: 'SLD-01',
    says: 'An access is a split lock if it is locked, by prefix or as XCHG with memory, and (address mod 64) + size exceeds 64; a misaligned one inside a line, or one without a lock, is none.',
    source: LOCKS,
  },
  {
    id: 'SLD-02',
    says: 'With MSR_TEST_CTRL[29] set a split lock raises #AC(0) at any privilege, whatever CR0.AM and RFLAGS.AC are, with memory unchanged and RIP at the instruction.',
    source: `${LOCKS}; ${SDM4}`,
  },
  {
    id: 'SLD-03',
    says: 'With the bit clear it is executed, unless ring 3 has alignment check on: that #AC looks the same, and nothing tells the two apart.',
    source: `${LOCKS}; SDM Vol. 3A §6.15, interrupt 17`,
  },
  {
    id: 'SLD-04',
    says: 'CMPXCHG16B on an address that is no multiple of 16 is #GP, with detection on or off.',
    source: 'SDM Vol. 2A, CMPXCHG16B',
  },
  {
    id: 'SLD-05',
    says: "Whether the processor's own locked cycles (accessed bit of a descriptor, accessed and dirty bits of pages) raise #AC is not documented; here they never do.",
    source: 'choice of the model; no manual says',
  },
  {
    id: 'SLD-06',
    says: "The threads of a core share MSR_TEST_CTRL, and Linux still writes it as each logical processor's own, without a lock: what one thread writes is what its sibling runs with.",
    source: `${SDM4}; ${INTEL}, sld_update_msr`,
  },
  {
    id: 'SLD-07',
    says: 'Writing a bit of MSR_TEST_CTRL other than 29 and 31 is #GP, as is writing IA32_CORE_CAPABILITIES at all, and reading either where it does not exist.',
    source: SDM4,
  },
  {
    id: 'SLD-08',
    says: 'The bus-lock #DB comes after the locked access, for accesses outside ring 0 only, and never where detection raised #AC before; memory that is not write-back, whose locks raise it too, is not modelled.',
    source: DEBUG,
  },
  {
    id: 'SLD-09',
    says: 'A kernel that finds CPUID.1:ECX[31] set, as every guest does, does not look for split-lock detection.',
    source: `${INTEL}, split_lock_setup`,
  },
  {
    id: 'SLD-10',
    says: 'Else detection is there if the model is known for it or IA32_CORE_CAPABILITIES[5] is set, and if boot can clear the bit, set it and read both back; a register that does not follow is as good as none.',
    source: `${INTEL}, split_lock_setup, __split_lock_setup, split_lock_verify_msr`,
  },
  {
    id: 'SLD-11',
    says: 'With split_lock_detect=off the feature flag is set all the same; in the kernels of the series it was not, so that having it meant that the mode is not off.',
    source: `${INTEL}; that of 5.7, first release with the change unverified`,
  },
  {
    id: 'SLD-12',
    says: 'What MSR_TEST_CTRL holds beside bit 29 on the first processor at boot is what every write after boot puts there, on any processor.',
    source: `${INTEL}, msr_test_ctrl_cache, sld_update_msr`,
  },
  {
    id: 'SLD-13',
    says: 'split_lock_detect= takes off, warn, fatal and ratelimit:N with N from 1 to 1000; anything else, or nothing, is warn, and a processor without either feature has mode off.',
    source: `${INTEL}, sld_state_setup, match_option`,
  },
  {
    id: 'SLD-14',
    says: 'Warn and fatal set MSR_TEST_CTRL[29] where it works and else IA32_DEBUGCTL[2]; ratelimit uses IA32_DEBUGCTL[2] only; off neither.',
    source: `${INTEL}, split_lock_init, bus_lock_init`,
  },
  {
    id: 'SLD-15',
    says: 'sysctl kernel.split_lock_mitigate, 0 or 1 and 1 at boot, says whether warn mode penalizes.',
    source: `${INTEL}, sld_sysctls`,
  },
  {
    id: 'SLD-16',
    says: 'In warn mode a processor that goes offline gets the bit set, whatever it was, so that its sibling is not left without detection.',
    source: `${INTEL}, splitlock_cpu_offline`,
  },
  {
    id: 'SLD-17',
    says: '#AC in user mode is SIGBUS with RFLAGS.AC set or in fatal mode, and takes the path of warn mode otherwise.',
    source: `${INTEL}, handle_user_split_lock; ${TRAPS}, exc_alignment_check`,
  },
  {
    id: 'SLD-18',
    says: 'That SIGBUS has si_code BUS_ADRALN, si_addr NULL, trap 17, error 0 and RIP at the instruction; blocked or ignored it kills.',
    source: `${TRAPS}, do_trap; kernel/signal.c, force_sig_fault`,
  },
  {
    id: 'SLD-19',
    says: 'Warn mode names each task in the log once, sleeps 10 ms and waits for its turn where it mitigates, either of which a signal ends with detection on, turns detection off and has it turned on again in 2 jiffies.',
    source: `${INTEL}, split_lock_warn`,
  },
  {
    id: 'SLD-20',
    says: 'So detection is off for a processor, not a thread, for about 2 jiffies; afterwards the same task traps again, without another line.',
    source: `${INTEL}, split_lock_warn, __split_lock_reenable`,
  },
  {
    id: 'SLD-21',
    says: 'Without mitigation all processors share one work item, and one that asks while it is pending stays without detection; newer kernels have an item for each.',
    source: `${INTEL}, sl_reenable; arch/x86/kernel/cpu/bus_lock.c, 6.18`,
  },
  {
    id: 'SLD-22',
    says: 'In the older design warn mode logs, turns detection off and flags the thread, for the rest of its life; there is no penalty.',
    source: `${FLAG}, split_lock_warn`,
  },
  {
    id: 'SLD-23',
    says: "#AC in the kernel's own code is fatal to it, so nothing it does for a program or a guest may be a locked access across lines; the modelled kernel does none.",
    source: `${TRAPS}, exc_alignment_check; kernel/futex/core.c, 6.12`,
  },
  {
    id: 'SLD-24',
    says: 'A bus-lock #DB of user mode does nothing in off, logs in warn, sends SIGBUS in fatal with RIP after the instruction, and in ratelimit:N sleeps 20 ms at a time until fewer than N came in the current second.',
    source: `${INTEL}, handle_bus_lock`,
  },
  {
    id: 'SLD-25',
    says: 'With both features warn and fatal use #AC alone and ratelimit #DB alone.',
    source: `${INTEL}, bus_lock_init, split_lock_init`,
  },
  {
    id: 'SLD-26',
    says: 'Until 2022 a thread flag meant that detection is off while its thread runs; the design of a moment without detection replaced it, in the profiles from 6.1 on (the release itself is unverified).',
    source: FLAG,
  },
  {
    id: 'SLD-27',
    says: "A context switch writes MSR_TEST_CTRL if the flags of the two tasks differ, with what the next one's says, and does not look at the register otherwise.",
    source: `${FLAG}, switch_to_sld`,
  },
  {
    id: 'SLD-28',
    says: 'The flag is inherited by fork and clone, and exec keeps it.',
    source: `${FLAG}; kernel/fork.c copies thread flags`,
  },
  {
    id: 'SLD-29',
    says: 'Idle and new kernel threads have it clear: detection is on wherever no flagged thread runs.',
    source: `${FLAG}, switch_to_sld`,
  },
  {
    id: 'SLD-30',
    says: 'The flag is kept in one place and one polarity, set = off; what the register gets and what a vCPU notes of its thread are derived from it.',
    source: `requirement of the model, from ${REVIEW}`,
  },
  {
    id: 'SLD-31',
    says: 'KVM on VMX intercepts every #AC, and injects it if the host lacks detection or the guest is in ring 3 with CR0.AM and RFLAGS.AC.',
    source: `${VMX}, vmx_guest_inject_ac`,
  },
  {
    id: 'SLD-32',
    says: "Any other #AC of a guest is the host's: in warn mode the vCPU's thread goes through the host's warn path and the guest tries again, in fatal mode SLD-33 follows.",
    source: `${VMX}, handle_exception_nmi; ${INTEL}, handle_guest_split_lock`,
  },
  {
    id: 'SLD-33',
    says: "Fatal: one log line a boot, SIGBUS for the vCPU's thread, and KVM_RUN returns 0 with KVM_EXIT_EXCEPTION, exception 17, error 0; the guest's RIP is at the instruction and nothing is queued for it.",
    source: `${INTEL}, handle_guest_split_lock; ${VMX}, handle_exception_nmi`,
  },
  {
    id: 'SLD-34',
    says: 'A handler of that SIGBUS runs before user space sees the result of KVM_RUN, with 0 as its saved RAX; blocked or ignored the signal kills the VMM.',
    source: 'kernel/signal.c, force_sig_fault; kernel/entry/common.c, 6.12',
  },
  {
    id: 'SLD-35',
    says: 'KVM_RUN again tries the same instruction again, with the same result: one SIGBUS each time.',
    source: `${VMX}, handle_exception_nmi`,
  },
  {
    id: 'SLD-36',
    says: "Guests have neither MSR_TEST_CTRL nor IA32_CORE_CAPABILITIES in any release: no list has them, a guest's access is #GP, the ioctls stop at them, and CPUID.(7,0):EDX[30] is not offered.",
    source: `${X86}, msrs_to_save_base, emulated_msrs_all; arch/x86/kvm/cpuid.c, 6.12`,
  },
  {
    id: 'SLD-37',
    says: 'KVM_SET_CPUID2 takes EDX[30], which changes nothing about that.',
    source: 'arch/x86/kvm/cpuid.c, kvm_check_cpuid, 6.12',
  },
  {
    id: 'SLD-38',
    says: 'KVM on SVM intercepts #AC and injects it again with error code 0, always.',
    source: 'arch/x86/kvm/svm/svm.c, ac_interception, 6.12',
  },
  {
    id: 'SLD-39',
    says: "With nested VMX, L0 keeps an #AC of L2 for itself exactly if it would not inject it, judged by L2's privilege and flags.",
    source: 'arch/x86/kvm/vmx/nested.c, nested_vmx_l0_wants_exit, 6.12',
  },
  {
    id: 'SLD-40',
    says: 'KVM_CAP_X86_BUS_LOCK_EXIT is 3 where VMX can exit on bus locks, else 0; unknown modes or both at once are EINVAL, EXIT without the control is ignored, and it stays on once it is.',
    source: `${X86}, kvm_vm_ioctl_enable_cap; ${VMX}, vmx_secondary_exec_control`,
  },
  {
    id: 'SLD-41',
    says: 'A bus lock of such a guest ends KVM_RUN after the instruction with flag 2 in kvm_run, and as KVM_EXIT_X86_BUS_LOCK unless the same VM exit has a reason of its own, which in the model it never has.',
    source: `${VMX}, vmx_handle_exit, handle_bus_lock_vmexit`,
  },
  {
    id: 'SLD-42',
    says: 'KVM on VMX offers the bus-lock debug exception (CPUID ECX[24]), with which a guest may set IA32_DEBUGCTL[2] and clear DR6[11]; without it DR6[11] is 1. KVM on SVM does not.',
    source: `${X86}, kvm_dr6_fixed; ${VMX}, vmx_get_supported_debugctl`,
  },
  {
    id: 'SLD-43',
    says: 'v8: register and flag are switched, together, only in warn mode, for a vCPU with the capability, and if the flag says that a change is needed.',
    source: `${V8}, patch 4/4, vmx_update_sld`,
  },
  {
    id: 'SLD-44',
    says: 'v8: IA32_CORE_CAPABILITIES is always advertised, its bit 5 only where the host detects split locks and no core has two threads; a host may write a subset, a guest may read it with the CPUID bit and never write.',
    source: `${V8}, patches 1/4 and 4/4`,
  },
  {
    id: 'SLD-45',
    says: 'v8: MSR_TEST_CTRL can be read always; bit 29 can be written, by guest and host, with the capability, any other bit never. It is stored, and reaches the processor at once only if the guest is loaded; in fatal mode it never does.',
    source: `${V8}, patch 4/4, vmx_set_msr; ${REVIEW}`,
  },
  {
    id: 'SLD-46',
    says: "KVM's emulator writes a locked operand across lines plainly, and says so once in the log: no #AC for host or guest.",
    source: `${X86}, emulator_cmpxchg_emulated`,
  },
  {
    id: 'SLD-47',
    says: "v8: what becomes of a split lock follows from the mode, the capability and the guest's bit: the guest's own detection gets #AC at any privilege; without it warn mode lets it run and fatal mode kills.",
    source: `${V8}, patch 4/4; ${REVIEW}`,
  },
  {
    id: 'SLD-48',
    says: "v8: #AC is injected if the host lacks detection, the guest's own alignment check explains it, or the guest's bit is set.",
    source: `${V8}, patch 4/4, handle_exception_nmi`,
  },
  {
    id: 'SLD-49',
    says: 'In fatal mode a guest without detection of its own is killed for a split lock, except in ring 3 with alignment check on, where #AC is always injected: the instruction is not decoded to find out what it was.',
    source: REVIEW,
  },
  {
    id: 'SLD-50',
    says: 'v10 tells a guest by CPUID 0x40000001 that detection is virtualized (EAX[15]) and that the host is fatal (EDX[1]); v8 cannot.',
    source: V10,
  },
  {
    id: 'SLD-51',
    says: "v8: RESET and INIT clear the stored MSR_TEST_CTRL; an INIT taken while the guest is loaded leaves the processor's bit as it is until the next time it is put and loaded.",
    source: `follows from ${V8}, patch 4/4; nobody states it`,
  },
  {
    id: 'SLD-52',
    says: 'v10 offers detection in fatal mode whether or not cores have two threads, and is as v8 otherwise.',
    source: V10,
  },
  {
    id: 'SLD-53',
    says: "Wherever preemption is enabled in warn mode, the processor's bit is what the flag of the task on it says.",
    source: `invariant behind ${REVIEW}`,
  },
  {
    id: 'SLD-54',
    says: "A guest's setting is loaded only on the processor where its thread is the current task, from the preparation of an entry to the put that matches it.",
    source: `invariant behind ${REVIEW}`,
  },
  {
    id: 'SLD-55',
    says: 'Every decision about the register looks at the flag and none at the register, so the two must change together: a register that is wrong stays wrong.',
    source: REVIEW,
  },
  {
    id: 'SLD-56',
    says: 'Loading comes right after preemption is disabled in the inner loop, unloading not before vcpu_put or the scheduler takes the thread away: that lopsidedness is intended.',
    source: `${REVIEW}; virt/kvm/kvm_main.c, vcpu_put`,
  },
  {
    id: 'SLD-57',
    says: "The thread's setting is noted when the guest goes from not loaded to loaded and at no other time, so exits that the kernel handles cost nothing.",
    source: `${V8}, patch 4/4, vmx_prepare_switch_to_guest`,
  },
  {
    id: 'SLD-58',
    says: "Nine deviations from that protocol (B1 to B9) each break an invariant: a task undetected for good, one warned twice, a thread left with its guest's setting.",
    source: `follows from ${REVIEW}`,
  },
  {
    id: 'SLD-59',
    says: 'v8: a guest without the capability that is warned leaves its thread flagged for good; warned with it, which takes a race or an INIT, the next put undoes it.',
    source: `follows from ${V8}, patch 4/4; nobody states it`,
  },
  {
    id: 'SLD-60',
    says: "A host's write of MSR_TEST_CTRL is allowed at any time with a guest's checks, and only stored: no vCPU ioctl but KVM_RUN has the guest loaded.",
    source: REVIEW,
  },
  {
    id: 'SLD-61',
    says: "KVM_SET_MSRS of one thread while another is in KVM_RUN waits for the vCPU's mutex until that returns.",
    source: 'virt/kvm/kvm_main.c, kvm_vcpu_ioctl, 6.12',
  },
  {
    id: 'SLD-62',
    says: 'v8: the save list has MSR_TEST_CTRL before IA32_CORE_CAPABILITIES; as a vCPU starts with all capabilities, replaying it works, but a VMM that masked bit 5 has to raise it first.',
    source: `follows from ${V8}, patches 1/4 and 4/4`,
  },
  {
    id: 'SLD-63',
    says: 'v8: a target that cannot offer detection refuses IA32_CORE_CAPABILITIES[5], and with it the migration, unless the VMM masks it.',
    source: `${V8}, patch 1/4`,
  },
  {
    id: 'SLD-64',
    says: 'v8: withdrawing the capability leaves a stored bit 29, by which #AC is still injected; the corrected profile clears it.',
    source: `follows from ${V8}, patch 4/4; nobody states it`,
  },
  {
    id: 'SLD-65',
    says: "Between a warn and a fatal host a guest's registers are the same; only a split lock without its own detection ends otherwise.",
    source: `follows from ${V8}`,
  },
  {
    id: 'SLD-66',
    says: 'A released kernel has nothing of it to migrate: MSR_TEST_CTRL in a saved list is refused and has to be dropped.',
    source: `${X86}, msrs_to_save_base`,
  },
  {
    id: 'SLD-67',
    says: "The guest's value moves with its vCPU, the flag with its thread, the processor's bit with neither.",
    source: `follows from ${V8} and ${FLAG}, switch_to_sld`,
  },
]

/** How many executable checks the subject has: SLD-T1 and so on, which tests name beside rules. */
export const SLD_CHECKS = 16
