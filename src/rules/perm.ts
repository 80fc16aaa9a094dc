import type { Rule } from './rule.ts'

const XSTATE = 'arch/x86/kernel/fpu/xstate.c (6.12)'
const CORE = 'arch/x86/kernel/fpu/core.c (6.12)'
const FRAME = 'arch/x86/kernel/fpu/signal.c (6.12)'
const REGSET = 'arch/x86/kernel/fpu/regset.c (6.12)'
const TRAPS = 'arch/x86/kernel/traps.c (6.12)'
const SIGNAL = 'arch/x86/kernel/signal.c (6.12)'
const SCHED = 'arch/x86/include/asm/fpu/sched.h (6.12)'
const SDM1 = 'SDM Vol. 1 §'
const LIST = 'Linux mailing list:'

const row = (number: number, says: string, source: string): Rule => ({
  id: `PERM-${String(number).padStart(2, '0')}`,
  says,
  source,
})

const COMPONENTS: readonly Rule[] = [
  row(
    1,
    'Linux manages the user components 0..7, 9, 17 and 18 (and 19 from 6.16), of which only 18 is dynamic; the supervisor components 10 (alone until 6.5), 11 (from 6.6) and 12 (from 6.17, in vCPU images only); and 15 apart from all buffers.',
    'arch/x86/include/asm/fpu/xstate.h (6.12, 6.18)',
  ),
  row(
    2,
    'A state component counts only while the CPU feature it belongs to is present, whatever CPUID leaf 0DH lists: XTILE_DATA needs XFD as well, and every supervisor component needs XSAVES.',
    `${XSTATE} fpu__init_system_xstate`,
  ),
  row(
    3,
    'Unless CPUID lists both FP and SSE as state components, the kernel uses no XSAVE at all.',
    `${XSTATE} fpu__init_system_xstate`,
  ),
  row(
    4,
    "CPUID.(0DH,i) gives a component's size (EAX), its standard offset (EBX), and whether it is a supervisor component, aligned to 64 bytes when compacted, and open to XFD (ECX bits 0, 1, 2); a total that contradicts CPUID.(0DH,1).EBX makes the kernel do without XSAVE.",
    `SDM Vol. 2 CPUID leaf 0DH; ${XSTATE} paranoid_xstate_size_valid`,
  ),
  row(
    5,
    'In the standard form each user component lies at the offset its CPU enumerates and supervisor components have no place; every image that user space sees is of that form, with XCOMP_BV 0 and at least 576 bytes.',
    `${SDM1}13.4; ${XSTATE} xstate_calculate_size`,
  ),
  row(
    6,
    'In the compacted form the components of XCOMP_BV follow each other from byte 576 in ascending number, on a 64-byte boundary where the component asks for it; what is in use (XSTATE_BV) moves nothing.',
    `${SDM1}13.4.3`,
  ),
  row(
    7,
    'Kernel buffers are compacted exactly on CPUs with XSAVEC or XSAVES; on others they have the size of the user image, XCOMP_BV 0, and no supervisor component.',
    `${XSTATE} fpu__init_system_xstate`,
  ),
  row(
    8,
    'Before 6.16 the kernel took the end of the highest-numbered component for the standard size; from then on it is the greatest end of all, as APX lies below PKRU.',
    'arch/x86/kernel/fpu/xstate.c (6.12, 6.18) xstate_calculate_size',
  ),
  row(
    9,
    'Registers are saved by the best of XSAVES, XSAVEC, XSAVEOPT and XSAVE, and loaded by XRSTORS on a CPU with XSAVES, else by XRSTOR; a component left out as initial keeps its place in XCOMP_BV and its old bytes.',
    `arch/x86/kernel/fpu/xstate.h (6.12) os_xsave; ${SDM1}13.10, 13.11`,
  ),
  row(
    10,
    'An initial component has FCW 37FH, MXCSR 1F80H and zeros elsewhere; who reads an image takes XSTATE_BV[i] = 0 for initial whatever the bytes say, and MXCSR counts when SSE or YMM is present.',
    `${SDM1}13.6; ${XSTATE} __copy_xstate_to_uabi_buf`,
  ),
  row(
    11,
    'The host runs with XCR0 = all user components it supports on every processor, XTILE_DATA included, and IA32_XSS = its supervisor components and LBR: AMX is withheld by XFD, not by XCR0.',
    `${XSTATE} fpu__init_cpu_xstate`,
  ),
  row(
    12,
    'A vCPU image has the user components and the user size that a host thread has; only the supervisor part may differ, and only from 6.17 on.',
    `${CORE} fpu_alloc_guest_fpstate`,
  ),
  row(
    13,
    'With a dynamic component on the host, initial buffers have XFD set for it; without one the kernel never writes XFD and a fork inherits no permission.',
    `${XSTATE} fpu__init_system_xstate; ${CORE} fpu_clone`,
  ),
]

