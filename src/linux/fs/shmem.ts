import type { MachineMemory } from '../../machine/machine-memory.ts'
import { PHYSICAL_BASE } from '../../machine/memory-map.ts'
import { EFAULT } from '../errno.ts'
import type { Kernel } from '../kernel.ts'
import type { Mm } from '../mm/mm.ts'
import { BEYOND_END, type MappedRange, NO_MEMORY, type PageSource } from '../mm/page-source.ts'

/** Memory that files and mappings share: tmpfs files, memfds, shared anonymous mappings. Holes read as zeroes. */
export class SharedMemory implements PageSource {
  private readonly kernel: Kernel
  private readonly mem: MachineMemory
  private readonly pages = new Map<number, number>()
  private readonly mappings = new Set<MappedRange>()
  private references = 1
  /** Bytes. */
  size: number

  constructor(kernel: Kernel, size: number) {
    this.kernel = kernel
    this.mem = kernel.machine.mem
    this.size = size
  }

  retain(): this {
    this.references++
    return this
  }
  /** The last holder lets go: the pages are freed (mappings hold their own). */
  release(): void {
    if (--this.references > 0) return
    for (const hpa of this.pages.values()) this.kernel.pages.release(hpa)
    this.pages.clear()
  }

  get allocatedPages(): number {
    return this.pages.size
  }

  page(index: number): number {
    if (index * 4096 >= this.size) return BEYOND_END
    return this.ensure(index)
  }

  private ensure(index: number): number {
    const found = this.pages.get(index)
    if (found !== undefined) return found
    const hpa = this.kernel.pages.allocate()
    if (hpa === 0) return NO_MEMORY
    this.pages.set(index, hpa)
    return hpa
  }

  mapped(mapping: MappedRange): void {
    this.mappings.add(mapping)
    this.retain()
  }
  unmapped(mapping: MappedRange): void {
    this.mappings.delete(mapping)
    this.release()
  }

  /** Gives the pages [first, end) back; they read as zeroes again. */
  private drop(first: number, end: number): void {
    for (const mapping of this.mappings) mapping.forget(first, end)
    for (const [index, hpa] of this.pages) {
      if (index < first || index >= end) continue
      this.kernel.pages.release(hpa)
      this.pages.delete(index)
    }
  }

  truncate(size: number): void {
    if (size < this.size) {
      this.drop(Math.ceil(size / 4096), Number.POSITIVE_INFINITY)
      this.zero(size, Math.min(Math.ceil(size / 4096) * 4096, this.size))
    }
    this.size = size
  }

  punchHole(offset: number, length: number): void {
    const end = offset + length
    const first = Math.ceil(offset / 4096)
    const last = Math.floor(end / 4096)
    if (last > first) this.drop(first, last)
    this.zero(offset, Math.min(first * 4096, end))
    if (last >= first) this.zero(Math.max(last * 4096, offset), end)
  }

  /** Zeroes [from, to) inside one page that exists. */
  private zero(from: number, to: number): void {
    if (to <= from) return
    const hpa = this.pages.get(Math.floor(from / 4096))
    if (hpa === undefined) return
    const at = hpa + (from % 4096)
    this.mem.u8.fill(0, PHYSICAL_BASE + at, PHYSICAL_BASE + at + (to - from))
    this.kernel.machine.physicalWritten(at, to - from)
  }

  /** Allocates the pages of a range now. False when memory is exhausted. */
  preallocate(offset: number, length: number): boolean {
    for (let index = Math.floor(offset / 4096); index * 4096 < offset + length; index++)
      if (this.ensure(index) === NO_MEMORY) return false
    return true
  }

  readTo(mm: Mm, user: number, length: number, position: number): number {
    const count = Math.min(length, Math.max(0, this.size - position))
    let done = 0
    while (done < count) {
      const at = position + done
      const chunk = Math.min(4096 - (at % 4096), count - done)
      const hpa = this.pages.get(Math.floor(at / 4096))
      const copied =
        hpa === undefined
          ? mm.clearUser(user + done, chunk)
          : mm.copyToUser(user + done, this.mem.u8, PHYSICAL_BASE + hpa + (at % 4096), chunk)
      if (!copied) return done === 0 ? -EFAULT : done
      done += chunk
    }
    return done
  }

  readKernel(into: Uint8Array, at: number, length: number, position: number): number {
    const count = Math.min(length, Math.max(0, this.size - position))
    for (let done = 0; done < count; ) {
      const from = position + done
      const chunk = Math.min(4096 - (from % 4096), count - done)
      const hpa = this.pages.get(Math.floor(from / 4096))
      if (hpa === undefined) into.fill(0, at + done, at + done + chunk)
      else
        into.set(
          this.mem.u8.subarray(PHYSICAL_BASE + hpa + (from % 4096), PHYSICAL_BASE + hpa + (from % 4096) + chunk),
          at + done,
        )
      done += chunk
    }
    return count
  }

  writeFrom(mm: Mm, user: number, length: number, position: number): number {
    let done = 0
    while (done < length) {
      const at = position + done
      const chunk = Math.min(4096 - (at % 4096), length - done)
      const hpa = this.ensure(Math.floor(at / 4096))
      if (hpa < 0) return done === 0 ? -28 : done
      const copied = mm.copyFromUserPartly(this.mem.u8, PHYSICAL_BASE + hpa + (at % 4096), user + done, chunk)
      this.kernel.machine.physicalWritten(hpa + (at % 4096), copied)
      done += copied
      if (position + done > this.size) this.size = position + done
      if (copied < chunk) return done === 0 ? -EFAULT : done
    }
    return done
  }
}
