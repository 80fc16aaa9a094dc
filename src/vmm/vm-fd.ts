import { KVM_CAP, type KvmCapName } from '../kvm/abi/capabilities.ts'
import type { ValueOf } from '../kvm/abi/struct-layout.ts'
import {
  kvm_clock_data,
  kvm_dirty_log,
  kvm_enable_cap,
  kvm_irq_level,
  kvm_irqchip,
  kvm_msi,
  kvm_pit_config,
  kvm_userspace_memory_region,
} from '../kvm/abi/structs.ts'
import type { Kvm } from './kvm.ts'
import type { Process } from './process.ts'
import type { ProcessMemory } from './process-memory.ts'
import { VcpuFd } from './vcpu-fd.ts'

export type KvmClockData = ValueOf<typeof kvm_clock_data>
export type KvmIrqchip = ValueOf<typeof kvm_irqchip>
export type KvmMsi = ValueOf<typeof kvm_msi>

export const KVM_MEM_LOG_DIRTY_PAGES = 1
export const KVM_MEM_READONLY = 2

export interface UserMemoryRegion {
  /** Address space << 16 | slot. */
  readonly slot: number
  readonly guestPhysAddr: bigint | number
  /** The process's memory that becomes guest memory, from `offset` on (default 0). */
  readonly memory: ProcessMemory
  readonly offset?: number
  /** Bytes; default the rest of `memory`. */
  readonly size?: number
  /** KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY. */
  readonly flags?: number
}

/** A virtual machine. */
export class VmFd {
  readonly kvm: Kvm
  readonly fd: number
  private readonly process: Process

  constructor(kvm: Kvm, fd: number) {
    this.kvm = kvm
    this.process = kvm.process
    this.fd = fd
  }

  /** As the system-wide answer, for this VM. */
  checkExtension(capability: KvmCapName | number): number {
    const nr = typeof capability === 'number' ? capability : KVM_CAP[capability]
    return this.process.ioctl(this.fd, 'KVM_CHECK_EXTENSION', nr)
  }
  enableCap(capability: KvmCapName | number, ...args: bigint[]): void {
    const cap = typeof capability === 'number' ? capability : KVM_CAP[capability]
    this.process.set(this.fd, 'KVM_ENABLE_CAP', kvm_enable_cap, { cap, args })
  }

  /** Makes memory of the process guest memory. */
  setUserMemoryRegion(region: UserMemoryRegion): void {
    const { memory, offset = 0 } = region
    this.process.set(this.fd, 'KVM_SET_USER_MEMORY_REGION', kvm_userspace_memory_region, {
      slot: region.slot,
      flags: region.flags ?? 0,
      guest_phys_addr: BigInt(region.guestPhysAddr),
      memory_size: BigInt(region.size ?? memory.size - offset),
      userspace_addr: BigInt(memory.address + offset),
    })
  }
  /** Takes a slot away. */
  deleteUserMemoryRegion(slot: number): void {
    this.process.set(this.fd, 'KVM_SET_USER_MEMORY_REGION', kvm_userspace_memory_region, { slot })
  }
  /** Pages of a slot written since the last call, a bit each; the slot has KVM_MEM_LOG_DIRTY_PAGES. KAPI-104. */
  getDirtyLog(slot: number, pages: number): Uint8Array {
    const bitmap = this.process.allocate(Math.ceil(pages / 64) * 8)
    try {
      this.process.set(this.fd, 'KVM_GET_DIRTY_LOG', kvm_dirty_log, { slot, dirty_bitmap: BigInt(bitmap.address) })
      return bitmap.bytes(0, bitmap.size)
    } finally {
      this.process.release(bitmap)
    }
  }

  createVcpu(id = 0): VcpuFd {
    return new VcpuFd(this, this.process.ioctl(this.fd, 'KVM_CREATE_VCPU', id), id)
  }
  setBootCpuId(id: number): void {
    this.process.ioctl(this.fd, 'KVM_SET_BOOT_CPU_ID', id)
  }

  // ---- interrupts ----
  createIrqchip(): void {
    this.process.ioctl(this.fd, 'KVM_CREATE_IRQCHIP')
  }
  createPit2(flags = 0): void {
    this.process.set(this.fd, 'KVM_CREATE_PIT2', kvm_pit_config, { flags })
  }
  irqLine(irq: number, level: boolean): void {
    this.process.set(this.fd, 'KVM_IRQ_LINE', kvm_irq_level, { irq, level: level ? 1 : 0 })
  }
  signalMsi(msi: Partial<KvmMsi>): number {
    return this.process.set(this.fd, 'KVM_SIGNAL_MSI', kvm_msi, msi)
  }
  /** @param chipId 0 first 8259, 1 second, 2 IOAPIC */
  getIrqchip(chipId: number): KvmIrqchip {
    return this.process.exchange(this.fd, 'KVM_GET_IRQCHIP', kvm_irqchip, { chip_id: chipId })
  }
  setIrqchip(chip: KvmIrqchip): void {
    this.process.set(this.fd, 'KVM_SET_IRQCHIP', kvm_irqchip, chip)
  }

  // ---- time ----
  getClock(): KvmClockData {
    return this.process.get(this.fd, 'KVM_GET_CLOCK', kvm_clock_data)
  }
  setClock(clock: Partial<KvmClockData>): void {
    this.process.set(this.fd, 'KVM_SET_CLOCK', kvm_clock_data, clock)
  }
  getTscKhz(): number {
    return this.process.ioctl(this.fd, 'KVM_GET_TSC_KHZ')
  }
  setTscKhz(khz: number): void {
    this.process.ioctl(this.fd, 'KVM_SET_TSC_KHZ', khz)
  }

  setTssAddr(gpa: number): void {
    this.process.ioctl(this.fd, 'KVM_SET_TSS_ADDR', gpa)
  }

  close(): void {
    this.process.close(this.fd)
  }
}
