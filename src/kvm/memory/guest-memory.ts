import { USER_PAGE_WRITABLE } from '../../linux/mm/mm.ts'
import type { MachineMemory } from '../../machine/machine-memory.ts'
import { PHYSICAL_BASE } from '../../machine/memory-map.ts'
import { EPT_EXECUTE, EPT_READ, EPT_WRITE, type SecondStage } from '../../machine/second-stage.ts'
import { KVM_MEM_READONLY, type Memslot, type Memslots } from './memslots.ts'

/** What KVM uses of the owner process's address space. */
export interface UserPages {
  /**
   * The page at a user address, faulted in as a read or write access would: its host-physical address, plus 1 when it may be
   * written now (USER_PAGE_WRITABLE); negative when it cannot be had. True until the notifier says otherwise.
   */
  getUserPage(hva: number, write: boolean): number
}

/** A guest access could be mapped: enter the guest again. */
export const MAPPED = 0
/** No slot, or a write to a read-only one: device emulation. */
export const NO_SLOT = 1
/** The slot's user address has no page behind it: KVM_RUN fails with EFAULT (KAPI-101). */
export const NO_USER_PAGE = 2

/** Access bits of an EPT violation. */
export const GUEST_READ = 1
export const GUEST_WRITE = 2
export const GUEST_FETCH = 4

/** Called for each guest page written, before it is written. */
export type DirtyListener = (slot: Memslot, page: number) => void

/**
 * Guest-physical memory of one address space of a VM: second-stage entries filled on demand from memory slots, and KVM's own
 * accesses. KAPI-101, KAPI-103, KAPI-106.
 */
export class GuestMemory {
  readonly slots: Memslots
  readonly stage: SecondStage
  private readonly mem: MachineMemory
  private readonly user: UserPages
  private readonly physicalWritten: (hpa: number, length: number) => void
  private readonly onDirty: DirtyListener

  constructor(parts: {
    slots: Memslots
    stage: SecondStage
    mem: MachineMemory
    user: UserPages
    physicalWritten: (hpa: number, length: number) => void
    onDirty: DirtyListener
  }) {
    this.slots = parts.slots
    this.stage = parts.stage
    this.mem = parts.mem
    this.user = parts.user
    this.physicalWritten = parts.physicalWritten
    this.onDirty = parts.onDirty
  }

  /**
   * Makes a guest access possible: looks up the slot, faults the user page in and maps it. A page that is only read is mapped
   * writable too if the process could write it now and nothing logs writes.
   */
  resolve(gfn: number, access: number): typeof MAPPED | typeof NO_SLOT | typeof NO_USER_PAGE {
    const slot = this.slots.find(gfn)
    if (slot === null) return NO_SLOT
    const write = (access & GUEST_WRITE) !== 0
    if (write && (slot.flags & KVM_MEM_READONLY) !== 0) return NO_SLOT
    const page = gfn - slot.baseGfn
    const found = this.user.getUserPage(slot.hva + page * 4096, write)
    if (found < 0) return NO_USER_PAGE
    if (write && slot.dirty !== null) this.onDirty(slot, page)
    const writable = write || ((found & USER_PAGE_WRITABLE) !== 0 && slot.dirty === null && (slot.flags & KVM_MEM_READONLY) === 0)
    this.stage.map(gfn, Math.floor(found / 4096), EPT_READ | EPT_EXECUTE | (writable ? EPT_WRITE : 0))
    return MAPPED
  }

  /** Host-physical address of a guest page for an access by KVM itself, or -1. Writes are logged. */
  private page(gfn: number, write: boolean): number {
    const slot = this.slots.find(gfn)
    if (slot === null || (write && (slot.flags & KVM_MEM_READONLY) !== 0)) return -1
    const page = gfn - slot.baseGfn
    const found = this.user.getUserPage(slot.hva + page * 4096, write)
    if (found < 0) return -1
    if (write && slot.dirty !== null) this.onDirty(slot, page)
    return found - (found % 4096)
  }

  /** Copies guest-physical memory; false if a byte has no memory behind it (what came before is copied). */
  read(gpa: number, into: Uint8Array): boolean {
    for (let done = 0; done < into.length; ) {
      const at = gpa + done
      const offset = at % 4096
      const length = Math.min(into.length - done, 4096 - offset)
      const hpa = this.page((at - offset) / 4096, false)
      if (hpa < 0) return false
      const from = PHYSICAL_BASE + hpa + offset
      into.set(this.mem.u8.subarray(from, from + length), done)
      done += length
    }
    return true
  }

  write(gpa: number, from: Uint8Array): boolean {
    for (let done = 0; done < from.length; ) {
      const at = gpa + done
      const offset = at % 4096
      const length = Math.min(from.length - done, 4096 - offset)
      const hpa = this.page((at - offset) / 4096, true)
      if (hpa < 0) return false
      this.mem.u8.set(from.subarray(done, done + length), PHYSICAL_BASE + hpa + offset)
      this.physicalWritten(hpa + offset, length)
      done += length
    }
    return true
  }

  /** The owner's pages [start, end) of user address space are about to change: forget what was mapped from them. */
  invalidateUserRange(start: number, end: number): void {
    for (const slot of this.slots.all) {
      const from = Math.max(start, slot.hva)
      const to = Math.min(end, slot.hva + slot.npages * 4096)
      if (from >= to) continue
      const first = Math.floor((from - slot.hva) / 4096)
      const last = Math.ceil((to - slot.hva) / 4096)
      this.stage.unmap(slot.baseGfn + first, last - first)
    }
  }
}
