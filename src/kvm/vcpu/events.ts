import { EINVAL } from '../../linux/errno.ts'
import { KVM_MP_STATE_INIT_RECEIVED } from '../abi/exit-reasons.ts'
import type { ValueOf } from '../abi/struct-layout.ts'
import type { kvm_vcpu_events } from '../abi/structs.ts'
import type { IoctlCall } from '../ioctl-table.ts'
import { deliverPayload } from '../run/exceptions.ts'
import { processNmis } from '../run/injection.ts'
import { isSoftException } from './exception-queue.ts'
import { REQ_EVENT, REQ_NMI, REQ_TRIPLE_FAULT, type Vcpu } from './vcpu.ts'

export type KvmVcpuEvents = ValueOf<typeof kvm_vcpu_events>

/** kvm_vcpu_events.flags */
export const KVM_VCPUEVENT_VALID_NMI_PENDING = 0x01
export const KVM_VCPUEVENT_VALID_SIPI_VECTOR = 0x02
export const KVM_VCPUEVENT_VALID_SHADOW = 0x04
export const KVM_VCPUEVENT_VALID_SMM = 0x08
export const KVM_VCPUEVENT_VALID_PAYLOAD = 0x10
export const KVM_VCPUEVENT_VALID_TRIPLE_FAULT = 0x20
const KNOWN_FLAGS = 0x3f

const bool = (value: boolean): number => (value ? 1 : 0)

/**
 * User space that does not know payloads (no KVM_CAP_EXCEPTION_PAYLOAD) sees CR2 and DR6 as if the exception were delivered.
 * KAPI-30.
 */
export function deliverPayloadForUser(vcpu: Vcpu): void {
  if (!vcpu.vm.exceptionPayload && vcpu.exception.pending && vcpu.exception.hasPayload) deliverPayload(vcpu)
}

/** KVM_GET_VCPU_EVENTS. KAPI-50, KAPI-51. */
export function getVcpuEvents(vcpu: Vcpu): KvmVcpuEvents {
  const { exception, vm } = vcpu
  if (vcpu.requests & REQ_NMI) {
    vcpu.takeRequest(REQ_NMI)
    processNmis(vcpu)
  }
  deliverPayloadForUser(vcpu)
  const soft = isSoftException(exception.vector)
  let flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM
  if (vm.exceptionPayload) flags |= KVM_VCPUEVENT_VALID_PAYLOAD
  if (vm.tripleFaultEvent) flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT
  return {
    exception_injected: bool(!soft && (exception.injected || (exception.pending && !vm.exceptionPayload))),
    exception_pending: bool(!soft && exception.pending),
    exception_nr: exception.vector,
    exception_has_error_code: bool(exception.hasErrorCode),
    exception_error_code: exception.errorCode >>> 0,
    exception_has_payload: bool(exception.hasPayload),
    exception_payload: (BigInt(exception.payloadHi >>> 0) << 32n) | BigInt(exception.payloadLo >>> 0),
    interrupt_injected: bool(vcpu.interruptInjected && !vcpu.interruptSoft),
    interrupt_nr: vcpu.interruptNr,
    interrupt_soft: 0,
    interrupt_shadow: vcpu.interruptShadowForUser(),
    nmi_injected: bool(vcpu.nmiInjected),
    nmi_pending: vcpu.nmiPending + vcpu.nmiQueued,
    nmi_masked: bool(vcpu.nmiMasked),
    sipi_vector: 0,
    flags,
    smi_smm: bool(vcpu.smm),
    smi_pending: bool(vcpu.smiPending),
    smi_smm_inside_nmi: bool(vcpu.smmInsideNmi),
    smi_latched_init: bool(vcpu.lapic?.initPending ?? false),
    triple_fault_pending: bool(vm.tripleFaultEvent && (vcpu.requests & REQ_TRIPLE_FAULT) !== 0),
  }
}

function eventsRefusal(vcpu: Vcpu, e: KvmVcpuEvents): [rule: string, because: string] | null {
  const { vm } = vcpu
  if (e.flags & ~KNOWN_FLAGS) return ['KAPI-52', 'unknown flags']
  if (e.flags & KVM_VCPUEVENT_VALID_PAYLOAD && !vm.exceptionPayload)
    return ['KAPI-52', 'VALID_PAYLOAD without KVM_CAP_EXCEPTION_PAYLOAD']
  const pending = e.flags & KVM_VCPUEVENT_VALID_PAYLOAD ? e.exception_pending : 0
  if ((e.exception_injected || pending) && (e.exception_nr > 31 || e.exception_nr === 2))
    return ['KAPI-52', `vector ${e.exception_nr} is not an exception`]
  if (e.flags & KVM_VCPUEVENT_VALID_SMM) {
    if ((e.smi_smm || e.smi_pending) && vcpu.mpState === KVM_MP_STATE_INIT_RECEIVED)
      return ['KAPI-52', 'SMM in a vCPU that waits for SIPI']
    if (e.smi_smm || e.smi_pending || e.smi_smm_inside_nmi) return ['KAPI-11', 'this KVM is built without SMM']
  }
  if (e.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT && !vm.tripleFaultEvent)
    return ['KAPI-52', 'VALID_TRIPLE_FAULT without KVM_CAP_X86_TRIPLE_FAULT_EVENT']
  return null
}

/** KVM_SET_VCPU_EVENTS. KAPI-52, KAPI-53. */
export function setVcpuEvents(vcpu: Vcpu, e: KvmVcpuEvents, call: IoctlCall): number {
  const refusal = eventsRefusal(vcpu, e)
  if (refusal !== null) return call.refuse(EINVAL, refusal[0], refusal[1])
  const { exception } = vcpu
  const withPayload = (e.flags & KVM_VCPUEVENT_VALID_PAYLOAD) !== 0
  processNmis(vcpu)
  exception.pending = withPayload && e.exception_pending !== 0
  exception.injected = e.exception_injected !== 0 && !exception.pending
  exception.vector = e.exception_nr
  exception.hasErrorCode = e.exception_has_error_code !== 0
  exception.errorCode = e.exception_error_code
  exception.hasPayload = exception.pending && e.exception_has_payload !== 0
  exception.payloadLo = Number(e.exception_payload & 0xffffffffn) | 0
  exception.payloadHi = Number(e.exception_payload >> 32n) | 0
  vcpu.interruptInjected = e.interrupt_injected !== 0
  vcpu.interruptNr = e.interrupt_nr
  vcpu.interruptSoft = e.interrupt_soft !== 0
  if (e.flags & KVM_VCPUEVENT_VALID_SHADOW)
    vcpu.interruptibility = (vcpu.interruptibility & ~3) | vcpu.shadowFromUser(e.interrupt_shadow)
  vcpu.nmiInjected = e.nmi_injected !== 0
  if (e.flags & KVM_VCPUEVENT_VALID_NMI_PENDING) {
    vcpu.nmiPending = 0
    vcpu.nmiQueued = e.nmi_pending
    if (e.nmi_pending) vcpu.request(REQ_NMI)
  }
  vcpu.nmiMasked = e.nmi_masked !== 0
  if (vcpu.lapic !== null) {
    if (e.flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR) vcpu.lapic.sipiVector = e.sipi_vector & 0xff
    if (e.flags & KVM_VCPUEVENT_VALID_SMM) vcpu.lapic.initPending = e.smi_latched_init !== 0
  }
  if (e.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT) {
    if (e.triple_fault_pending) vcpu.request(REQ_TRIPLE_FAULT)
    else vcpu.takeRequest(REQ_TRIPLE_FAULT)
  }
  vcpu.request(REQ_EVENT)
  return 0
}
