import { DR6_ACTIVE_LOW, DR6_BS, EFER_LMA, X86_EFLAGS_TF } from '../../isa/control-registers.ts'
import { CTL } from '../../machine/execution-context.ts'
import { SEGMENT } from '../../machine/memory-map.ts'
import { KVM_EXIT_DEBUG } from '../abi/exit-reasons.ts'
import { GUEST_INTR_STATE_MOV_SS, GUEST_INTR_STATE_STI, type Vcpu } from '../vcpu/vcpu.ts'
import { ENTER_GUEST, EXIT_TO_USER } from './exit-results.ts'

/** KVM_SET_GUEST_DEBUG control bits. KAPI-56. */
export const KVM_GUESTDBG_ENABLE = 1
export const KVM_GUESTDBG_SINGLESTEP = 2
export const KVM_GUESTDBG_USE_SW_BP = 0x10000
export const KVM_GUESTDBG_USE_HW_BP = 0x20000
export const KVM_GUESTDBG_INJECT_DB = 0x40000
export const KVM_GUESTDBG_INJECT_BP = 0x80000
export const KVM_GUESTDBG_BLOCKIRQ = 0x100000

/** CS.L with long mode active: 64-bit code. */
export function isLongMode(vcpu: Vcpu): boolean {
  return (vcpu.context.ctlLo(CTL.EFER) & EFER_LMA) !== 0
}
export function is64BitCode(vcpu: Vcpu): boolean {
  return isLongMode(vcpu) && (vcpu.context.attributes(SEGMENT.CS) & 0x2000) !== 0
}

/** Low half of the linear address of RIP. */
export function linearRipLo(vcpu: Vcpu): number {
  const { context } = vcpu
  return is64BitCode(vcpu) ? context.ripLo : (context.ripLo + context.segmentBaseLo(SEGMENT.CS)) | 0
}
export function linearRipHi(vcpu: Vcpu): number {
  return is64BitCode(vcpu) ? vcpu.context.ripHi : 0
}

export function linearRip(vcpu: Vcpu): bigint {
  return (BigInt(linearRipHi(vcpu) >>> 0) << 32n) | BigInt(linearRipLo(vcpu) >>> 0)
}

/** RIP += length, cut to 32 bits outside 64-bit code; the interrupt shadow ends. */
export function advanceRip(vcpu: Vcpu, length: number): void {
  const { context } = vcpu
  context.advanceRip(length)
  if (!is64BitCode(vcpu)) context.setRip(context.ripLo, 0)
  const shadow = context.ctlLo(CTL.INTERRUPTIBILITY)
  const blocked = GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS
  if (shadow & blocked) context.setCtl(CTL.INTERRUPTIBILITY, shadow & ~blocked, 0)
}

/**
 * The instruction that exited is done: RIP moves behind it, and a single step that was due is taken (by the guest, or by
 * user space: KAPI-58). Linux 6.12 kvm_skip_emulated_instruction().
 */
export function skipInstruction(vcpu: Vcpu): number {
  advanceRip(vcpu, vcpu.vmcs.exitInstructionLength)
  return (vcpu.context.rflagsRest & X86_EFLAGS_TF) === 0 ? ENTER_GUEST : singleStepTrap(vcpu)
}

export function singleStepTrap(vcpu: Vcpu): number {
  if (vcpu.guestDebug & KVM_GUESTDBG_SINGLESTEP) return debugExit(vcpu, 1, DR6_BS)
  vcpu.queueDebug(DR6_BS)
  return ENTER_GUEST
}

/** KVM_EXIT_DEBUG. @param dr6Bits what happened, active high */
export function debugExit(vcpu: Vcpu, vector: number, dr6Bits: number): number {
  const { run } = vcpu
  run.exitReason = KVM_EXIT_DEBUG
  run.setU32(0x20, vector)
  run.setHalves(0x28, linearRipLo(vcpu), linearRipHi(vcpu))
  run.setHalves(0x30, DR6_ACTIVE_LOW | dr6Bits | 0, 0)
  run.setHalves(0x38, vcpu.guestDebug & KVM_GUESTDBG_USE_HW_BP ? vcpu.debugDr7 : vcpu.dr7, 0)
  return EXIT_TO_USER
}
