import {
  MSR_IA32_INT_SSP_TAB,
  MSR_IA32_PL0_SSP,
  MSR_IA32_PL1_SSP,
  MSR_IA32_PL2_SSP,
  MSR_IA32_PL3_SSP,
  MSR_IA32_S_CET,
  MSR_IA32_U_CET,
} from '../../isa/msr-index.ts'
import { ensureRegistersLoaded } from '../../linux/fpu/door.ts'
import { withPreemptionDisabled } from '../../linux/preemption.ts'
import type { PinnedProcessor } from '../../linux/processor.ts'
import { CTL } from '../../machine/execution-context.ts'
import { guestCpuidHas } from '../cpuid/vcpu-cpuid.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { INVALID, type MsrFailure, UNSUPPORTED } from './failure.ts'
import type { MsrRow } from './table.ts'

/** MSRs of control-flow enforcement: CET §2. The checks bind the host as much as the guest (CET-11). */

const SHADOW_STACK_BITS = 0x3n
/** ENDBR_EN to SUPPRESS_DIS, SUPPRESS, TRACKER and the base of the legacy bitmap. */
const IBT_BITS = 0xffff_ffff_ffff_fc3cn
/** Bits 9:6 are the processor's, 13:12 belong to a base that is aligned to pages. */
const RESERVED = 0x33c0n
const SUPPRESS_AND_TRACKER = 0xc00n

/** Canonical for the widest paging of the host, whatever the guest uses. CET-10. */
function isCanonicalOnHost(vcpu: Vcpu, value: bigint): boolean {
  const width = vcpu.vm.kvm.caps.hostHas('LA57') ? 57 : 48
  return BigInt.asUintN(64, BigInt.asIntN(width, value)) === value
}

/** A value of a PLn_SSP or of GUEST_SSP. */
export const isShadowStackPointer = (vcpu: Vcpu, value: bigint): boolean => (value & 3n) === 0n && isCanonicalOnHost(vcpu, value)

const hasSettings = (vcpu: Vcpu): boolean => vcpu.hasShadowStacks || vcpu.guestHasIbt

function areSettingsValid(vcpu: Vcpu, value: bigint): boolean {
  let reserved = RESERVED
  if (!vcpu.hasShadowStacks) reserved |= SHADOW_STACK_BITS
  if (!vcpu.guestHasIbt) reserved |= IBT_BITS
  return (value & reserved) === 0n && (value & SUPPRESS_AND_TRACKER) !== SUPPRESS_AND_TRACKER
}

/** In the registers: the guest FPU is loaded, by KVM_RUN or around the list of MSRs. CET-13. */
const pending = { index: 0, value: 0n }
function readRegister(cpu: PinnedProcessor): bigint {
  ensureRegistersLoaded(cpu)
  return cpu.processor.rdmsr(pending.index)
}
/** What KVM does not check and the processor refuses (a legacy bitmap at no canonical address) is lost, and the host complains. */
function writeRegister(cpu: PinnedProcessor): void {
  ensureRegistersLoaded(cpu)
  const { index, value } = pending
  if (cpu.processor.wrmsr(index, value) === 0) return
  cpu.kernel.log.warnOnce(`unchecked MSR access error: WRMSR to 0x${index.toString(16)} (tried to write 0x${value.toString(16)})`)
}

type Exists = (vcpu: Vcpu) => boolean
type Check = (vcpu: Vcpu, value: bigint) => boolean

/** An MSR that XSAVES carries. */
function inImage(index: number, exists: Exists, isValid: Check): MsrRow {
  return {
    read: (vcpu) => {
      if (!exists(vcpu)) return UNSUPPORTED
      pending.index = index
      return withPreemptionDisabled(vcpu.runner ?? vcpu.vm.kvm.callingTask!, readRegister)
    },
    write: (vcpu, value): 0 | MsrFailure => {
      if (!exists(vcpu)) return UNSUPPORTED
      if (!isValid(vcpu, value)) return INVALID
      pending.index = index
      pending.value = value
      withPreemptionDisabled(vcpu.runner ?? vcpu.vm.kvm.callingTask!, writeRegister)
      return 0
    },
  }
}

/** An MSR that VM entry and exit carry: a field of the VMCS (AMD: of the VMCB). CET-15, CET-35. */
function inVmcs(slot: number, exists: Exists, writable: Exists, isValid: Check): MsrRow {
  return {
    read: (vcpu) => (exists(vcpu) ? vcpu.context.ctl(slot) : UNSUPPORTED),
    write: (vcpu, value) => {
      if (!exists(vcpu) || !writable(vcpu)) return UNSUPPORTED
      if (!isValid(vcpu, value)) return INVALID
      vcpu.context.setCtl64(slot, value)
      return 0
    },
  }
}

const ownsStacks: Exists = (vcpu) => vcpu.hasShadowStacks
const hasLongMode: Exists = (vcpu) => guestCpuidHas(vcpu, 'LM')
/** Where a design of CET_S keeps it. */
function supervisorPointer(index: number): MsrRow {
  return {
    read: (vcpu) => (vcpu.hasShadowStacks ? vcpu.supervisorSsp.read(index) : UNSUPPORTED),
    write: (vcpu, value) => {
      if (!vcpu.hasShadowStacks) return UNSUPPORTED
      if (!isShadowStackPointer(vcpu, value)) return INVALID
      vcpu.supervisorSsp.write(index, value)
      return 0
    },
  }
}
const SUPERVISOR_POINTERS = [MSR_IA32_PL0_SSP, MSR_IA32_PL1_SSP, MSR_IA32_PL2_SSP]

export const cetMsrs: readonly (readonly [number, MsrRow])[] = [
  [MSR_IA32_U_CET, inImage(MSR_IA32_U_CET, hasSettings, areSettingsValid)],
  [MSR_IA32_S_CET, inVmcs(CTL.S_CET, hasSettings, hasSettings, areSettingsValid)],
  ...SUPERVISOR_POINTERS.map((index) => [index, supervisorPointer(index)] as const),
  [MSR_IA32_PL3_SSP, inImage(MSR_IA32_PL3_SSP, ownsStacks, isShadowStackPointer)],
  [MSR_IA32_INT_SSP_TAB, inVmcs(CTL.INT_SSP_TAB, ownsStacks, hasLongMode, isCanonicalOnHost)],
]

/** The vCPU owns it, and it is reached in the registers: the guest FPU must be loaded. CET-13, GFPU-09. */
export function isInGuestFpu(vcpu: Vcpu, index: number): boolean {
  if (index === MSR_IA32_U_CET) return hasSettings(vcpu)
  if (index >= MSR_IA32_PL0_SSP && index <= MSR_IA32_PL2_SSP) return vcpu.hasShadowStacks && !vcpu.supervisorSsp.managed
  return vcpu.hasShadowStacks && index === MSR_IA32_PL3_SSP
}

/** Neither RDMSR nor WRMSR exits: the processor alone checks what the guest writes. CET-14; CET-41 for the design that waits. */
export function cetMsrPasses(vcpu: Vcpu, index: number): boolean {
  if (index === MSR_IA32_U_CET || index === MSR_IA32_S_CET) return hasSettings(vcpu)
  if (index >= MSR_IA32_PL0_SSP && index <= MSR_IA32_PL2_SSP) return vcpu.supervisorSsp.passThrough
  return index === MSR_IA32_PL3_SSP && vcpu.hasShadowStacks
}
