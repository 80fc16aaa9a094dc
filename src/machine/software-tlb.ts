import type { AddressSpace } from './address-space.ts'
import type { MachineMemory } from './machine-memory.ts'
import { TLB_ENTRY_SIZE, TLB_POOL_BASE, TLB_POOL_SIZE } from './memory-map.ts'
import { MODE_BITS } from './mode.ts'

/** A tag that no page-aligned address equals. */
const NO_TAG = -1

/** Entries of a new TLB, and the most it grows to. */
const FIRST_ENTRIES = 256
const MOST_ENTRIES = 16384
const GROWTH = 8
const WORDS = TLB_ENTRY_SIZE >> 2
/** Value of `tlbReplaced` that asks for a smaller TLB. */
const SHRINK = -1
const GENERATIONS = 2 ** (32 - MODE_BITS)

/**
 * The software TLBs in wasm memory: one for supervisor and one for user accesses of each address space, direct-mapped by page
 * number. Each entry: readTag i64 @0, writeTag i64 @8 (linear page address, or -1), addend u32 @16 (wasm offset = low 32 bits
 * of linear + addend), hpa page u32 @20.
 *
 * A TLB starts small, because a flush clears all of it, and grows when its entries keep replacing one another.
 */
export class SoftwareTlbPool {
  private readonly mem: MachineMemory
  /** Blocks given back, by their number of entries. */
  private readonly free = new Map<number, number[]>()
  private next = TLB_POOL_BASE
  /** Spaces that hold TLBs, oldest first. */
  private readonly holders = new Set<AddressSpace>()
  private generation = 0

  constructor(mem: MachineMemory) {
    this.mem = mem
  }

  /** 1 .. GENERATIONS - 1 (it shares 32 bits with the mode), then starts again after `onWrap` cleared the jump cache. */
  nextGeneration(): number {
    if (++this.generation === GENERATIONS) {
      this.generation = 1
      this.onWrap()
    }
    return this.generation
  }
  onWrap: () => void = () => {}

  /** Wasm offset of the space's TLB for supervisor (0) or user (1) accesses; makes one when it has none. */
  tlbOf(space: AddressSpace, user: 0 | 1): number {
    const tlb = space.tlb[user]
    return tlb !== 0 ? tlb : this.assign(space, user, FIRST_ENTRIES)
  }

  private assign(space: AddressSpace, user: 0 | 1, entries: number): number {
    const tlb = this.take(space, entries)
    space.tlb[user] = tlb
    space.tlbEntries[user] = entries
    space.tlbReplaced[user] = 0
    this.holders.delete(space)
    this.holders.add(space)
    this.mem.i32.fill(NO_TAG, tlb >> 2, (tlb >> 2) + entries * WORDS)
    return tlb
  }

  private take(space: AddressSpace, entries: number): number {
    for (;;) {
      const again = this.free.get(entries)?.pop()
      if (again !== undefined) return again
      const bytes = entries * TLB_ENTRY_SIZE
      if (this.next + bytes <= TLB_POOL_BASE + TLB_POOL_SIZE) {
        this.next += bytes
        return this.next - bytes
      }
      this.makeRoom(space)
    }
  }

  /** Takes the TLBs of every other space; with none left to take from, starts the whole pool afresh. */
  private makeRoom(keep: AddressSpace): void {
    for (const space of [...this.holders]) if (space !== keep) this.release(space)
    this.release(keep)
    this.free.clear()
    this.next = TLB_POOL_BASE
  }

  release(space: AddressSpace): void {
    this.holders.delete(space)
    for (let user = 0; user < 2; user++) this.giveBack(space, user)
  }
  private giveBack(space: AddressSpace, user: number): void {
    const tlb = space.tlb[user]
    if (tlb === 0) return
    const entries = space.tlbEntries[user]
    const list = this.free.get(entries)
    if (list === undefined) this.free.set(entries, [tlb])
    else list.push(tlb)
    space.tlb[user] = 0
    space.tlbReplaced[user] = 0
  }

  /**
   * Enters a translation; `writable`: stores may use it without a slow path.
   * @returns true when the TLB moved (it grew): the context's pointer and mask must be set again. Compiled code that is under way
   *   may go on with the old block: its entries are right, and nobody else gets the block before that code has returned.
   */
  fill(
    space: AddressSpace,
    user: 0 | 1,
    lo: number,
    hi: number,
    hpaPage: number,
    pageOffset: number,
    writable: boolean,
  ): boolean {
    const i32 = this.mem.i32
    const page = lo & ~0xfff
    const tlb = this.tlbOf(space, user)
    const w = (tlb >> 2) + ((lo >>> 12) & (space.tlbEntries[user] - 1)) * WORDS
    const replaces = i32[w] !== NO_TAG && (i32[w] !== page || i32[w + 1] !== hi)
    i32[w] = page
    i32[w + 1] = hi
    i32[w + 2] = writable ? page : NO_TAG
    i32[w + 3] = writable ? hi : NO_TAG
    i32[w + 4] = (pageOffset - page) | 0
    i32[w + 5] = hpaPage
    return replaces && this.grow(space, user)
  }

  private grow(space: AddressSpace, user: 0 | 1): boolean {
    const entries = space.tlbEntries[user]
    if (++space.tlbReplaced[user] < entries * 4 || entries >= MOST_ENTRIES) return false
    this.giveBack(space, user)
    this.assign(space, user, entries * GROWTH)
    return true
  }

  clear(space: AddressSpace): void {
    for (let user = 0; user < 2; user++) {
      const tlb = space.tlb[user]
      if (tlb === 0) continue
      this.mem.i32.fill(NO_TAG, tlb >> 2, (tlb >> 2) + space.tlbEntries[user] * WORDS)
      // One that is flushed before it was worth its size becomes small again, at the next entry (`shrink`).
      if (space.tlbEntries[user] > FIRST_ENTRIES && space.tlbReplaced[user] === 0) space.tlbReplaced[user] = SHRINK
      else space.tlbReplaced[user] = 0
    }
  }

  /** Before a run: TLBs that turned out too large are given back. */
  shrink(space: AddressSpace): void {
    for (let user = 0; user < 2; user++) if (space.tlbReplaced[user] === SHRINK) this.giveBack(space, user)
  }

  /** Takes a host-physical page out of the write side of every TLB in use. */
  forbidWrites(hpaPage: number): void {
    const i32 = this.mem.i32
    for (const space of this.holders) {
      for (let user = 0; user < 2; user++) {
        const tlb = space.tlb[user]
        if (tlb === 0) continue
        const end = (tlb >> 2) + space.tlbEntries[user] * WORDS
        for (let w = tlb >> 2; w < end; w += WORDS) if (i32[w + 5] === hpaPage) i32[w + 2] = i32[w + 3] = NO_TAG
      }
    }
  }

  clearPage(space: AddressSpace, linearLo: number, _linearHi: number): void {
    for (let user = 0; user < 2; user++) {
      const tlb = space.tlb[user]
      if (tlb === 0) continue
      const w = (tlb >> 2) + ((linearLo >>> 12) & (space.tlbEntries[user] - 1)) * WORDS
      this.mem.i32.fill(NO_TAG, w, w + 4)
    }
  }
}
