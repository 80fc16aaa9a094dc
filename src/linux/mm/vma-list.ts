import { MMAP_BASE, MMAP_MIN_ADDR, TASK_SIZE_MAX } from './layout.ts'
import type { Vma } from './vma.ts'

/** The mappings of an address space in address order; none overlap. */
export class VmaList {
  readonly all: Vma[] = []
  /** The mapping found last: lookups cluster. */
  private recent: Vma | null = null

  /** Index of the first mapping whose end lies above `address`; `all.length` if none. */
  indexAbove(address: number): number {
    const { all } = this
    let low = 0
    let high = all.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (all[middle].end > address) high = middle
      else low = middle + 1
    }
    return low
  }

  /** The mapping that contains `address`. */
  find(address: number): Vma | null {
    const { recent } = this
    if (recent !== null && address >= recent.start && address < recent.end) return recent
    const vma = this.all[this.indexAbove(address)]
    if (vma === undefined || vma.start > address) return null
    this.recent = vma
    return vma
  }

  insert(vma: Vma): void {
    this.all.splice(this.indexAbove(vma.start), 0, vma)
  }

  /** Mappings that overlap [start, end), in order. */
  overlapping(start: number, end: number): Vma[] {
    const found: Vma[] = []
    for (let i = this.indexAbove(start); i < this.all.length && this.all[i].start < end; i++) found.push(this.all[i])
    return found
  }

  overlaps(start: number, end: number): boolean {
    const i = this.indexAbove(start)
    return i < this.all.length && this.all[i].start < end
  }

  /** Nothing is mapped in [start, end), and the guard gap of what follows begins above it. */
  isFree(start: number, end: number): boolean {
    const next = this.all[this.indexAbove(start)]
    return next === undefined || end <= next.start - next.startGap
  }

  /** Takes `vma` out of the list. */
  remove(vma: Vma): void {
    this.recent = null
    const i = this.indexAbove(vma.start)
    if (this.all[i] !== vma) throw new Error('mapping not in the list')
    this.all.splice(i, 1)
  }

  /** Splits the mapping that contains `address` in its interior, so that one mapping ends and the next starts there. */
  splitAt(address: number): void {
    const i = this.indexAbove(address)
    const vma = this.all[i]
    if (vma === undefined || vma.start >= address) return
    this.recent = null
    const upper = vma.copy(vma.owner, address, vma.end)
    vma.end = address
    this.all.splice(i + 1, 0, upper)
  }

  /** Joins neighbours that could be one anonymous mapping, around [start, end). */
  merge(start: number, end: number): void {
    this.recent = null
    let i = Math.max(0, this.indexAbove(start) - 1)
    while (i + 1 < this.all.length && this.all[i].start <= end) {
      const lower = this.all[i]
      const upper = this.all[i + 1]
      if (!mergeable(lower, upper)) i++
      else {
        lower.end = upper.end
        this.all.splice(i + 1, 1)
      }
    }
  }

  /** Highest free range of `length` bytes below `top`; -1 when there is none. */
  findGapBelow(length: number, top = MMAP_BASE, bottom = MMAP_MIN_ADDR): number {
    let high = top
    for (let i = this.all.length - 1; i >= 0; i--) {
      const vma = this.all[i]
      const guard = vma.startGap
      if (vma.start - guard >= high) continue
      if (vma.end <= high && high - vma.end >= length)
        return Math.max(high - length, bottom) === high - length ? high - length : -1
      high = Math.min(high, vma.start - guard)
      if (high - length < bottom) return -1
    }
    return high - length >= bottom ? high - length : -1
  }

  /** Lowest free range of `length` bytes from `bottom` on; -1 when there is none. */
  findGapAbove(length: number, bottom = MMAP_MIN_ADDR, top = TASK_SIZE_MAX): number {
    let low = bottom
    for (let i = this.indexAbove(bottom); i < this.all.length; i++) {
      const vma = this.all[i]
      const guard = vma.startGap
      if (vma.start - guard - low >= length) break
      low = Math.max(low, vma.end)
    }
    return low + length <= top ? low : -1
  }
}

function mergeable(lower: Vma, upper: Vma): boolean {
  return (
    lower.end === upper.start &&
    lower.source === null &&
    upper.source === null &&
    lower.prot === upper.prot &&
    lower.maxProt === upper.maxProt &&
    lower.name === upper.name &&
    lower.pkey === upper.pkey &&
    lower.dontFork === upper.dontFork &&
    lower.shadowStack === upper.shadowStack &&
    !lower.growsDown &&
    !upper.growsDown
  )
}
