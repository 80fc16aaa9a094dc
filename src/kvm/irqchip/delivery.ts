import type { Vm } from '../vm.ts'
import * as R from './apic-registers.ts'
import type { Lapic } from './lapic.ts'

/** An interrupt message on its way to local APICs (struct kvm_lapic_irq). */
export interface ApicMessage {
  readonly vector: number
  /** APIC_DM_* */
  readonly deliveryMode: number
  readonly logical: boolean
  readonly level: boolean
  readonly levelTriggered: boolean
  /** APIC_DEST_* shorthand bits of an ICR; 0 for messages from elsewhere. */
  readonly shorthand: number
  readonly destination: number
}

/** Whether `apic` is meant. Linux 6.12 kvm_apic_match_dest(). */
function matches(apic: Lapic, source: Lapic | null, message: ApicMessage): boolean {
  switch (message.shorthand) {
    case R.APIC_DEST_SELF:
      return apic === source
    case R.APIC_DEST_ALLINC:
      return true
    case R.APIC_DEST_ALLBUT:
      return apic !== source
    default:
      return message.logical ? matchesLogical(apic, message.destination) : matchesPhysical(apic, message.destination)
  }
}

function isBroadcast(apic: Lapic, destination: number): boolean {
  return destination === (apic.x2apic ? R.X2APIC_BROADCAST : R.APIC_BROADCAST)
}

function matchesPhysical(apic: Lapic, destination: number): boolean {
  if (isBroadcast(apic, destination)) return true
  return apic.x2apic ? destination === apic.vcpu.id : destination === apic.xapicId || destination === apic.vcpu.id
}

function matchesLogical(apic: Lapic, destination: number): boolean {
  if (isBroadcast(apic, destination)) return true
  const ldr = apic.get(R.APIC_LDR)
  if (apic.x2apic) return ldr >>> 16 === destination >>> 16 && (ldr & destination & 0xffff) !== 0
  const id = ldr >>> 24
  if (apic.get(R.APIC_DFR) === R.APIC_DFR_FLAT) return (id & destination) !== 0
  return id >>> 4 === destination >>> 4 && (id & destination & 0xf) !== 0
}

/**
 * Delivers to every APIC that matches, or to the least busy one for lowest-priority delivery.
 * @returns number of APICs that took it; -1 if none matched (KVM_IRQ_LINE_STATUS shows both)
 */
export function deliverToApics(vm: Vm, source: Lapic | null, message: ApicMessage): number {
  let lowest: Lapic | null = null
  let delivered = -1
  for (const vcpu of vm.vcpus) {
    const apic = vcpu.lapic
    if (apic === null || !apic.hardwareEnabled || !matches(apic, source, message)) continue
    if (message.deliveryMode === R.APIC_DM_LOWEST) {
      if (apic.enabled && (lowest === null || apic.arbitrationPriority < lowest.arbitrationPriority)) lowest = apic
      continue
    }
    if (delivered < 0) delivered = 0
    if (apic.accept(message.deliveryMode, message.vector, message.level, message.levelTriggered)) delivered++
  }
  if (lowest === null) return delivered
  return lowest.accept(message.deliveryMode, message.vector, message.level, message.levelTriggered) ? 1 : 0
}