const PERMISSIONS: readonly Rule[] = [
  row(
    14,
    'A new program starts with default host and guest permissions: all components but the dynamic ones, with the sizes that go with them; from 6.17 the guest default has CET_S too.',
    `${CORE} __fpstate_reset, fpstate_reset; same (6.18)`,
  ),
  row(
    15,
    'The lock of a guest permission never shows through arch_prctl: what is reported is limited to user components.',
    `${XSTATE} fpu_xstate_prctl`,
  ),
  row(
    16,
    'ARCH_GET_XCOMP_SUPP, _PERM and _GUEST_PERM store a 64-bit mask and return 0, or EFAULT when the pointer cannot be written.',
    `${XSTATE} fpu_xstate_prctl`,
  ),
  row(
    17,
    'A permission request is checked in this order: number (all 64 bits) beyond the last component: EINVAL; not XTILE_DATA, or a host without it: EOPNOTSUPP; already permitted: 0; guest permissions locked: EBUSY; an alternate stack that is too small, host requests only: ENOSPC.',
    `${XSTATE} xstate_request_perm, __xstate_request_perm`,
  ),
  row(
    18,
    'A 32-bit kernel answers permission requests with EOPNOTSUPP; a 32-bit process on a 64-bit kernel may use every option, and an unknown option is EINVAL.',
    `${XSTATE} (!CONFIG_X86_64); arch/x86/kernel/process.c (6.12) arch_prctl_common`,
  ),
  row(
    19,
    'AMX is asked for by its highest component, 18; the grant adds just that bit, as 17 is a default.',
    `${XSTATE} xstate_prctl_req; Documentation/arch/x86/xstate.rst`,
  ),
  row(
    20,
    "A grant adds the component to the process's record and recomputes the kernel and user sizes there; no thread's buffer changes.",
    `${XSTATE} __xstate_request_perm`,
  ),
  row(
    21,
    'Host and guest permission are separate: neither request grants the other, and a guest request looks at no alternate stack.',
    `${XSTATE} __xstate_request_perm`,
  ),
  row(22, 'Nothing but exec takes a permission away.', 'Documentation/arch/x86/xstate.rst (6.12)'),
  row(
    23,
    "Creating the process's first vCPU locks its guest permissions, before any CPUID is set: a later request for what is not permitted yet fails with EBUSY.",
    `${CORE} fpu_lock_guest_permissions`,
  ),
  row(
    24,
    "A forked child takes both records of the parent's thread-group leader, lock included, if the host has a dynamic component; kernel threads and I/O workers take none.",
    `${CORE} fpu_clone, fpu_inherit_perms`,
  ),
  row(25, "A new thread uses its leader's permission, yet starts with a default-size buffer and XFD set.", `${CORE} fpu_clone`),
  row(
    26,
    "exec resets both records and the lock, returns to the thread's default buffer, and has XFD set again; an alternate stack in the way of a request is ENOSPC, not the ENOSUPP that the documentation names.",
    `${CORE} fpu_flush_thread, fpu_reset_fpregs`,
  ),
  row(
    27,
    'AT_MINSIGSTKSZ is the frame of the largest user image, fixed at boot: (736 with IA32 emulation, else 440) + 15 + image + 4 (+ 112 with IA32 emulation) + 63, rounded up to 16; dynamic components count whether permitted or not.',
    `${SIGNAL} init_sigframe_size; ${FRAME} fpu__get_fpstate_size`,
  ),
  row(
    28,
    'A host request fails with ENOSPC while a thread of the process has an alternate stack smaller than the frame would become; threads without one do not matter, and equality is enough.',
    `${XSTATE} validate_sigaltstack`,
  ),
  row(
    29,
    'sigaltstack refuses less than 2048 bytes with ENOMEM; where the size is checked further, a stack must exceed the frame without magic and 32-bit header for the permitted image, which matters in strict mode or once a dynamic component is permitted.',
    `kernel/signal.c (6.12) do_sigaltstack; ${SIGNAL} sigaltstack_size_valid`,
  ),
  row(
    30,
    'The request wants a stack of at least the whole frame, the system call one above a limit smaller by magic and 32-bit header: a size between the two would block a grant, yet is accepted after it.',
    `${XSTATE} validate_sigaltstack; ${SIGNAL} sigaltstack_size_valid`,
  ),
  row(
    31,
    'Strict checking is a build option or the boot parameter strict_sas_size; setting the alternate stack to what it already is succeeds before any check, and a refused restore of it inside sigreturn goes unnoticed.',
    `${SIGNAL} strict_sas_size; kernel/signal.c (6.12) do_sigaltstack, restore_altstack`,
  ),
  row(
    32,
    'A frame that would leave the alternate stack, entered or nested, is not written: the thread gets SIGSEGV.',
    `${SIGNAL} get_sigframe`,
  ),
]

