import type { Rule } from './rule.ts'

const FPU_CORE = 'arch/x86/kernel/fpu/core.c'
const FPU_XSTATE = 'arch/x86/kernel/fpu/xstate.c'
const X86 = 'arch/x86/kvm/x86.c'
const CPUID = 'arch/x86/kvm/cpuid.c'
const RECORDED = 'recordings of 6.12.113'
const THREAD = 'KVM_SET_XSAVE migration thread, 2023; commits ad856280ddea and 8647c52e9504'

/** Rules XSAVE-*: KVM's XSAVE ioctls. */
export const XSAVE_RULES: readonly Rule[] = [
  {
    id: 'XSAVE-01',
    says: "KVM_CHECK_EXTENSION(KVM_CAP_XSAVE2) is max(4096, standard size of what KVM_GET_SUPPORTED_CPUID would show), by the caller's guest permission at that moment.",
    source: `${X86} kvm_vm_ioctl_check_extension; ${RECORDED}, kvm.caps, kvm.perm_order`,
  },
  {
    id: 'XSAVE-02',
    says: "KVM_GET_DEVICE_ATTR of KVM_X86_XCOMP_GUEST_SUPP on /dev/kvm gives KVM's XCR0 whatever the permissions; another attribute is ENXIO, a bad address EFAULT.",
    source: `${X86} kvm_x86_dev_get_attr; ${RECORDED}, kvm.caps`,
  },
  {
    id: 'XSAVE-03',
    says: 'KVM_GET_XSAVE writes 4096 bytes, and is EINVAL once AMX was enabled for the vCPU; permission alone does not break it.',
    source: `${X86} kvm_arch_vcpu_ioctl (KVM_GET_XSAVE); ${RECORDED}, kvm.fresh`,
  },
  {
    id: 'XSAVE-04',
    says: "KVM_GET_XSAVE2 writes exactly the vCPU's size, asks no size of the caller, and is EFAULT where memory ends before that.",
    source: `${X86} kvm_arch_vcpu_ioctl (KVM_GET_XSAVE2); ${RECORDED}, kvm.fresh, kvm.order`,
  },
  {
    id: 'XSAVE-05',
    says: "A vCPU's size is 4096 until a dynamic component is enabled by its CPUID, then the standard size of all permitted user components.",
    source: `${FPU_XSTATE} fpstate_realloc; ${RECORDED}, kvm.perm_order, kvm.set_xsave`,
  },
  {
    id: 'XSAVE-06',
    says: "GET returns XSTATE_BV of the vCPU's image within its user components and what the kernel's era trims to; supervisor bits never appear.",
    source: `${FPU_XSTATE} __copy_xstate_to_uabi_buf; ${RECORDED}, kvm.set_xsave`,
  },
  {
    id: 'XSAVE-07',
    says: 'What GET returns is in standard form, with XCOMP_BV and the reserved header bytes 0.',
    source: `${FPU_XSTATE} __copy_xstate_to_uabi_buf; ${RECORDED}, kvm.fresh`,
  },
  {
    id: 'XSAVE-08',
    says: 'GET shows initial x87, XMM and MXCSR values where the trimmed XSTATE_BV lacks x87, SSE, and SSE and AVX.',
    source: `${FPU_XSTATE} __copy_xstate_to_uabi_buf; ${RECORDED}, kvm.set_xsave`,
  },
  {
    id: 'XSAVE-09',
    says: 'GET fills components whose bit is clear, the gaps between components and the tail with zeros.',
    source: `${FPU_XSTATE} __copy_xstate_to_uabi_buf; ${RECORDED}, kvm.set_xsave`,
  },
  {
    id: 'XSAVE-10',
    says: "Bytes 464 to 471 of GET hold the host's user components, untrimmed, 472 to 511 are 0, and SET ignores them.",
    source: `${FPU_XSTATE} __copy_xstate_to_uabi_buf (xstate_fx_sw_bytes); ${RECORDED}, kvm.fresh`,
  },
  {
    id: 'XSAVE-11',
    says: "GET's PKRU slot holds the vCPU's PKRU if bit 9 is in the trimmed XSTATE_BV, and otherwise the guest's PKRU is not transported.",
    source: `${FPU_XSTATE} __copy_xstate_to_uabi_buf; ${RECORDED}, guest.misc`,
  },
  {
    id: 'XSAVE-12',
    says: 'On a host without XSAVE, GET returns the 512 bytes of FXSAVE, XSTATE_BV 3 and zeros.',
    source: `${FPU_CORE} fpu_copy_guest_fpstate_to_uabi`,
  },
  {
    id: 'XSAVE-13',
    says: 'A KVM_RUN that ends with XFD set leaves the component out of the image, but GET does not mask with XFD: what a host write of XFD covers stays visible.',
    source: `${FPU_CORE} fpu_copy_guest_fpstate_to_uabi; SDM Vol. 1 13.14; ${RECORDED}, kvm.order, guest.amx`,
  },
  {
    id: 'XSAVE-14',
    says: 'Before the first KVM_SET_CPUID2 a kernel that trims on GET returns no bits but x87 and SSE.',
    source: `${X86} kvm_vcpu_ioctl_x86_get_xsave2; ${RECORDED}, kvm.set_xsave`,
  },
  {
    id: 'XSAVE-15',
    says: "KVM_SET_XSAVE reads all of the vCPU's size from user memory and is EFAULT if part of that cannot be read.",
    source: `${X86} kvm_arch_vcpu_ioctl (KVM_SET_XSAVE, memdup_user)`,
  },
  {
    id: 'XSAVE-16',
    says: 'Kernels with the fix for XFD drop from the XSTATE_BV of KVM_SET_XSAVE, silently, the components that XFD disables.',
    source: `${FPU_CORE} fpu_copy_uabi_to_guest_fpstate, after 6.18 and in 6.12.113; ${RECORDED}, kvm.order`,
  },
  {
    id: 'XSAVE-17',
    says: "KVM_SET_XSAVE is EINVAL for a bit of XSTATE_BV outside KVM's XCR0.",
    source: `${FPU_CORE} fpu_copy_uabi_to_guest_fpstate; ${RECORDED}, kvm.set_xsave`,
  },
  {
    id: 'XSAVE-18',
    says: "KVM_SET_XSAVE is EINVAL for a bit outside the image's user components: XTILE_DATA needs the vCPU's CPUID, XTILE_CFG does not.",
    source: `${FPU_XSTATE} validate_user_xstate_header; ${RECORDED}, kvm.set_xsave`,
  },
  {
    id: 'XSAVE-19',
    says: 'KVM_SET_XSAVE is EINVAL for XCOMP_BV or any of the 48 reserved header bytes not 0.',
    source: `${FPU_XSTATE} validate_user_xstate_header; ${RECORDED}, kvm.set_xsave`,
  },
  {
    id: 'XSAVE-20',
    says: 'KVM_SET_XSAVE with x87, SSE or AVX is EINVAL for an MXCSR bit the processor lacks; with none of them MXCSR is not looked at.',
    source: `${FPU_XSTATE} copy_uabi_to_xstate; ${RECORDED}, kvm.set_xsave`,
  },
  {
    id: 'XSAVE-21',
    says: 'A KVM_SET_XSAVE that fails leaves the image as it was.',
    source: `${FPU_XSTATE} copy_uabi_to_xstate; ${RECORDED}, kvm.set_xsave`,
  },
  {
    id: 'XSAVE-22',
    says: 'KVM_SET_XSAVE copies each component of XSTATE_BV from its standard offset, MXCSR with x87, and by itself for SSE or AVX without x87.',
    source: `${FPU_XSTATE} copy_uabi_to_xstate; ${RECORDED}, kvm.set_xsave`,
  },
  {
    id: 'XSAVE-23',
    says: 'KVM_SET_XSAVE leaves the supervisor bits of the image and replaces the others, so components it does not carry become initial.',
    source: `${FPU_XSTATE} copy_uabi_to_xstate; ${RECORDED}, kvm.set_xsave`,
  },
  {
    id: 'XSAVE-24',
    says: "KVM_SET_XSAVE without bit 9 leaves the vCPU's PKRU untouched, where signal return and ptrace would reset it.",
    source: `${FPU_CORE} fpu_copy_uabi_to_guest_fpstate; ${FPU_XSTATE} copy_uabi_to_xstate`,
  },
  {
    id: 'XSAVE-25',
    says: 'On a host without XSAVE, KVM_SET_XSAVE is EINVAL for bits but x87 and SSE and for a bad MXCSR, and copies 512 bytes.',
    source: `${FPU_CORE} fpu_copy_uabi_to_guest_fpstate`,
  },
  {
    id: 'XSAVE-26',
    says: 'KVM_SET_XSAVE looks at neither XCR0, XSS, CR4 nor guest CPUID: data for a component the guest lacks is stored, and GET does not return it.',
    source: `${FPU_CORE} fpu_copy_uabi_to_guest_fpstate; ${RECORDED}, kvm.set_xsave`,
  },
  {
    id: 'XSAVE-27',
    says: 'KVM_SET_XSAVE loads data and never features: what it loads for a component the guest does not have cannot be seen by the guest.',
    source: `${THREAD}; ${RECORDED}, kvm.set_xsave`,
  },
  {
    id: 'XSAVE-28',
    says: "KVM_GET_FPU returns the image's x87 and XMM bytes whatever XSTATE_BV says, which may be stale, and mxcsr 0.",
    source: `${X86} kvm_arch_vcpu_ioctl_get_fpu; ${RECORDED}, kvm.fresh`,
  },
  {
    id: 'XSAVE-29',
    says: 'KVM_SET_FPU writes x87 and XMM bytes but neither mxcsr nor XSTATE_BV, so values of a component marked initial are not loaded.',
    source: `${X86} kvm_arch_vcpu_ioctl_set_fpu`,
  },
  {
    id: 'XSAVE-30',
    says: 'KVM_SET_XCRS applies the first entry for XCR0 and ignores all others; more than 16 entries, flags or a host without XSAVE is EINVAL.',
    source: `${X86} kvm_vcpu_ioctl_x86_set_xcrs; ${RECORDED}, kvm.set_xcrs`,
  },
  {
    id: 'XSAVE-31',
    says: 'KVM_GET_XCRS and KVM_SET_XCRS of a vCPU with protected state are EINVAL from 6.10 on.',
    source: `${X86} kvm_vcpu_ioctl_x86_get_xcrs (has_protected_state)`,
  },
  {
    id: 'XSAVE-32',
    says: 'KVM_SET_XCRS and KVM_SET_XSAVE may come in either order, and both belong after KVM_SET_CPUID2.',
    source: `${X86} __kvm_set_xcr; ${RECORDED}, kvm.order, kvm.set_xcrs`,
  },
  {
    id: 'XSAVE-33',
    says: "Kernels that bind the image to the guest's CPUID (5.17 to 6.5) do so at KVM_SET_CPUID2 and behave like 5.16 before the first.",
    source: `${CPUID} kvm_vcpu_after_set_cpuid, 5.17`,
  },
  {
    id: 'XSAVE-34',
    says: "GET of 5.16 returns components the guest does not have: the host thread's non-zero PKRU gives a guest without PKU bit 9.",
    source: THREAD,
  },
  {
    id: 'XSAVE-35',
    says: 'SET of 5.17 to 6.5 refuses a snapshot that another kernel gave out, because it accepts only the guest set, which each KVM_SET_CPUID2 rewrites.',
    source: THREAD,
  },
  {
    id: 'XSAVE-36',
    says: 'GET trims to what the guest has, SET asks only that this host can load the data, and SET drops nothing it was given, but for XFD.',
    source: `${THREAD}; ${RECORDED}, kvm.set_xsave`,
  },
  {
    id: 'XSAVE-37',
    says: 'KVM does not know a migration from a boot, so clearing superfluous bits of a bad snapshot is for user space.',
    source: THREAD,
  },
  {
    id: 'XSAVE-40',
    says: "KVM_GET_SUPPORTED_CPUID shows KVM's XCR0 without the dynamic components the process has no guest permission for, from 6.4 on without XTILE_CFG then too.",
    source: `arch/x86/kvm/x86.h kvm_get_filtered_xcr0; ${RECORDED}, kvm.supported_cpuid`,
  },
  {
    id: 'XSAVE-41',
    says: 'Leaf 0xD.0 of KVM_GET_SUPPORTED_CPUID has the filtered set in EDX:EAX and its standard size in EBX and ECX; an empty set ends the leaf there.',
    source: `${CPUID} __do_cpuid_func (0xD); ${RECORDED}, kvm.supported_cpuid`,
  },
  {
    id: 'XSAVE-42',
    says: "Leaf 0xD.1 has the XSAVE instructions KVM supports, in EBX the compacted size of the filtered set and KVM's XSS, and that XSS in EDX:ECX.",
    source: `${CPUID} __do_cpuid_func (0xD); ${RECORDED}, kvm.supported_cpuid`,
  },
  {
    id: 'XSAVE-43',
    says: "Leaf 0xD has the host's subleaf for each component of the filtered set and of KVM's XSS, and none for another.",
    source: `${CPUID} __do_cpuid_func (0xD); ${RECORDED}, kvm.supported_cpuid`,
  },
  {
    id: 'XSAVE-44',
    says: 'AMX bits of leaf 7 and leaves 0x1D and 0x1E are reported by what the host has, without regard to permission.',
    source: `${CPUID} kvm_set_cpu_caps, __do_cpuid_func; ${RECORDED}, kvm.supported_cpuid`,
  },
  {
    id: 'XSAVE-45',
    says: 'On Sapphire Rapids leaf 0x1D.1 describes 8 tiles of 16 rows of 64 bytes, and 0x1E.0 a TMUL of 16 by 64.',
    source: `SDM Vol. 2 CPUID; ${RECORDED}, kvm.supported_cpuid`,
  },
  {
    id: 'XSAVE-46',
    says: 'PKU is reported if the host uses it and has two-dimensional paging; OSPKE and OSXSAVE never are, being bits of run time.',
    source: `${CPUID} kvm_set_cpu_caps; ${RECORDED}, kvm.supported_cpuid`,
  },
  {
    id: 'XSAVE-47',
    says: 'SHSTK and IBT are reported from 6.18 on, and never before.',
    source: `${CPUID} kvm_set_cpu_caps, 6.18; ${RECORDED}, kvm.supported_cpuid`,
  },
  {
    id: 'XSAVE-48',
    says: 'KVM_SET_CPUID2 is E2BIG above 256 entries, EFAULT, EINVAL for a linear address width other than 0, 48 and 57, or fails to enable AMX; no other xstate bit is checked.',
    source: `${CPUID} kvm_vcpu_ioctl_set_cpuid2, kvm_check_cpuid; ${RECORDED}, kvm.set_cpuid2`,
  },
  {
    id: 'XSAVE-49',
    says: 'After the vCPU has run, KVM_SET_CPUID2 takes only a list equal to the present one; 5.16 takes none.',
    source: `${CPUID} kvm_set_cpuid, kvm_cpuid_check_equal; cpuid_test; ${RECORDED}, kvm.set_cpuid2`,
  },
  {
    id: 'XSAVE-50',
    says: 'OSXSAVE, OSPKE and the sizes in 0xD.0.EBX and 0xD.1.EBX follow CR4 and XCR0 (from 6.18 also XSS), computed from host tables.',
    source: `${CPUID} __kvm_update_cpuid_runtime; ${RECORDED}, kvm.set_cpuid2, guest.misc`,
  },
  {
    id: 'XSAVE-51',
    says: 'KVM_GET_CPUID2 and the guest see these run-time values as soon as KVM_SET_CPUID2, XCR0, XSS or CR4 changed.',
    source: `${X86} __kvm_set_xcr, ${CPUID} kvm_update_cpuid_runtime; ${RECORDED}, guest.regs`,
  },
  {
    id: 'XSAVE-52',
    says: 'KVM_GET_CPUID2 returns the list with its run-time values, and is E2BIG for a buffer of fewer entries.',
    source: `${CPUID} kvm_vcpu_ioctl_get_cpuid2; ${RECORDED}, kvm.set_cpuid2`,
  },
  {
    id: 'XSAVE-53',
    says: 'Entries of the old KVM_SET_CPUID have no subleaf, so the first of leaf 0xD answers for all of them.',
    source: `${CPUID} kvm_vcpu_ioctl_set_cpuid, cpuid_entry2_find`,
  },
  {
    id: 'XSAVE-54',
    says: 'Whether a guest has XSAVEC, XSAVES and XFD is what 0xD.1.EAX of its CPUID says, within what KVM supports.',
    source: `${CPUID} kvm_vcpu_after_set_cpuid; ${RECORDED}, guest.regs`,
  },
  {
    id: 'XSAVE-55',
    says: "IA32_XSS takes only bits of KVM's XSS (6.18: of the guest's), so up to 6.17 only 0, and is #GP for a guest without XSAVES.",
    source: `${X86} kvm_set_msr_common (MSR_IA32_XSS); xss_msr_test; ${RECORDED}, kvm.msr`,
  },
  {
    id: 'XSAVE-56',
    says: 'For the host an MSR that KVM lists but does not know reads 0 and takes 0; any other ends KVM_GET_MSRS and KVM_SET_MSRS with the count done.',
    source: `${X86} kvm_do_msr_access, msr_io; ${RECORDED}, kvm.msr`,
  },
  {
    id: 'XSAVE-57',
    says: 'XFD and XFD_ERR are in the MSR list if KVM has XFD, and read 0 and take 0 from the host in any case; XSS is not in the list of 6.12.',
    source: `${X86} msrs_to_save_base, kvm_probe_msr_to_save; ${RECORDED}, kvm.msr_lists`,
  },
  {
    id: 'XSAVE-58',
    says: 'KVM_SET_XSAVE does not validate what is in a component: any FCW, tag word, MXCSR_MASK or tile configuration is stored and returned.',
    source: `${FPU_XSTATE} copy_uabi_to_xstate; ${RECORDED}, kvm.set_xsave`,
  },
]
