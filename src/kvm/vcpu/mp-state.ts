import { EINVAL } from '../../linux/errno.ts'
import { withPreemptionDisabled } from '../../linux/preemption.ts'
import {
  KVM_MP_STATE_AP_RESET_HOLD,
  KVM_MP_STATE_HALTED,
  KVM_MP_STATE_INIT_RECEIVED,
  KVM_MP_STATE_RUNNABLE,
  KVM_MP_STATE_SIPI_RECEIVED,
  KVM_MP_STATE_UNINITIALIZED,
} from '../abi/exit-reasons.ts'
import type { IoctlCall } from '../ioctl-table.ts'
import { loadGuestRegisters, putGuestRegisters } from './guest-registers.ts'
import { REQ_EVENT, type Vcpu } from './vcpu.ts'

const NEEDS_LAPIC = [
  KVM_MP_STATE_UNINITIALIZED,
  KVM_MP_STATE_INIT_RECEIVED,
  KVM_MP_STATE_HALTED,
  KVM_MP_STATE_SIPI_RECEIVED,
  KVM_MP_STATE_AP_RESET_HOLD,
]

/** KVM_GET_MP_STATE: pending INIT and SIPI are taken first. KAPI-54. */
export function getMpState(vcpu: Vcpu): number {
  const { kvm } = vcpu.vm
  // An INIT that waits clears state in the image (GFPU-48): MPX alone makes KVM swap it in (GFPU-09).
  const swaps = kvm.caps.has('MPX')
  if (swaps) withPreemptionDisabled(kvm.callingTask!, loadGuestRegisters, vcpu)
  vcpu.lapic?.processInitSipi()
  if (swaps) withPreemptionDisabled(kvm.callingTask!, putGuestRegisters, vcpu)
  const waits = vcpu.mpState === KVM_MP_STATE_HALTED || vcpu.mpState === KVM_MP_STATE_AP_RESET_HOLD
  return waits && vcpu.pvUnhalted ? KVM_MP_STATE_RUNNABLE : vcpu.mpState
}

export function setMpState(vcpu: Vcpu, state: number, call: IoctlCall): number {
  if (state !== KVM_MP_STATE_RUNNABLE) {
    if (!NEEDS_LAPIC.includes(state)) return call.refuse(EINVAL, 'KAPI-54', `no mp_state ${state} on x86`)
    if (vcpu.lapic === null) return call.refuse(EINVAL, 'KAPI-54', `mp_state ${state} needs an in-kernel local APIC`)
  }
  const isInit = state === KVM_MP_STATE_SIPI_RECEIVED || state === KVM_MP_STATE_INIT_RECEIVED
  if (isInit && (vcpu.smm || vcpu.smiPending)) return call.refuse(EINVAL, 'KAPI-54', 'INIT is blocked: SMM, or an SMI is pending')
  if (state === KVM_MP_STATE_SIPI_RECEIVED) {
    vcpu.mpState = KVM_MP_STATE_INIT_RECEIVED
    vcpu.lapic!.sipiPending = true
  } else vcpu.mpState = state
  vcpu.request(REQ_EVENT)
  return 0
}
