import type { Rule } from './rule.ts'

const SDM1 = 'SDM Vol. 1 ch. 17'
const SDM3 = 'SDM Vol. 3C ch. 26-28'
const LIST = 'kvm mailing list, CET virtualization series (2022-2025)'
const VMX = 'arch/x86/kvm/vmx/vmx.c, 6.18'
const KVM = 'arch/x86/kvm/x86.c, 6.18'
const FPU = 'arch/x86/kernel/fpu/xstate.c, 6.17'

/** Rules CET-*: CET and supervisor components. */
export const CET_RULES: readonly Rule[] = [
  {
    id: 'CET-01',
    says: 'CET_U (11) has 16 bytes and CET_S (12) has 24; both are supervisor components without alignment, zero when initial.',
    source: 'SDM Vol. 1 §13.5.9; recorded CPUID of SapphireRapids',
  },
  { id: 'CET-02', says: 'IA32_S_CET belongs to no component: XSAVES and XRSTORS leave it alone.', source: 'SDM Vol. 1 §13.5.9' },
  {
    id: 'CET-03',
    says: 'U_CET and S_CET hold six enables in bits 5:0, SUPPRESS and TRACKER in bits 10 and 11, the legacy bitmap above; 9:6 are reserved.',
    source: SDM1,
  },
  {
    id: 'CET-04',
    says: 'IA32_XSS selects supervisor components; a host sets it to those it supports and the independent ones (SPR: 0x8C00, 0x9C00 since 6.17).',
    source: `SDM Vol. 1 §13.3; ${FPU}`,
  },
  {
    id: 'CET-05',
    says: 'CPUID tells of SHSTK in 7.0.ECX[7], of IBT in 7.0.EDX[20], of safe supervisor shadow stacks in 7.1.EDX[18].',
    source: 'SDM Vol. 2A, CPUID; recorded CPUID of SapphireRapids',
  },
  {
    id: 'CET-06',
    says: 'CR4.CET needs CR0.WP: MOV to either register that would break this gives #GP, and the bit is reserved without SHSTK and IBT.',
    source: 'SDM Vol. 3A §2.5; recorded guest (guest.misc)',
  },
  {
    id: 'CET-07',
    says: 'KVM keeps CET and WP together when it emulates MOV CR, but KVM_SET_SREGS checks each register alone and the entry fails later.',
    source: `${KVM}; ${SDM3}`,
  },
  {
    id: 'CET-10',
    says: 'Addresses in CET MSRs must be canonical for the widest paging of the host; the legacy bitmap base is not checked.',
    source: KVM,
  },
  { id: 'CET-11', says: 'The host is bound by the checks of CET MSRs as much as the guest is.', source: KVM },
  {
    id: 'CET-12',
    says: 'The upper halves of the SSP MSRs are kept for a vCPU without long mode as well.',
    source: `${KVM}; ${LIST}`,
  },
  {
    id: 'CET-13',
    says: 'U_CET and PL0..3_SSP are read and written in the registers, with the guest FPU loaded around the list that names one of them.',
    source: KVM,
  },
  {
    id: 'CET-14',
    says: 'The guest has PL0..3_SSP to itself with SHSTK, U_CET and S_CET with SHSTK or IBT, so hardware alone checks it; INT_SSP_TAB and XSS exit.',
    source: `${VMX} (derived)`,
  },
  { id: 'CET-15', says: 'S_CET, SSP and INT_SSP_TAB of a vCPU are fields of its VMCS.', source: VMX },
  { id: 'CET-16', says: 'The seven MSRs and XSS are listed for saving when KVM has the feature; SSP is no MSR.', source: KVM },
  {
    id: 'CET-17',
    says: 'KVM_GET_ONE_REG and KVM_SET_ONE_REG take MSRs as type 2 and GUEST_SSP as register 0 of type 3, 64 bits wide.',
    source: 'Documentation/virt/kvm/api.rst, 6.18',
  },
  {
    id: 'CET-18',
    says: 'An id that is malformed or unknown, or whose access fails, gives EINVAL; KVM_GET_REG_LIST knows GUEST_SSP alone, and only with SHSTK.',
    source: KVM,
  },
  {
    id: 'CET-19',
    says: 'GUEST_SSP is the live pointer; PL3_SSP is where hardware leaves the user one on the way into the kernel.',
    source: SDM1,
  },
  { id: 'CET-20', says: 'KVM offers CET_U and CET_S in XSS as far as the host has them, and none without XSAVES.', source: KVM },
  {
    id: 'CET-21',
    says: 'SHSTK and IBT are offered only with both components, EPT, unrestricted guests, both CET controls and VMX_BASIC bit 56.',
    source: `${KVM}; ${VMX}`,
  },
  {
    id: 'CET-22',
    says: 'SHSTK and IBT are independent of each other, and KVM_SET_CPUID2 does not hold them against leaf 0xD.',
    source: `${KVM}; recorded KVM_SET_CPUID2 of 6.12`,
  },
  { id: 'CET-23', says: 'The module does not load (EIO) on a host that runs with supervisor shadow stacks itself.', source: KVM },
  {
    id: 'CET-24',
    says: 'The emulator refuses instructions that use shadow stacks while these are on, and sources of indirect branches while tracking is.',
    source: 'arch/x86/kvm/emulate.c, 6.18',
  },
  {
    id: 'CET-24b',
    says: 'An emulated far JMP into compatibility mode gives #GP(0) when shadow stacks are on and SSP lies above 4 GiB.',
    source: 'arch/x86/kvm/emulate.c, 6.18',
  },
  {
    id: 'CET-25',
    says: 'A task switch with CR4.CET and any shadow stack or tracking on ends in KVM_EXIT_INTERNAL_ERROR.',
    source: KVM,
  },
  {
    id: 'CET-26',
    says: 'KVM_GET_XSAVE and KVM_SET_XSAVE never carry CET state; it moves by MSRs and ONE_REG.',
    source: 'arch/x86/kernel/fpu/xstate.c; recorded KVM_SET_XSAVE',
  },
  {
    id: 'CET-27',
    says: 'Where CET is not offered there are no CPUID bits, no MSRs, no CR4.CET and no XSS but 0, whatever CPUID the guest was given.',
    source: 'recorded kernel 6.12 on a processor with CET',
  },
  {
    id: 'CET-30',
    says: 'Entry control bit 20 loads S_CET, SSP and INT_SSP_TAB of the guest, an exit stores them, exit control bit 28 loads those of the host.',
    source: SDM3,
  },
  {
    id: 'CET-31',
    says: 'The host has S_CET as the module found it, SSP 0 and table 0; its user SSP comes back from PL3_SSP.',
    source: VMX,
  },
  { id: 'CET-32', says: 'Both CET controls are set when the processor has the two, and neither when it has one.', source: VMX },
  {
    id: 'CET-33',
    says: 'CET_U and CET_S change hands where KVM_RUN starts and ends, and KVM saves them under the XSS of the host.',
    source: `arch/x86/kernel/fpu/core.c; ${KVM}`,
  },
  {
    id: 'CET-34',
    says: 'RESET and INIT clear CET_U, CET_S, S_CET, SSP, INT_SSP_TAB and CR4.CET.',
    source: `SDM Vol. 3A §9.1.1; ${KVM}`,
  },
  {
    id: 'CET-35',
    says: 'On AMD S_CET, SSP and the table lie in the VMCB; SMM keeps SSP too.',
    source: 'APM Vol. 2 App. B; arch/x86/kvm/svm/svm.c, 6.18',
  },
  {
    id: 'CET-40',
    says: 'Managed by KVM, CET_S would be loaded at the first entry after vCPU load and saved at vCPU put.',
    source: LIST,
  },
  {
    id: 'CET-41',
    says: 'Managed by KVM, CET_S could be left alone until a guest writes a PL0..2_SSP that is not 0.',
    source: LIST,
  },
  {
    id: 'CET-42',
    says: 'Guest-only CET_S is in the maximum and in XSS, in vCPU images, and in no default of a thread.',
    source: FPU,
  },
  {
    id: 'CET-43',
    says: 'Restoring the image of any thread makes CET_S initial, so no PL0..2_SSP of a guest outlives the switch.',
    source: `${FPU}; SDM Vol. 1 §13.12`,
  },
  {
    id: 'CET-44',
    says: 'Guest-only components have no XFD, no permission and no growth: the class of the image decides.',
    source: FPU,
  },
  {
    id: 'CET-45',
    says: 'Every vCPU image of a host with guest-only CET_S has room for it, offered to the guest or not.',
    source: FPU,
  },
  {
    id: 'CET-46',
    says: 'What CET_S costs follows from alignment: nothing before XTILE_CFG on SPR, 24 bytes on a client.',
    source: 'SDM Vol. 1 §13.4.3',
  },
  { id: 'CET-47', says: 'Without XSAVES there is no CET_S in any form, and SHSTK is not offered.', source: KVM },
  {
    id: 'CET-50',
    says: 'CR4.CET with SH_STK_EN or ENDBR_EN of the mode turns the two on, outside real and virtual-8086 mode.',
    source: SDM1,
  },
  {
    id: 'CET-51',
    says: 'CALL pushes on both stacks and RET compares: #CP(1) for near, #CP(2) for far returns that do not match.',
    source: SDM1,
  },
  { id: 'CET-52', says: 'After a tracked indirect branch the next instruction is ENDBR of the mode, or #CP(3).', source: SDM1 },
  { id: 'CET-53', says: '#CP is a fault, vector 21, whose error code names the cause.', source: 'SDM Vol. 3A §6.15' },
  {
    id: 'CET-54',
    says: 'INCSSP, RDSSP, SAVEPREVSSP, RSTORSSP, WRSS, WRUSS, SETSSBSY and CLRSSBSY work on shadow stacks and their tokens.',
    source: 'SDM Vol. 2',
  },
  {
    id: 'CET-55',
    says: 'Shadow-stack pages are dirty and not writable; a shadow access elsewhere is a #PF with bit 6 of its code.',
    source: 'SDM Vol. 3A §4.6, §4.7',
  },
  {
    id: 'CET-56',
    says: 'Entering ring 0 parks SSP in PL3_SSP and takes PL0_SSP, an entry of the interrupt table, or 0 for SYSCALL.',
    source: SDM1,
  },
  { id: 'CET-57', says: 'Tracker and suppression are kept for user and supervisor apart.', source: SDM1 },
  { id: 'CET-58', says: 'XRSTORS checks CET components as WRMSR does and gives #GP.', source: 'SDM Vol. 1 §13.12' },
]