const XFD: readonly Rule[] = [
  row(
    33,
    'Each buffer remembers its own XFD value, each processor the last one written to IA32_XFD (1C4H), and the MSR is written only when the two differ.',
    'arch/x86/kernel/fpu/xstate.h (6.12) xfd_update_state',
  ),
  row(
    34,
    'XFD is brought up to date right before registers are loaded from a buffer and when a processor comes up; a context switch that finds its registers still loaded writes nothing.',
    'arch/x86/kernel/fpu/{xstate.h,core.c,context.h} (6.12)',
  ),
  row(
    35,
    'With XFD[i] set, an instruction that needs component i raises #NM and sets XFD_ERR[i], a save leaves the component out without a fault, and a restore faults only if the image has it.',
    `${SDM1}13.14`,
  ),
  row(
    36,
    'The #NM handler takes XFD_ERR for the cause and clears it first; 0 is no event of XFD, one raised by the kernel itself is fatal, and one for no dynamic component is logged once and retried.',
    `${TRAPS} handle_xfd_event`,
  ),
  row(
    37,
    'First use of a component that the process has no permission for is SIGILL at the instruction (ILL_ILLOPC); permitted but without memory it is SIGSEGV; otherwise the buffer grows and the instruction runs again.',
    `${TRAPS} handle_xfd_event; ${XSTATE} __xfd_enable_feature`,
  ),
  row(
    38,
    "Only the faulting thread grows: a new buffer with the record's sizes takes the live registers' place, has the component and no XFD for it, and the old one is freed unless it is the thread's embedded one.",
    `${XSTATE} fpstate_realloc`,
  ),
  row(
    39,
    'LDTILECFG, STTILECFG and TILERELEASE run without access to XTILE_DATA; TILELOADD, TILESTORED, TILEZERO and the dot products need it.',
    `${SDM1}13.14, SDM Vol. 2 AMX instructions`,
  ),
]

const SWITCHING: readonly Rule[] = [
  row(
    40,
    "A thread's registers are valid on a processor when that processor names it as owner and the thread names it as its last; a thread flagged NEED_FPU_LOAD must have them loaded before user mode.",
    SCHED,
  ),
  row(
    41,
    'A switch away saves the registers if they are loaded, a switch to a thread only flags it, and the return to user mode restores every component the kernel has but PKRU: what the thread may not use becomes initial.',
    `${SCHED} switch_fpu; arch/x86/kernel/fpu/context.h (6.12) fpregs_restore_userregs`,
  ),
  row(
    42,
    "A save covers the buffer's own components, PKRU among them; a restore leaves PKRU out, which the switch and exec write directly.",
    `${CORE} save_fpregs_to_fpstate; arch/x86/include/asm/fpu/xstate.h (6.12)`,
  ),
  row(
    43,
    "A child of fork or clone gets a default buffer with XFD set: the parent's tile configuration is inherited, its tile data is lost, PASID is initial, and a new shadow stack replaces the saved SSP.",
    `${CORE} fpu_clone`,
  ),
  row(
    44,
    'Before a processor idles with a tile component in use it executes TILERELEASE, and then nobody owns its registers.',
    `${CORE} fpu_idle_fpregs`,
  ),
]

