import type { EventFd } from '../../linux/fs/eventfd.ts'
import type { MachineMemory } from '../../machine/machine-memory.ts'
import { PHYSICAL_BASE } from '../../machine/memory-map.ts'
import { encode } from '../abi/struct-layout.ts'
import { kvm_coalesced_mmio, kvm_coalesced_mmio_ring } from '../abi/structs.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'

/** KVM_IOEVENTFD flags. KAPI-69. */
export const KVM_IOEVENTFD_FLAG_DATAMATCH = 1
export const KVM_IOEVENTFD_FLAG_PIO = 2
export const KVM_IOEVENTFD_FLAG_DEASSIGN = 4

/** Entries of the coalesced ring page. KAPI-109. */
export const KVM_COALESCED_MMIO_MAX = 170

/** An in-kernel device on the port bus: byte-wide registers; -1 and false mean "not mine". */
export interface PortDevice {
  read(port: number): number
  write(port: number, value: number): boolean
}

/** An in-kernel device on the memory bus; false means "not mine". */
export interface MemoryDevice {
  read(vcpu: Vcpu, gpa: number, into: Uint8Array): boolean
  write(vcpu: Vcpu, gpa: number, from: Uint8Array): boolean
}

export interface IoEvent {
  readonly addr: number
  /** 0 = any. */
  readonly length: number
  readonly isPort: boolean
  /** Null = any value. */
  readonly match: bigint | null
  readonly event: EventFd
}

export interface CoalescedZone {
  readonly addr: number
  readonly size: number
  readonly isPort: boolean
}

/** What answers guest I/O inside the kernel, before user space is asked. KAPI-31, KAPI-36, KAPI-69, KAPI-109. */
export class IoBus {
  private readonly ports = new Map<number, PortDevice>()
  private readonly memory: MemoryDevice[] = []
  private readonly events: IoEvent[] = []
  private readonly zones: CoalescedZone[] = []
  private readonly mem: MachineMemory
  /** Host-physical address of the VM's coalesced ring page. */
  private readonly ringHpa: number
  /** Something may answer a port. */
  hasPorts = false

  constructor(mem: MachineMemory, ringHpa: number) {
    this.mem = mem
    this.ringHpa = ringHpa
  }

  addPorts(ports: readonly number[], device: PortDevice): void {
    for (const port of ports) this.ports.set(port, device)
    this.update()
  }
  addMemory(device: MemoryDevice): void {
    this.memory.push(device)
  }
  removePorts(ports: readonly number[]): void {
    for (const port of ports) this.ports.delete(port)
    this.update()
  }
  private update(): void {
    this.hasPorts = this.ports.size > 0 || this.events.some((e) => e.isPort) || this.zones.some((z) => z.isPort)
  }

  /** Value of an in-kernel port, -1 if user space must answer. */
  readPort(_vcpu: Vcpu, port: number, size: number): number {
    const device = this.ports.get(port)
    if (device === undefined) return -1
    const value = device.read(port)
    return value < 0 || size === 1 ? value : value >>> 0
  }

  /** True when the write is done. */
  writePort(_vcpu: Vcpu, port: number, size: number, value: number): boolean {
    const device = this.ports.get(port)
    if (device?.write(port, value & 0xff)) return true
    if (this.events.length > 0 && this.signalEvent(port, size, BigInt(value >>> 0), true)) return true
    return this.zones.length > 0 && this.coalesce(port, size, numberBytes(value, size), true)
  }

  readMemory(vcpu: Vcpu, gpa: number, into: Uint8Array): boolean {
    return this.memory.some((device) => device.read(vcpu, gpa, into))
  }

  writeMemory(vcpu: Vcpu, gpa: number, from: Uint8Array): boolean {
    if (this.memory.some((device) => device.write(vcpu, gpa, from))) return true
    if (this.events.length > 0 && this.signalEvent(gpa, from.length, bytesValue(from), false)) return true
    return this.zones.length > 0 && this.coalesce(gpa, from.length, from, false)
  }

  // ---- ioeventfd ----
  private signalEvent(addr: number, length: number, value: bigint, isPort: boolean): boolean {
    const hit = this.events.find(
      (e) =>
        e.isPort === isPort &&
        e.addr === addr &&
        (e.length === 0 || e.length === length) &&
        (e.match === null || e.match === value),
    )
    hit?.event.signal(1n)
    return hit !== undefined
  }

  /** False if an equal one is there. */
  addEvent(event: IoEvent): boolean {
    const clash = this.events.some(
      (e) =>
        e.isPort === event.isPort &&
        e.addr === event.addr &&
        (e.length === 0 ||
          event.length === 0 ||
          (e.length === event.length && (e.match === null || event.match === null || e.match === event.match))),
    )
    if (clash) return false
    this.events.push(event)
    this.update()
    return true
  }

  /** False if there is none like it. */
  removeEvent(event: IoEvent): boolean {
    const at = this.events.findIndex(
      (e) =>
        e.isPort === event.isPort &&
        e.addr === event.addr &&
        e.length === event.length &&
        e.event === event.event &&
        e.match === event.match,
    )
    if (at < 0) return false
    this.events.splice(at, 1)
    this.update()
    return true
  }

  // ---- coalesced I/O ----
  addZone(zone: CoalescedZone): void {
    this.zones.push(zone)
    this.update()
  }
  /** Removes every zone of the kind that contains the range. */
  removeZones(range: CoalescedZone): void {
    for (let i = this.zones.length - 1; i >= 0; i--) {
      const zone = this.zones[i]
      if (zone.isPort === range.isPort && zone.addr <= range.addr && range.addr + range.size <= zone.addr + zone.size)
        this.zones.splice(i, 1)
    }
    this.update()
  }

  /** Appends a write inside a zone to the ring; false when it is full or user space broke it. */
  private coalesce(addr: number, length: number, data: Uint8Array, isPort: boolean): boolean {
    const inside = this.zones.some((z) => z.isPort === isPort && z.addr <= addr && addr + length <= z.addr + z.size)
    if (!inside) return false
    const page = PHYSICAL_BASE + this.ringHpa
    const { u32 } = this.mem
    const first = u32[page >> 2]
    const last = u32[(page >> 2) + 1]
    if (last >= KVM_COALESCED_MMIO_MAX || (last + 1) % KVM_COALESCED_MMIO_MAX === first) return false
    const at = kvm_coalesced_mmio_ring.size + last * kvm_coalesced_mmio.size
    const view = new DataView(this.mem.buffer, page, 4096)
    encode(kvm_coalesced_mmio, { phys_addr: BigInt(addr), len: length, pio: isPort ? 1 : 0, data }, view, at)
    u32[(page >> 2) + 1] = (last + 1) % KVM_COALESCED_MMIO_MAX
    return true
  }
}

function numberBytes(value: number, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (value >>> (i * 8)) & 0xff)
}
function bytesValue(bytes: Uint8Array): bigint {
  let value = 0n
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i])
  return value
}
