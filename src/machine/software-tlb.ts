import type { AddressSpace } from './address-space.ts'
import type { MachineMemory } from './machine-memory.ts'
import { TLB_ENTRIES, TLB_ENTRY_SIZE, TLB_POOL_BASE, TLB_POOL_COUNT, TLB_SIZE } from './memory-map.ts'

/** TLB_ENTRIES * 8 words. A tag that no page-aligned address equals. */
const NO_TAG = -1

/**
 * The pool of software TLBs in wasm memory. Each entry: readTag i64 @0, writeTag i64 @8 (linear page address, or -1),
 * addend u32 @16 (wasm offset = low 32 bits of linear + addend), hpa page u32 @20.
 */
export class SoftwareTlbPool {
  private readonly mem: MachineMemory
  private readonly free: number[] = []
  /** Spaces that hold TLBs, oldest use first. */
  private readonly holders = new Set<AddressSpace>()
  private generation = 0

  constructor(mem: MachineMemory) {
    this.mem = mem
    for (let i = TLB_POOL_COUNT - 1; i >= 0; i--) this.free.push(TLB_POOL_BASE + i * TLB_SIZE)
  }

  /** 1 .. 2^20 - 1, then starts again after `onWrap` cleared the jump cache. */
  nextGeneration(): number {
    if (++this.generation === 1 << 20) {
      this.generation = 1
      this.onWrap()
    }
    return this.generation
  }
  onWrap: () => void = () => {}

  /** Wasm offset of the space's TLB for supervisor (0) or user (1) accesses; takes one from the pool when it has none. */
  tlbOf(space: AddressSpace, user: 0 | 1): number {
    const tlb = space.tlb[user]
    return tlb !== 0 ? tlb : this.assign(space, user)
  }

  private assign(space: AddressSpace, user: 0 | 1): number {
    if (this.free.length === 0) this.evictOldest(space)
    const tlb = this.free.pop()!
    space.tlb[user] = tlb
    this.holders.delete(space)
    this.holders.add(space)
    this.mem.i32.fill(NO_TAG, tlb >> 2, (tlb + TLB_SIZE) >> 2)
    return tlb
  }

  private evictOldest(keep: AddressSpace): void {
    for (const space of this.holders) {
      if (space === keep) continue
      this.release(space)
      return
    }
    throw new Error('software TLB pool: every TLB belongs to the space that asks for another')
  }

  release(space: AddressSpace): void {
    this.holders.delete(space)
    for (let user = 0; user < 2; user++) {
      if (space.tlb[user] !== 0) this.free.push(space.tlb[user])
      space.tlb[user] = 0
    }
  }

  clear(space: AddressSpace): void {
    for (let user = 0; user < 2; user++) {
      const tlb = space.tlb[user]
      if (tlb !== 0) this.mem.i32.fill(NO_TAG, tlb >> 2, (tlb + TLB_SIZE) >> 2)
    }
  }

  /** Takes a host-physical page out of the write side of every TLB in use. */
  forbidWrites(hpaPage: number): void {
    const i32 = this.mem.i32
    for (const space of this.holders) {
      for (let user = 0; user < 2; user++) {
        const tlb = space.tlb[user]
        if (tlb === 0) continue
        const end = (tlb + TLB_SIZE) >> 2
        for (let w = tlb >> 2; w < end; w += TLB_ENTRY_SIZE >> 2) if (i32[w + 5] === hpaPage) i32[w + 2] = i32[w + 3] = NO_TAG
      }
    }
  }

  clearPage(space: AddressSpace, linearLo: number, _linearHi: number): void {
    const index = (linearLo >>> 12) & (TLB_ENTRIES - 1)
    for (let user = 0; user < 2; user++) {
      const tlb = space.tlb[user]
      if (tlb !== 0) this.mem.i32.fill(NO_TAG, (tlb + index * TLB_ENTRY_SIZE) >> 2, (tlb + index * TLB_ENTRY_SIZE + 16) >> 2)
    }
  }
}