const FRAMES: readonly Rule[] = [
  row(
    45,
    "The state on a signal frame is 64-byte aligned: the standard image of the thread's current user size, then magic2; a 32-bit frame has 112 bytes of legacy header before it.",
    `${FRAME} fpu__alloc_mathframe, copy_fpstate_to_sigframe`,
  ),
  row(
    46,
    "The frame's software bytes (464) hold magic1 46505853H, the extended size (image + 4, + 112 in a 32-bit frame), the thread's user components, the image size and 28 zeros; magic2 46505845H follows the image.",
    `${FRAME} save_sw_bytes; arch/x86/include/uapi/asm/sigcontext.h (6.12)`,
  ),
  row(
    47,
    'The header on the frame is zeroed before the save and FP and SSE are set after it; from 6.12 on the PKRU slot holds the interrupted PKRU with its bit set.',
    `${FRAME} save_xstate_epilog, update_pkru_in_sigframe`,
  ),
  row(
    48,
    "With dynamic components a frame holds tile configuration and data only while in use, their bytes are unspecified otherwise; the frame's size follows the thread's buffer, not the use.",
    'arch/x86/kernel/fpu/xstate.h (6.12) xsave_to_user_sigframe',
  ),
  row(
    49,
    'A handler starts with all user components initial and PKRU at its default, supervisor components as they were; one left by a jump leaves it so.',
    `${CORE} fpu__clear_user_states`,
  ),
  row(
    50,
    'A return with no fpstate pointer resets the user state, sets PKRU to its default 55555554H and succeeds; one whose software bytes cannot be read fails.',
    `${FRAME} fpu__restore_sig`,
  ),
  row(
    51,
    "Wrong magic1 or magic2, an image size below 576, above the thread's or above the extended size, is no failure: FP and SSE are loaded from the legacy region and every other user component is reset, PKRU to 0.",
    `${FRAME} check_xstate_in_sigframe`,
  ),
  row(
    52,
    'A 64-bit return restores straight from user memory what software bytes and thread have in common and resets the rest; only the CPU checks the header, so that XSTATE_BV beyond XCR0, a bad XCOMP_BV or reserved MXCSR bits fail.',
    `${FRAME} __restore_fpregs_from_user; ${SDM1}13.8`,
  ),
  row(
    53,
    'A 32-bit return copies through the validator that ptrace uses, so that XCOMP_BV, reserved header bytes, unknown components and a bad MXCSR fail.',
    `${FRAME} __fpu_restore_sig; ${XSTATE} copy_sigframe_from_user_to_xstate`,
  ),
  row(
    54,
    'A failed return resets the user state, PKRU to its default, and the thread gets SIGSEGV with SI_KERNEL and address 0.',
    `${FRAME} fpu__restore_sig; arch/x86/include/asm/sighandling.h signal_fault`,
  ),
]

const PTRACE: readonly Rule[] = [
  row(
    55,
    "NT_X86_XSTATE has the size of the host's largest user image for every thread, permitted or not; a read shows initial values for what the thread lacks, and the host's user components at byte 464.",
    `${REGSET} xstateregs_get`,
  ),
  row(
    56,
    "NT_X86_XSTATE lengths not a multiple of 8 are EINVAL and longer ones are cut; a write needs the full size (else EFAULT) and is EINVAL, changing nothing, if XSTATE_BV exceeds the thread's components, the rest of the header is not zero, or MXCSR counts and has reserved bits.",
    `${REGSET} xstateregs_set; kernel/ptrace.c (6.12) ptrace_regset`,
  ),
  row(
    57,
    'After a write of NT_X86_XSTATE supervisor components stay, all user components are as supplied, PKRU is the supplied one or 0, and registers left on a processor count no more.',
    `${XSTATE} copy_uabi_to_xstate; ${REGSET} fpu_force_restore`,
  ),
  row(
    58,
    'A write of NT_PRFPREG sets FP and SSE in XSTATE_BV, needs the full size and a valid MXCSR, else EINVAL.',
    `${REGSET} xfpregs_set`,
  ),
]

