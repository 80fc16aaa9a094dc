import type { MachineMemory } from '../../machine/machine-memory.ts'
import { PHYSICAL_BASE } from '../../machine/memory-map.ts'
import type { PageAllocator } from './page-allocator.ts'

/** Page-table entry bits, low half (SDM Vol. 3 Table 5-20). */
export const PTE_PRESENT = 1
export const PTE_WRITE = 2
export const PTE_USER = 4
export const PTE_ACCESSED = 0x20
export const PTE_DIRTY = 0x40
/** Upper half: protection key in bits 30..27, execute disable in bit 31. */
export const PTE_HI_PKEY_SHIFT = 27
export const PTE_HI_NX = 0x80000000 | 0

const TABLE_FLAGS = PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_ACCESSED
const SPAN = [0x1000, 0x200000, 0x40000000, 0x8000000000]

/** Index into the table of `level` (0 = page table, 3 = PML4) for a user address below 2^47. */
function indexAt(address: number, level: number): number {
  return Math.floor(address / SPAN[level]) & 511
}

/**
 * Four-level page tables of one address space, as the machine's page walker reads them: in modelled physical memory. A word
 * is an index into `mem.i32` of an entry's low half; the high half follows.
 */
export class PageTable {
  readonly root: number
  private readonly mem: MachineMemory
  private readonly pages: PageAllocator

  /** Throws RangeError when there is no page for the root. */
  constructor(mem: MachineMemory, pages: PageAllocator) {
    this.mem = mem
    this.pages = pages
    this.root = pages.allocate()
    if (this.root === 0) throw new RangeError('no physical memory for a page table')
  }

  /** Word of the entry for `address`; 0 when a table on the way is missing. */
  find(address: number): number {
    const { i32 } = this.mem
    const lo = address >>> 0
    const hi = Math.floor(address / 4294967296)
    let entry = i32[((PHYSICAL_BASE + this.root) >>> 2) + ((hi >>> 7) & 511) * 2]
    if ((entry & PTE_PRESENT) === 0) return 0
    entry = i32[((PHYSICAL_BASE + ((entry & ~0xfff) >>> 0)) >>> 2) + (((lo >>> 30) | (hi << 2)) & 511) * 2]
    if ((entry & PTE_PRESENT) === 0) return 0
    entry = i32[((PHYSICAL_BASE + ((entry & ~0xfff) >>> 0)) >>> 2) + ((lo >>> 21) & 511) * 2]
    if ((entry & PTE_PRESENT) === 0) return 0
    return ((PHYSICAL_BASE + ((entry & ~0xfff) >>> 0)) >>> 2) + ((lo >>> 12) & 511) * 2
  }

  /** Word of the entry for `address`, making tables; 0 when memory is exhausted. */
  ensure(address: number): number {
    const found = this.find(address)
    if (found !== 0) return found
    const { i32 } = this.mem
    let table = this.root
    for (let level = 3; level > 0; level--) {
      const word = ((PHYSICAL_BASE + table) >>> 2) + indexAt(address, level) * 2
      if ((i32[word] & PTE_PRESENT) === 0) {
        const fresh = this.pages.allocate()
        if (fresh === 0) return 0
        i32[word] = fresh | TABLE_FLAGS
        i32[word + 1] = 0
      }
      table = (i32[word] & ~0xfff) >>> 0
    }
    return ((PHYSICAL_BASE + table) >>> 2) + indexAt(address, 0) * 2
  }

  /** Calls `visit(word, address)` for every entry of [start, end) that is not 0. */
  forEach(start: number, end: number, visit: (word: number, address: number) => void): void {
    this.visitTable(this.root, 3, 0, start, end, visit)
  }

  private visitTable(
    table: number,
    level: number,
    base: number,
    start: number,
    end: number,
    visit: (w: number, a: number) => void,
  ): void {
    const span = SPAN[level]
    const { i32 } = this.mem
    const first = Math.max(0, Math.floor((start - base) / span))
    const last = Math.min(511, Math.ceil((end - base) / span) - 1)
    for (let i = first; i <= last; i++) {
      const word = ((PHYSICAL_BASE + table) >>> 2) + i * 2
      const entry = i32[word]
      if (level === 0) {
        if (entry !== 0) visit(word, base + i * span)
      } else if ((entry & PTE_PRESENT) !== 0) {
        this.visitTable((entry & ~0xfff) >>> 0, level - 1, base + i * span, start, end, visit)
      }
    }
  }

  /** Frees the tables themselves. The entries must have been cleared. */
  free(): void {
    this.freeTable(this.root, 3)
  }

  private freeTable(table: number, level: number): void {
    if (level > 0) {
      const first = (PHYSICAL_BASE + table) >>> 2
      for (let i = 0; i < 512; i++) {
        const entry = this.mem.i32[first + i * 2]
        if ((entry & PTE_PRESENT) !== 0) this.freeTable((entry & ~0xfff) >>> 0, level - 1)
      }
    }
    this.pages.release(table)
  }
}
