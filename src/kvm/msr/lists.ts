import * as M from '../../isa/msr-index.ts'
import type { Kvm } from '../kvm.ts'
import * as PV from '../pv/msr-index.ts'

/**
 * MSR lists of /dev/kvm. KAPI-77..79; Linux 6.12 x86.c msrs_to_save_base, emulated_msrs_all, msr_based_features_all_except_vmx.
 * The modelled KVM has no Hyper-V, no SMM and no vPMU, so their MSRs are not in its lists; VMX capabilities are with nested=1.
 */

type Condition = (kvm: Kvm) => boolean
const always: Condition = () => true
const has =
  (...features: string[]): Condition =>
  (kvm) =>
    features.some((f) => kvm.caps.has(f))
const intel: Condition = (kvm) => !kvm.isAmd
const amd: Condition = (kvm) => kvm.isAmd
/** Linux finds an MSR by reading it; one recorded emulator answers every read. */
const readsAnything: Condition = (kvm) => kvm.model.emulator.unknownMsrsAreZero === true
/** Bit 7 of IA32_ARCH_CAPABILITIES: TSX_CTRL. */
const hasTsxCtrl: Condition = (kvm) => (kvm.archCapabilities & (1n << 7n)) !== 0n

const nested: Condition = (kvm) => kvm.nestedVmx !== null

/** The proposals for guests (SLD-44, SLD-62). */
const virtualizesSplitLock: Condition = (kvm) => kvm.profile.splitLock.guestVirtualization !== 'none'

/** MSRs whose host value KVM passes through: in the save list if the host can read them. */
const MSRS_TO_SAVE: readonly (readonly [number, Condition])[] = [
  [M.MSR_IA32_SYSENTER_CS, always],
  [M.MSR_IA32_SYSENTER_ESP, always],
  [M.MSR_IA32_SYSENTER_EIP, always],
  [M.MSR_STAR, always],
  [M.MSR_CSTAR, always],
  [M.MSR_KERNEL_GS_BASE, always],
  [M.MSR_SYSCALL_MASK, always],
  [M.MSR_LSTAR, always],
  [M.MSR_IA32_TSC, always],
  [M.MSR_IA32_CR_PAT, always],
  [M.MSR_VM_HSAVE_PA, always],
  [M.MSR_IA32_FEAT_CTL, (kvm) => intel(kvm) || readsAnything(kvm)],
  [M.MSR_IA32_BNDCFGS, has('MPX')],
  [M.MSR_TSC_AUX, has('RDTSCP', 'RDPID')],
  [M.MSR_IA32_SPEC_CTRL, (kvm) => has('SPEC_CTRL', 'AMD_IBRS')(kvm) || readsAnything(kvm)],
  [M.MSR_IA32_TSX_CTRL, hasTsxCtrl],
  [M.MSR_IA32_UMWAIT_CONTROL, has('WAITPKG')],
  [M.MSR_IA32_XFD, has('XFD')],
  [M.MSR_IA32_XFD_ERR, has('XFD')],
  [M.MSR_IA32_XSS, (kvm) => kvm.supportedXss !== 0],
  [M.MSR_IA32_U_CET, has('SHSTK', 'IBT')],
  [M.MSR_IA32_S_CET, has('SHSTK', 'IBT')],
  [M.MSR_IA32_PL0_SSP, has('SHSTK')],
  [M.MSR_IA32_PL1_SSP, has('SHSTK')],
  [M.MSR_IA32_PL2_SSP, has('SHSTK')],
  [M.MSR_IA32_PL3_SSP, has('SHSTK')],
  [M.MSR_IA32_INT_SSP_TAB, has('SHSTK')],
  [M.MSR_TEST_CTRL, (kvm) => virtualizesSplitLock(kvm) && kvm.supportedCoreCapabilities !== 0n],
]