const LOST_BITS: readonly Rule[] = [
  row(
    59,
    'Before 6.16 the first AMX grant drops the supervisor components from the stored permission, which arch_prctl cannot show.',
    `arch/x86/kernel/fpu/xstate.c (6.12, 6.18) __xstate_request_perm`,
  ),
  row(
    60,
    'Before 6.16 a second dynamic component would give a guest buffer that is too small by its supervisor components; one dynamic component alone hides it.',
    `${LIST} supervisor bits lost from the permission after a request`,
  ),
  row(
    61,
    'Before 6.16 a grant would also clear the lock of guest permissions, but no request comes that far once it is set.',
    `${XSTATE} __xstate_request_perm`,
  ),
  row(
    62,
    'The stored permission keeps what is not user state, and is limited to user components only where the user size is computed (6.16).',
    'arch/x86/kernel/fpu/xstate.c (6.18) __xstate_request_perm',
  ),
]

const ALTERNATIVE: readonly Rule[] = [
  row(
    63,
    'Host permission consents to large signal frames and secures nothing; a vCPU image never goes on a frame, and KVM_GET_XSAVE2 is itself the consent to large images.',
    `${LIST} reviewer's reply to the permission fix`,
  ),
  row(
    64,
    "In the reviewer's design KVM passes the components it wants, user and supervisor, to the allocator without permission, and guest requests are accepted and ignored.",
    `${LIST} reviewer's reply to the permission fix`,
  ),
  row(
    65,
    'Adding every supported supervisor component to the size would be wrong for a dynamic one; the stored permission, which starts from the defaults, is the right source.',
    `${LIST} objection to forced supervisor bits`,
  ),
  row(
    66,
    'With guest permission ignored, guest requests beyond the unsupported return 0, KVM_GET_SUPPORTED_CPUID and KVM_CAP_XSAVE2 show everything, and KVM_SET_CPUID2 never fails with EPERM.',
    `${LIST} reviewer's reply to the permission fix`,
  ),
]

const DETAILS: readonly Rule[] = [
  row(
    67,
    'Neither the SIGILL of a missing permission nor the SIGSEGV of a bad frame touches the trap record: trapno and err on the frame are those of the last ordinary fault, never 7.',
    `${TRAPS} handle_xfd_event; recording of 6.12.113`,
  ),
  row(
    68,
    'XRSTOR of the standard form looks at bytes 520..535 of the header only: a 64-bit return takes garbage in 536..575 and fails for 528..535.',
    `${SDM1}13.8.1; recording of 6.12.113`,
  ),
  row(
    69,
    'XSTATE_BV bits that XCR0 has and the mask lacks are ignored: a thread without room for tile data that sets bits 17 or 18 on its frame returns normally, without tile data.',
    `${SDM1}13.8.1; ${FRAME} __restore_fpregs_from_user; recording of 6.12.113`,
  ),
  row(
    70,
    'PKRU after a 64-bit return is the slot if both software bytes and XSTATE_BV have bit 9, and 0 if either lacks it or only FP and SSE are restored.',
    `${FRAME} __restore_fpregs_from_user; recording of 6.12.113`,
  ),
  row(
    71,
    'A write of NT_X86_XSTATE ignores bytes 464..511, and MXCSR with its mask when none of FP, SSE and YMM is set; otherwise MXCSR_MASK is stored as it comes and read back until the next save.',
    `${XSTATE} copy_uabi_to_xstate; recording of 6.12.113`,
  ),
]

/** Rules PERM-*: components, layout, permissions, XFD, frames. In the order of their numbers. */
export const PERM_RULES: readonly Rule[] = [
  ...COMPONENTS,
  ...PERMISSIONS,
  ...XFD,
  ...SWITCHING,
  ...FRAMES,
  ...PTRACE,
  ...LOST_BITS,
  ...ALTERNATIVE,
  ...DETAILS,
]
