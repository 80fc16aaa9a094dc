import { EINVAL } from '../../linux/errno.ts'
import type { ValueOf } from '../abi/struct-layout.ts'
import type { kvm_irq_routing_entry } from '../abi/structs.ts'
import type { Vm } from '../vm.ts'
import { deliverToApics } from './delivery.ts'

export type RoutingEntry = ValueOf<typeof kvm_irq_routing_entry>

export const KVM_IRQ_ROUTING_IRQCHIP = 1
export const KVM_IRQ_ROUTING_MSI = 2
export const KVM_MSI_VALID_DEVID = 1
export const KVM_IRQCHIP_PIC_MASTER = 0
export const KVM_IRQCHIP_PIC_SLAVE = 1
export const KVM_IRQCHIP_IOAPIC = 2
export const KVM_MAX_IRQ_ROUTES = 4096

const entry = (gsi: number, chip: number, pin: number): RoutingEntry => ({
  gsi,
  type: KVM_IRQ_ROUTING_IRQCHIP,
  flags: 0,
  u0: chip,
  u1: pin,
  u2: 0,
  u3: 0,
})

/** KVM_CREATE_IRQCHIP's table: GSI 0..15 to the PICs and the IOAPIC pin of the same number, 16..23 to the IOAPIC. KAPI-60. */
export function defaultRouting(): RoutingEntry[] {
  const table: RoutingEntry[] = []
  for (let gsi = 0; gsi < 24; gsi++) {
    if (gsi < 8) table.push(entry(gsi, KVM_IRQCHIP_PIC_MASTER, gsi))
    else if (gsi < 16) table.push(entry(gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - 8))
    table.push(entry(gsi, KVM_IRQCHIP_IOAPIC, gsi))
  }
  return table
}

/** Null if every entry is acceptable. KAPI-67. */
export function routingRefusal(entries: readonly RoutingEntry[]): { errno: number; rule: string; because: string } | null {
  const no = (because: string) => ({ errno: EINVAL, rule: 'KAPI-67', because })
  for (const e of entries) {
    if (e.gsi >= KVM_MAX_IRQ_ROUTES) return no(`GSI ${e.gsi} is not below ${KVM_MAX_IRQ_ROUTES}`)
    if (e.type === KVM_IRQ_ROUTING_MSI) {
      if (e.flags & ~KVM_MSI_VALID_DEVID) return no('unknown flags of an MSI entry')
      continue
    }
    if (e.flags !== 0) return no('flags of a routing entry must be 0')
    if (e.type !== KVM_IRQ_ROUTING_IRQCHIP) return no(`unknown routing entry type ${e.type}`)
    if (e.u0 > KVM_IRQCHIP_IOAPIC) return no(`no irqchip ${e.u0}`)
    if (e.u1 >= (e.u0 === KVM_IRQCHIP_IOAPIC ? 24 : 8)) return no(`irqchip ${e.u0} has no pin ${e.u1}`)
  }
  return null
}

/**
 * An interrupt message as devices write it (SDM Vol. 3, 11.11): destination in address bits 19:12 (and 63:40 with 32-bit IDs),
 * logical in bit 2, vector, mode and trigger in the data.
 */
export function sendMsi(vm: Vm, addressLo: number, addressHi: number, data: number): number {
  const destination = ((addressLo >>> 12) & 0xff) | (vm.x2apicIds32 ? addressHi & 0xffffff00 : 0)
  return deliverToApics(vm, null, {
    vector: data & 0xff,
    deliveryMode: data & 0x700,
    logical: (addressLo & 4) !== 0,
    level: true,
    levelTriggered: (data & 0x8000) !== 0,
    shorthand: 0,
    destination: destination >>> 0,
  })
}

/** Drives a GSI: every entry of it gets the level. @returns the best result: > 0 delivered, 0 coalesced, -1 ignored */
export function setGsi(vm: Vm, gsi: number, level: boolean): number {
  let result = -1
  for (const e of vm.routing) {
    if (e.gsi !== gsi) continue
    const r = driveEntry(vm, e, level)
    if (r >= 0) result = result < 0 ? r : result + r
  }
  return result
}

function driveEntry(vm: Vm, e: RoutingEntry, level: boolean): number {
  if (e.type === KVM_IRQ_ROUTING_MSI) return level ? sendMsi(vm, e.u0, e.u1, e.u2) : -1
  if (e.u0 === KVM_IRQCHIP_IOAPIC) return vm.ioapic === null ? -1 : vm.ioapic.setLine(e.u1, level)
  return vm.pic === null ? -1 : vm.pic.setLine(e.u0 * 8 + e.u1, level)
}