/** MSRs KVM emulates by itself. */
const EMULATED: readonly (readonly [number, Condition])[] = [
  [PV.MSR_KVM_SYSTEM_TIME, always],
  [PV.MSR_KVM_WALL_CLOCK, always],
  [PV.MSR_KVM_SYSTEM_TIME_NEW, always],
  [PV.MSR_KVM_WALL_CLOCK_NEW, always],
  [PV.MSR_KVM_ASYNC_PF_EN, always],
  [PV.MSR_KVM_STEAL_TIME, always],
  [PV.MSR_KVM_PV_EOI_EN, always],
  [PV.MSR_KVM_ASYNC_PF_INT, always],
  [PV.MSR_KVM_ASYNC_PF_ACK, always],
  [M.MSR_IA32_TSC_ADJUST, always],
  [M.MSR_IA32_TSC_DEADLINE, always],
  [M.MSR_IA32_ARCH_CAPABILITIES, always],
  [M.MSR_IA32_PERF_CAPABILITIES, always],
  [M.MSR_IA32_MISC_ENABLE, always],
  [M.MSR_IA32_MCG_STATUS, always],
  [M.MSR_IA32_MCG_CTL, always],
  [PV.MSR_IA32_MCG_EXT_CTL, intel],
  [M.MSR_SMI_COUNT, always],
  [M.MSR_PLATFORM_INFO, always],
  [M.MSR_MISC_FEATURES_ENABLES, always],
  [PV.MSR_AMD64_VIRT_SPEC_CTRL, amd],
  [M.MSR_AMD64_TSC_RATIO, amd],
  [M.MSR_IA32_POWER_CTL, always],
  [M.MSR_IA32_UCODE_REV, always],
  [M.MSR_IA32_CORE_CAPS, virtualizesSplitLock],
  // The plain control MSRs and the fixed-to-1 masks follow from these and are not saved.
  [M.MSR_IA32_VMX_BASIC, nested],
  [M.MSR_IA32_VMX_TRUE_PINBASED_CTLS, nested],
  [M.MSR_IA32_VMX_TRUE_PROCBASED_CTLS, nested],
  [M.MSR_IA32_VMX_TRUE_EXIT_CTLS, nested],
  [M.MSR_IA32_VMX_TRUE_ENTRY_CTLS, nested],
  [M.MSR_IA32_VMX_MISC, nested],
  [M.MSR_IA32_VMX_CR0_FIXED0, nested],
  [M.MSR_IA32_VMX_CR4_FIXED0, nested],
  [M.MSR_IA32_VMX_VMCS_ENUM, nested],
  [M.MSR_IA32_VMX_PROCBASED_CTLS2, nested],
  [M.MSR_IA32_VMX_EPT_VPID_CAP, nested],
  [M.MSR_IA32_VMX_VMFUNC, nested],
  [M.MSR_K7_HWCR, always],
  [PV.MSR_KVM_POLL_CONTROL, always],
]

/** MSRs whose value /dev/kvm itself answers. */
const FEATURE: readonly (readonly [number, Condition])[] = [
  [M.MSR_AMD64_DE_CFG, amd],
  [M.MSR_IA32_UCODE_REV, always],
  [M.MSR_IA32_ARCH_CAPABILITIES, always],
  [M.MSR_IA32_PERF_CAPABILITIES, always],
  [M.MSR_IA32_CORE_CAPS, virtualizesSplitLock],
  [M.MSR_PLATFORM_INFO, (kvm) => kvm.profile.kvm.platformInfoIsFeatureMsr],
]

const choose = (kvm: Kvm, table: readonly (readonly [number, Condition])[]): number[] =>
  table.filter(([, on]) => on(kvm)).map(([index]) => index)

export function msrIndexList(kvm: Kvm): number[] {
  return [...choose(kvm, MSRS_TO_SAVE), ...choose(kvm, EMULATED)]
}
export function featureMsrList(kvm: Kvm): number[] {
  return [...[...(kvm.nestedVmx?.keys() ?? [])].sort((a, b) => a - b), ...choose(kvm, FEATURE)]
}
