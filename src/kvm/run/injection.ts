import { X86_EFLAGS_IF, X86_EFLAGS_RF } from '../../isa/control-registers.ts'
import { X86_TRAP_DB } from '../../isa/vectors.ts'
import { CTL } from '../../machine/execution-context.ts'
import {
  INTR_INFO_DELIVER_CODE,
  INTR_INFO_VALID,
  INTR_TYPE_EXT_INTR,
  INTR_TYPE_HARD_EXCEPTION,
  INTR_TYPE_NMI,
  INTR_TYPE_SOFT_EXCEPTION,
  INTR_TYPE_SOFT_INTR,
} from '../../machine/vmcs.ts'
import { isFaultClass, isSoftException } from '../vcpu/exception-queue.ts'
import { GUEST_INTR_STATE_MOV_SS, GUEST_INTR_STATE_NMI, GUEST_INTR_STATE_STI, REQ_EVENT, type Vcpu } from '../vcpu/vcpu.ts'
import { clearGeneralDetect, deliverPayload } from './exceptions.ts'
import { KVM_GUESTDBG_BLOCKIRQ } from './instruction.ts'

/**
 * Chooses what the next VM entry injects. Order: what was injected and not delivered; a pending exception; then new NMIs and
 * interrupts, if nothing else is under way. KAPI-24..26; Linux 6.12 kvm_check_and_inject_events().
 */
export function injectEvents(vcpu: Vcpu): void {
  const { exception } = vcpu
  if (exception.injected) injectException(vcpu)
  else if (exception.pending) {
    // Prioritized below: nothing is re-injected over it.
  } else if (vcpu.nmiInjected) vcpu.vmcs.entryInterruptionInfo = 2 | INTR_TYPE_NMI | INTR_INFO_VALID
  else if (vcpu.interruptInjected) injectInterrupt(vcpu)

  let canInject = !exception.injected && !vcpu.nmiInjected && !vcpu.interruptInjected
  if (exception.pending) {
    if (isFaultClass(exception.vector)) vcpu.context.rflagsRest |= X86_EFLAGS_RF
    deliverPayload(vcpu)
    if (exception.vector === X86_TRAP_DB) clearGeneralDetect(vcpu)
    exception.pending = false
    exception.injected = true
    injectException(vcpu)
    canInject = false
  }
  if (vcpu.guestDebug & KVM_GUESTDBG_BLOCKIRQ) return
  if (vcpu.nmiPending > 0) canInject = injectNewNmi(vcpu, canInject)
  if (hasInjectableInterrupt(vcpu)) injectNewInterrupt(vcpu, canInject)
}

function injectException(vcpu: Vcpu): void {
  const { exception, vmcs } = vcpu
  const type = isSoftException(exception.vector) ? INTR_TYPE_SOFT_EXCEPTION : INTR_TYPE_HARD_EXCEPTION
  vmcs.entryErrorCode = exception.errorCode
  // RIP is already behind a soft exception's instruction when its delivery is repeated.
  vmcs.entryInstructionLength = 0
  vmcs.entryInterruptionInfo = exception.vector | type | (exception.hasErrorCode ? INTR_INFO_DELIVER_CODE : 0) | INTR_INFO_VALID
}

function injectInterrupt(vcpu: Vcpu): void {
  const { vmcs } = vcpu
  vcpu.stats.irq_injections++
  vmcs.entryInstructionLength = 0
  vmcs.entryInterruptionInfo =
    vcpu.interruptNr | (vcpu.interruptSoft ? INTR_TYPE_SOFT_INTR : INTR_TYPE_EXT_INTR) | INTR_INFO_VALID
}

function injectNewNmi(vcpu: Vcpu, canInject: boolean): boolean {
  const blocked = GUEST_INTR_STATE_NMI | GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS
  if (canInject && (vcpu.interruptibility & blocked) === 0) {
    vcpu.nmiPending--
    vcpu.nmiInjected = true
    vcpu.stats.nmi_injections++
    vcpu.vmcs.entryInterruptionInfo = 2 | INTR_TYPE_NMI | INTR_INFO_VALID
    canInject = false
  } else if (canInject) vcpu.vmcs.controls.nmiWindowExiting = true
  else vcpu.injectAgain = true
  if (vcpu.nmiPending > 0) vcpu.vmcs.controls.nmiWindowExiting = true
  return canInject
}

function injectNewInterrupt(vcpu: Vcpu, canInject: boolean): void {
  if (!canInject) {
    vcpu.injectAgain = true
    return
  }
  if (!interruptAllowed(vcpu)) {
    vcpu.vmcs.controls.interruptWindowExiting = true
    return
  }
  const vector = takeInterrupt(vcpu)
  if (vector >= 0) {
    vcpu.queueInterrupt(vector, false)
    injectInterrupt(vcpu)
    vcpu.vm.kvm.trace?.interrupt(vcpu, vector)
  }
  if (hasInjectableInterrupt(vcpu)) vcpu.vmcs.controls.interruptWindowExiting = true
}

/** RFLAGS.IF and no interrupt shadow. */
export function interruptAllowed(vcpu: Vcpu): boolean {
  return (vcpu.context.rflagsRest & X86_EFLAGS_IF) !== 0 && (vcpu.context.ctlLo(CTL.INTERRUPTIBILITY) & 3) === 0
}

/** An external interrupt (PIC) or a local-APIC vector above the processor priority waits. */
export function hasInjectableInterrupt(vcpu: Vcpu): boolean {
  const { lapic, vm } = vcpu
  if (lapic === null) return false
  if (vm.pic !== null ? vm.pic.output && lapic.acceptsPic : vcpu.splitExternal >= 0) return true
  return lapic.pendingVector() >= 0
}

function takeInterrupt(vcpu: Vcpu): number {
  const { lapic, vm } = vcpu
  if (vm.pic !== null && vm.pic.output && lapic!.acceptsPic) return vm.pic.acknowledge()
  if (vcpu.splitExternal >= 0) {
    const vector = vcpu.splitExternal
    vcpu.splitExternal = -1
    return vector
  }
  const vector = lapic!.pendingVector()
  if (vector >= 0) lapic!.acknowledge(vector)
  return vector
}

/** Counts queued NMIs in: at most two wait, one while NMIs are blocked. KAPI-26; Linux 6.12 process_nmi(). */
export function processNmis(vcpu: Vcpu): void {
  const limit = vcpu.nmiMasked || vcpu.nmiInjected ? 1 : 2
  vcpu.nmiPending = Math.min(vcpu.nmiPending + vcpu.nmiQueued, limit)
  vcpu.nmiQueued = 0
  vcpu.request(REQ_EVENT)
}
