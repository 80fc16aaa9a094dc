import type { MachineMemory } from '../../machine/machine-memory.ts'
import { PHYSICAL_BASE } from '../../machine/memory-map.ts'
import type { HostMachine } from '../hardware.ts'

export const PAGE_SIZE = 4096
export const PAGE_SHIFT = 12

/**
 * Modelled physical memory in 4 KiB pages. A page is named by its host-physical address (a multiple of 4096, below 4 GiB).
 * Every page has a reference count; it is free at 0. Pages are handed out zeroed. Page 0 is never handed out: an hpa of 0
 * means "no page".
 */
export class PageAllocator {
  private readonly mem: MachineMemory
  private readonly machine: HostMachine
  private readonly references: Int32Array
  /** Freed pages (page numbers), last freed first. */
  private readonly freed: number[] = []
  /** Pages from here on were never used, so they are still zero. */
  private fresh = 1
  private readonly count: number
  /** Pages in use now. */
  used = 1

  constructor(machine: HostMachine) {
    this.machine = machine
    this.mem = machine.mem
    this.count = Math.floor(machine.mem.physicalBytes / PAGE_SIZE)
    this.references = new Int32Array(this.count)
    this.references[0] = 1
  }

  /** Bytes of memory of which some part has ever been used: the rest is zero. */
  get touched(): number {
    return this.fresh * PAGE_SIZE
  }
  get total(): number {
    return this.count
  }
  get available(): number {
    return this.count - this.used
  }

  /** A zeroed page with one reference; 0 when memory is exhausted. */
  allocate(): number {
    let page: number
    if (this.freed.length > 0) {
      page = this.freed.pop()!
      this.clear(page, 1)
    } else if (this.fresh < this.count) {
      page = this.fresh++
    } else return 0
    this.references[page] = 1
    this.used++
    return page * PAGE_SIZE
  }

  private clear(page: number, count: number): void {
    const offset = PHYSICAL_BASE + page * PAGE_SIZE
    this.mem.u8.fill(0, offset, offset + count * PAGE_SIZE)
    this.machine.physicalWritten(page * PAGE_SIZE, count * PAGE_SIZE)
  }

  /** `pages` zeroed pages in a row, each with one reference; 0 when there are none. For buffers larger than a page. */
  allocateContiguous(pages: number): number {
    if (pages === 1) return this.allocate()
    if (this.fresh + pages > this.count) return this.allocateContiguousFromFreed(pages)
    const first = this.fresh
    this.fresh += pages
    this.references.fill(1, first, first + pages)
    this.used += pages
    return first * PAGE_SIZE
  }

  private allocateContiguousFromFreed(pages: number): number {
    const { references } = this
    let run = 0
    for (let page = 1; page < this.fresh; page++) {
      run = references[page] === 0 ? run + 1 : 0
      if (run < pages) continue
      const first = page - pages + 1
      const taken = new Set<number>()
      for (let i = first; i <= page; i++) taken.add(i)
      let kept = 0
      for (const free of this.freed) if (!taken.has(free)) this.freed[kept++] = free
      this.freed.length = kept
      references.fill(1, first, page + 1)
      this.used += pages
      this.clear(first, pages)
      return first * PAGE_SIZE
    }
    return 0
  }

  retain(hpa: number): void {
    this.references[hpa / PAGE_SIZE]++
  }

  release(hpa: number): void {
    const page = hpa / PAGE_SIZE
    if (--this.references[page] > 0) return
    if (this.references[page] < 0) throw new Error(`page ${hpa.toString(16)} released twice`)
    this.freed.push(page)
    this.used--
  }

  releaseContiguous(hpa: number, pages: number): void {
    for (let i = 0; i < pages; i++) this.release(hpa + i * PAGE_SIZE)
  }

  referencesOf(hpa: number): number {
    return this.references[hpa / PAGE_SIZE]
  }
}
