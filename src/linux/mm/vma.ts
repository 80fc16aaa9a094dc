import type { OpenFile } from '../file.ts'
import { STACK_GUARD_GAP } from './layout.ts'
import type { MappedRange, PageSource } from './page-source.ts'

export const PROT_READ = 1
export const PROT_WRITE = 2
export const PROT_EXEC = 4

/** What a mapping needs of its address space. */
export interface MappingOwner {
  /** Drops the translations of [start, end); the next access faults. */
  zap(start: number, end: number): void
}

export interface VmaInit {
  start: number
  end: number
  prot: number
  maxProt?: number
  shared?: boolean
  source?: PageSource | null
  sourcePage?: number
  file?: OpenFile | null
  growsDown?: boolean
  shadowStack?: boolean
  name?: string
}

/** One mapping of an address space: [start, end), page aligned. Linux's vm_area_struct. */
export class Vma implements MappedRange {
  readonly owner: MappingOwner
  start: number
  end: number
  /** PROT_* in force. */
  prot: number
  /** PROT_* that mprotect may give; a shared mapping of a read-only file lacks PROT_WRITE. */
  maxProt: number
  readonly shared: boolean
  /** Where pages come from; null = anonymous zeroes. A file's `mmap` sets it. */
  source: PageSource | null
  /** Page of the source that lies at `start`. */
  sourcePage: number
  /** Keeps the file open while mapped. */
  readonly file: OpenFile | null
  /** The stack: grows down to the limit of the stack. */
  readonly growsDown: boolean
  /** VM_SHADOW_STACK: written by CALL, WRSS and the kernel on purpose only; its pages are dirty but not writable. */
  readonly shadowStack: boolean
  /** Text after the address in /proc/PID/maps: `[heap]`, `[stack]`, or the file's path. */
  readonly name: string
  /** Not copied to a forked child (MADV_DONTFORK). */
  dontFork = false
  pkey = 0

  constructor(owner: MappingOwner, init: VmaInit) {
    this.owner = owner
    this.start = init.start
    this.end = init.end
    this.prot = init.prot
    this.maxProt = init.maxProt ?? 7
    this.shared = init.shared ?? false
    this.source = init.source ?? null
    this.sourcePage = init.sourcePage ?? 0
    this.file = init.file ?? null
    this.growsDown = init.growsDown ?? false
    this.shadowStack = init.shadowStack ?? false
    this.name = init.name ?? ''
  }

  /** Bytes below it that stay free (stack_guard_gap, shadow_stack_guard_gap). */
  get startGap(): number {
    return this.growsDown ? STACK_GUARD_GAP : this.shadowStack ? 4096 : 0
  }

  get pages(): number {
    return (this.end - this.start) / 4096
  }

  /** A copy for the range [start, end) inside this one, or for another address space; holds its own file reference. */
  copy(owner: MappingOwner, start: number, end: number): Vma {
    const sourcePage = this.sourcePage + (start - this.start) / 4096
    const { prot, maxProt, shared, source, growsDown, shadowStack, name } = this
    const copy = new Vma(owner, {
      start,
      end,
      prot,
      maxProt,
      shared,
      source,
      sourcePage,
      file: this.file,
      growsDown,
      shadowStack,
      name,
    })
    copy.dontFork = this.dontFork
    copy.pkey = this.pkey
    copy.file?.retain()
    copy.source?.mapped?.(copy)
    return copy
  }

  /** The mapping is gone: tells the source and drops the file reference. */
  dispose(): void {
    this.source?.unmapped?.(this)
    this.file?.put(null)
  }

  forget(firstPage: number, endPage: number): void {
    const first = Math.max(firstPage, this.sourcePage)
    const end = Math.min(endPage, this.sourcePage + this.pages)
    if (first >= end) return
    this.owner.zap(this.start + (first - this.sourcePage) * 4096, this.start + (end - this.sourcePage) * 4096)
  }
}
