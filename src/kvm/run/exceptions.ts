import { DR6_BUS_LOCK, DR6_FIXED_1, DR6_RTM, DR7_GD } from '../../isa/control-registers.ts'
import { X86_TRAP_DB, X86_TRAP_PF } from '../../isa/vectors.ts'
import { CTL } from '../../machine/execution-context.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'

/**
 * Moves a pending exception's payload into the register it belongs to: #PF -> CR2, #DB -> DR6. Done when the exception is
 * delivered, or earlier when user space without KVM_CAP_EXCEPTION_PAYLOAD looks (KAPI-30). Linux 6.12
 * kvm_deliver_exception_payload().
 */
export function deliverPayload(vcpu: Vcpu): void {
  const { exception, context } = vcpu
  if (!exception.hasPayload) return
  if (exception.vector === X86_TRAP_PF) context.setCtl(CTL.CR2, exception.payloadLo, exception.payloadHi)
  else if (exception.vector === X86_TRAP_DB) {
    // Bits 0..3 are those of this event; the rest accumulates. Two bits are active low: the payload flips them.
    const activeLow = DR6_RTM | DR6_BUS_LOCK
    let dr6 = vcpu.dr6 & ~0xf
    dr6 |= exception.payloadLo | DR6_FIXED_1 | activeLow
    dr6 ^= exception.payloadLo & activeLow
    vcpu.dr6 = dr6 >>> 0
    context.setCtl(CTL.DR6, dr6, 0)
    exception.payloadLo &= ~0x1000
  }
  exception.hasPayload = false
  exception.payloadLo = exception.payloadHi = 0
}

/** General detect is taken once: DR7.GD clears when its #DB is delivered. */
export function clearGeneralDetect(vcpu: Vcpu): void {
  if ((vcpu.dr7 & DR7_GD) === 0) return
  vcpu.dr7 &= ~DR7_GD
  vcpu.updateDr7()
}
