import type { Rule } from './rule.ts'

const FPU_CORE = 'arch/x86/kernel/fpu/core.c'
const FPU_XSTATE = 'arch/x86/kernel/fpu/xstate.c'
const X86 = 'arch/x86/kvm/x86.c'
const CPUID = 'arch/x86/kvm/cpuid.c'
const VMX = 'arch/x86/kvm/vmx/vmx.c'
const RECORDED = 'recordings of 6.12.113'
const SERIES = 'AMX guest series, 2021, review of the realloc patches'

/** Rules GFPU-*: the guest FPU. */
export const GFPU_RULES: readonly Rule[] = [
  {
    id: 'GFPU-01',
    says: 'KVM_CREATE_VCPU allocates a zero-filled image of a 64-byte header plus the default size, and fails with ENOMEM when it cannot.',
    source: `${FPU_CORE} fpu_alloc_guest_fpstate; 6.17 sizes it by the guest default, 6.16 and before by the kernel default`,
  },
  {
    id: 'GFPU-02',
    says: 'A new vCPU image has the default components, XFD 0, FCW 0x37F, MXCSR 0x1F80, XSTATE_BV 0 and XCOMP_BV with bit 63 and its components.',
    source: `${FPU_CORE} __fpstate_reset, fpstate_init_user; ${RECORDED}, kvm.fresh`,
  },
  {
    id: 'GFPU-03',
    says: 'A new vCPU moves max(4096, user default size) bytes in KVM_GET_XSAVE2 and KVM_SET_XSAVE; on 5.17 it is the user default size itself.',
    source: `${FPU_CORE} fpu_alloc_guest_fpstate, 5.17 against 6.1; ${RECORDED}, kvm.fresh`,
  },
  {
    id: 'GFPU-04',
    says: "Every KVM_CREATE_VCPU locks the process's guest permission, also when the process never asked for any.",
    source: `${FPU_CORE} fpu_init_guest_permissions; ${RECORDED}, kvm.perm_order`,
  },
  {
    id: 'GFPU-05',
    says: 'Freeing an image that is in use, or is not a heap-allocated guest image, is a kernel bug; any other is released with its vCPU.',
    source: `${FPU_CORE} fpu_free_guest_fpstate`,
  },
  {
    id: 'GFPU-06',
    says: 'PASID is among the components of every vCPU image when the host has it, although KVM shows it to no guest.',
    source: `${FPU_XSTATE} XFEATURE_MASK_SUPERVISOR_SUPPORTED and fpu_kernel_cfg.default_features`,
  },
  {
    id: 'GFPU-07',
    says: "KVM's XCR0 is the host's within x87, SSE, AVX, MPX, AVX-512, PKRU and AMX, without MPX where VMX cannot switch BNDCFGS.",
    source: `${X86} KVM_SUPPORTED_XCR0, kvm_x86_vendor_init; ${RECORDED}, kvm.caps`,
  },
  {
    id: 'GFPU-08',
    says: "A vCPU's guest set is CPUID.(0xD,0).EDX:EAX of its last accepted KVM_SET_CPUID2 within KVM's XCR0, and 0 without that leaf.",
    source: `${CPUID} cpuid_get_supported_xcr0; ${RECORDED}, kvm.set_cpuid2`,
  },
  {
    id: 'GFPU-09',
    says: 'KVM_RUN exchanges host and guest registers once when it begins and once before it returns, not at each VM entry and exit.',
    source: `${X86} kvm_arch_vcpu_ioctl_run, kvm_load_guest_fpu, kvm_put_guest_fpu; kernel log of the recorded oopses`,
  },
  {
    id: 'GFPU-10',
    says: "Swapping in saves the thread's live registers to its own image, marks the vCPU's image in use, and restores everything but PKRU from it.",
    source: `${FPU_CORE} fpu_swap_kvm_fpstate; kernel log of the recorded oopses (restore mask 0x608e7)`,
  },
  {
    id: 'GFPU-11',
    says: "Swapping out saves the guest's registers to the vCPU's image, unless they are there already, and restores the thread's own registers and XFD.",
    source: `${FPU_CORE} fpu_swap_kvm_fpstate; ${RECORDED}, guest.amx`,
  },
  {
    id: 'GFPU-12',
    says: 'A vCPU thread preempted inside KVM_RUN has its registers saved to the vCPU image; they are loaded again only right before VM entry.',
    source: `${FPU_CORE} save_fpregs_to_fpstate, ${X86} vcpu_enter_guest (TIF_NEED_FPU_LOAD)`,
  },
  {
    id: 'GFPU-13',
    says: "kernel_fpu_begin saves the guest's live registers to the vCPU image, marks them not loaded, frees the processor of its owner and loads MXCSR 0x1F80.",
    source: `${FPU_CORE} kernel_fpu_begin_mask`,
  },
  {
    id: 'GFPU-14',
    says: "VM entry skips the restore only if this processor's registers belong to the vCPU's image and the thread last ran on this processor.",
    source: 'arch/x86/kernel/fpu/context.h fpregs_state_valid, fpregs_restore_userregs',
  },
  {
    id: 'GFPU-15',
    says: "Signal frames, ptrace and core dumps of a vCPU thread show the thread's own registers, since KVM_RUN swaps out before either can happen.",
    source: `${X86} kvm_arch_vcpu_ioctl_run; virt/kvm/kvm_main.c`,
  },
  {
    id: 'GFPU-16',
    says: 'Loading a vCPU image that is in use, or putting one that is not, kills the VM on 6.18 and goes unnoticed before.',
    source: `${X86} kvm_load_guest_fpu, kvm_put_guest_fpu, 6.18 (KVM_BUG_ON)`,
  },
  {
    id: 'GFPU-17',
    says: "The guest's PKRU lives in a field of the vCPU and not in its image; the host's is read when the vCPU is loaded.",
    source: `${X86} kvm_arch_vcpu_load, kvm_load_guest_xsave_state; ${RECORDED}, guest.misc`,
  },
  {
    id: 'GFPU-18',
    says: "A guest with neither XCR0.PKRU nor CR4.PKE runs with the host thread's PKRU in the register, and the vCPU's field stays as it is.",
    source: `${X86} kvm_load_guest_xsave_state, kvm_load_host_xsave_state`,
  },
  {
    id: 'GFPU-19',
    says: "A guest with CR4.OSXSAVE clear runs with the host's XCR0 and XSS, which it cannot see.",
    source: `${X86} kvm_load_guest_xsave_state`,
  },
  {
    id: 'GFPU-20',
    says: "XSTATE_BV[9] of a saved vCPU image says whether the host thread's PKRU was non-zero, because the guest's was switched out before the save.",
    source: `${X86} kvm_load_host_xsave_state before fpu_swap_kvm_fpstate; ${RECORDED}, guest.misc`,
  },
  {
    id: 'GFPU-21',
    says: 'State that the host kernel itself uses is put back right after VM exit; state that is harmless to it waits until KVM_RUN returns or the vCPU is put.',
    source: `${X86} vcpu_enter_guest, ${VMX} vmx_prepare_switch_to_host`,
  },
  {
    id: 'GFPU-22',
    says: 'Swaps neither save nor restore registers through a confidential image; only XFD follows it.',
    source: `${FPU_CORE} fpu_swap_kvm_fpstate (is_confidential)`,
  },
  {
    id: 'GFPU-23',
    says: 'KVM switches neither XCR0, XSS nor PKRU for a vCPU whose state is protected.',
    source: `${X86} kvm_load_guest_xsave_state (guest_state_protected)`,
  },
  {
    id: 'GFPU-24',
    says: 'KVM_GET/SET_XSAVE, XSAVE2 and FPU on a confidential image give EINVAL for VM types with protected state (6.10 on); else GET returns zeros, SET does nothing.',
    source: `${X86} kvm_vcpu_ioctl_x86_get_xsave2, kvm_arch_vcpu_ioctl_get_fpu (has_protected_state)`,
  },
  {
    id: 'GFPU-25',
    says: 'A confidential vCPU still has an image, so that preemption and kernel_fpu_begin save somewhere; what lands there is never shown.',
    source: `${FPU_CORE} fpstate_set_confidential`,
  },
  {
    id: 'GFPU-26',
    says: "Writing XFD is #GP for a guest whose CPUID lacks XFD and for a bit that is not a dynamic component of the guest's set; the host skips only the first test.",
    source: `${X86} kvm_set_msr_common (MSR_IA32_XFD); ${RECORDED}, kvm.msr, guest.regs`,
  },
  {
    id: 'GFPU-27',
    says: "An accepted XFD is kept in the vCPU's image and, while that is in use, written to the processor; intercepted reads return it.",
    source: `${FPU_CORE} fpu_update_guest_xfd; ${RECORDED}, kvm.msr`,
  },
  {
    id: 'GFPU-28',
    says: 'XFD is intercepted until the first accepted non-zero write, by guest or host; from then on it is not, and #NM is.',
    source: `${VMX} vmx_set_msr (MSR_IA32_XFD)`,
  },
  {
    id: 'GFPU-29',
    says: "Where XFD is not intercepted, every VM exit copies the register into the vCPU's image before interrupts are enabled.",
    source: `${FPU_CORE} fpu_sync_guest_vmexit_xfd_state; ${X86} vcpu_enter_guest`,
  },
  {
    id: 'GFPU-30',
    says: "An intercepted #NM takes XFD_ERR into the vCPU if the image's XFD is not 0, then delivers #NM to the guest.",
    source: `${VMX} handle_nm_fault_irqoff; ${RECORDED}, guest.amx; amx_test`,
  },
  {
    id: 'GFPU-31',
    says: 'Reads of XFD_ERR reach the register if CPUID has XFD, writes always exit; a non-zero value is loaded before VM entry and 0 after exit.',
    source: `${X86} vcpu_enter_guest, ${VMX} vmx_vcpu_after_set_cpuid; ${RECORDED}, kvm.order`,
  },
  {
    id: 'GFPU-32',
    says: 'Setting XFD over loaded tile data with KVM_SET_MSRS leaves the image as it is: GET still returns the tiles, and XFD 0 makes them usable again.',
    source: `${FPU_CORE} fpu_update_guest_xfd; ${RECORDED}, kvm.order`,
  },
  {
    id: 'GFPU-33',
    says: 'KVM_SET_XSAVE with a component that XFD disables is accepted; kernels with the fix drop its header bit first, others store it for a fatal restore.',
    source: `${FPU_CORE} fpu_copy_uabi_to_guest_fpstate, fix after 6.18 (6.12.113 has it); ${RECORDED}, kvm.order`,
  },
  {
    id: 'GFPU-34',
    says: 'XFD is 0 after KVM_CREATE_VCPU and INIT does not change it.',
    source: `${FPU_CORE} fpu_alloc_guest_fpstate; ${X86} kvm_vcpu_reset; ${RECORDED}, kvm.fresh`,
  },
  {
    id: 'GFPU-35',
    says: 'The exit-based design leaves a request pending after a host write of XFD, never clears a failed one, updates XFD in two layers, and exits without information.',
    source: SERIES,
  },
  {
    id: 'GFPU-36',
    says: 'The in-place design wants space for the dynamic components of XCR0 without XFD, with the new value in place of the old, that the vCPU has none for.',
    source: SERIES,
  },
  {
    id: 'GFPU-37',
    says: 'The in-place design checks validity first, allocates second and commits last, so that a failure changes no register.',
    source: SERIES,
  },
  {
    id: 'GFPU-38',
    says: 'The components a vCPU has space for and those its process may use are two separate masks.',
    source: `${SERIES}; arch/x86/include/asm/fpu/types.h struct fpu_guest`,
  },
  {
    id: 'GFPU-39',
    says: "KVM_SET_CPUID2 grows the image for dynamic components of 0xD.0 it has no space for: EPERM without the process's guest permission, EFAULT without memory.",
    source: `${FPU_XSTATE} xfd_enable_guest_features, __xfd_enable_feature, fpstate_realloc; ${RECORDED}, kvm.set_cpuid2`,
  },
  {
    id: 'GFPU-40',
    says: 'The KVM_SET_CPUID2 that first enables AMX replaces the image by a zeroed one: registers loaded before it are lost.',
    source: `${FPU_XSTATE} fpstate_realloc; ${RECORDED}, kvm.order`,
  },
  {
    id: 'GFPU-41',
    says: 'A later KVM_SET_CPUID2 without AMX leaves the image and its size large, and GET then trims the tiles.',
    source: `${FPU_XSTATE} fpstate_realloc; ${CPUID} kvm_vcpu_after_set_cpuid; ${RECORDED}, kvm.order`,
  },
  {
    id: 'GFPU-42',
    says: 'The permission check of KVM_SET_CPUID2 looks at the raw bits of 0xD.0, so XTILE_DATA on a host without AMX is EPERM and not EINVAL.',
    source: `${CPUID} kvm_check_cpuid; ${RECORDED}, kvm.set_cpuid2`,
  },
  {
    id: 'GFPU-43',
    says: 'Growing the image is the last step of KVM_SET_CPUID2 that can fail; when it fails the previous CPUID stays.',
    source: `${CPUID} kvm_check_cpuid, kvm_set_cpuid; ${RECORDED}, kvm.set_cpuid2`,
  },
  {
    id: 'GFPU-44',
    says: 'A guest XSETBV is #UD with CR4.OSXSAVE clear, and #GP(0) outside CPL 0, for an index but 0 and for an invalid value; KVM_SET_XCRS gives EINVAL for the last.',
    source: `${X86} kvm_emulate_xsetbv, __kvm_set_xcr; SDM Vol. 2 XSETBV; ${RECORDED}, guest.regs`,
  },
  {
    id: 'GFPU-45',
    says: 'A valid XCR0 has x87, nothing outside the guest set, SSE if AVX, both MPX bits or none, all AVX-512 bits with AVX or none, both AMX bits or none.',
    source: `${X86} __kvm_set_xcr; SDM Vol. 1 13.3; ${RECORDED}, kvm.set_xcrs`,
  },
  {
    id: 'GFPU-46',
    says: "Storing XCR0 neither allocates nor touches the image; where bits from 2 up change, the guest's CPUID sizes follow.",
    source: `${X86} __kvm_set_xcr; ${RECORDED}, kvm.order`,
  },
  {
    id: 'GFPU-47',
    says: 'Clearing bits of XCR0 keeps the contents of their components, which are there again when the bits are set again.',
    source: `${X86} __kvm_set_xcr; SDM Vol. 1 13.3; ${RECORDED}, kvm.order, guest.amx`,
  },
  {
    id: 'GFPU-48',
    says: 'INIT zeroes the MPX components, and the CET ones on 6.18, in the vCPU image, and leaves their header bits as they are.',
    source: `${X86} kvm_vcpu_reset, kvm_xstate_reset (6.18)`,
  },
  {
    id: 'GFPU-49',
    says: 'RESET happens at KVM_CREATE_VCPU only; XCR0 is then 1, XSS, XFD, XFD_ERR and CR4 are 0, and INIT leaves XCR0, XSS, XFD and XFD_ERR alone.',
    source: `${X86} kvm_vcpu_reset; SDM Vol. 3 Table 9-1`,
  },
  {
    id: 'GFPU-50',
    says: 'Asking for guest permission after the first vCPU fails with EBUSY, CPUID with AMX then with EPERM, and XSAVE with tiles before that CPUID with EINVAL.',
    source: `${FPU_XSTATE} __xstate_request_perm; ${RECORDED}, kvm.perm_order, kvm.order`,
  },
  {
    id: 'GFPU-51',
    says: 'Restoring a non-zero XFD before or after an XSAVE image with tiles loses the tiles or poisons the image; XFD has to be restored last and be the one saved with it.',
    source: `${FPU_CORE} fpu_update_guest_xfd; ${RECORDED}, kvm.order; kernel log of the recorded oopses`,
  },
  {
    id: 'GFPU-52',
    says: 'KVM_SET_CPUID2 does not look again at XCR0, XFD, XFD_ERR and XSS that are already loaded, even where it would now refuse them.',
    source: `${CPUID} kvm_vcpu_after_set_cpuid; ${RECORDED}, kvm.order`,
  },
  {
    id: 'GFPU-53',
    says: "KVM_RUN with tile data in the image of a vCPU whose XFD disables it is #NM in the host kernel's XRSTORS, which is an oops.",
    source: 'arch/x86/kernel/traps.c exc_device_not_available; kernel log of the recorded oopses',
  },
]
