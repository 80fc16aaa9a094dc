import type { MachineMemory } from '../../machine/machine-memory.ts'
import { PHYSICAL_BASE } from '../../machine/memory-map.ts'
import { KVM_RUN_PAGE as AT } from '../abi/structs.ts'

/**
 * A vCPU's kvm_run page and the port-I/O data page behind it, as shared memory of the host: what KVM writes here user space
 * sees through its mapping, without copying. Offsets are those of struct kvm_run (KAPI §3).
 */
export class RunPage {
  private readonly mem: MachineMemory
  /** Host-physical address of page 0 (kvm_run) and page 1 (port-I/O data). */
  readonly hpa: number
  readonly pioHpa: number
  /** Wasm offsets of the same. */
  readonly base: number
  readonly pio: number

  constructor(mem: MachineMemory, hpa: number, pioHpa: number) {
    this.mem = mem
    this.hpa = hpa
    this.pioHpa = pioHpa
    this.base = PHYSICAL_BASE + hpa
    this.pio = PHYSICAL_BASE + pioHpa
  }

  u8(offset: number): number {
    return this.mem.u8[this.base + offset]
  }
  setU8(offset: number, value: number): void {
    this.mem.u8[this.base + offset] = value
  }
  setU16(offset: number, value: number): void {
    this.mem.u16[(this.base + offset) >> 1] = value
  }
  u32(offset: number): number {
    return this.mem.u32[(this.base + offset) >> 2]
  }
  setU32(offset: number, value: number): void {
    this.mem.u32[(this.base + offset) >> 2] = value
  }
  /** A u64 from a non-negative number below 2^53. */
  setU64(offset: number, value: number): void {
    this.setHalves(offset, value % 0x100000000, Math.floor(value / 0x100000000))
  }
  setHalves(offset: number, lo: number, hi: number): void {
    const word = (this.base + offset) >> 2
    this.mem.i32[word] = lo
    this.mem.i32[word + 1] = hi
  }
  bytes(offset: number, length: number): Uint8Array {
    return this.mem.u8.subarray(this.base + offset, this.base + offset + length)
  }
  view(): DataView {
    return new DataView(this.mem.buffer, this.base, 4096)
  }

  get exitReason(): number {
    return this.mem.u32[(this.base + AT.exit_reason) >> 2]
  }
  set exitReason(value: number) {
    this.mem.u32[(this.base + AT.exit_reason) >> 2] = value
  }
  get immediateExit(): boolean {
    return this.mem.u8[this.base + AT.immediate_exit] !== 0
  }
  get requestInterruptWindow(): boolean {
    return this.mem.u8[this.base + AT.request_interrupt_window] !== 0
  }
}
