import { EACCES, EAGAIN, EBADF, EEXIST, EINVAL, ENOMEM, EPERM } from '../errno.ts'
import { O_ACCMODE, O_WRONLY, type OpenFile } from '../file.ts'
import { SharedMemory } from '../fs/shmem.ts'
import type { Task } from '../task.ts'
import { MMAP_BASE, MMAP_MIN_ADDR, pageAlignUp, TASK_SIZE_MAX } from './layout.ts'
import type { Mm } from './mm.ts'
import { PTE_DIRTY, PTE_HI_NX, PTE_HI_PKEY_SHIFT, PTE_WRITE } from './page-table.ts'
import { PROT_EXEC, PROT_WRITE, Vma, type VmaInit } from './vma.ts'

export const MAP_SHARED = 1
export const MAP_PRIVATE = 2
export const MAP_SHARED_VALIDATE = 3
export const MAP_TYPE = 15
export const MAP_FIXED = 0x10
export const MAP_ANONYMOUS = 0x20
export const MAP_32BIT = 0x40
/** Since 6.6. */
export const MAP_ABOVE4G = 0x80
export const MAP_GROWSDOWN = 0x100
export const MAP_DENYWRITE = 0x800
export const MAP_LOCKED = 0x2000
export const MAP_NORESERVE = 0x4000
export const MAP_POPULATE = 0x8000
export const MAP_STACK = 0x20000
export const MAP_HUGETLB = 0x40000
export const MAP_FIXED_NOREPLACE = 0x100000

const MAX_MAPPINGS = 65530
const HUGE_PAGE = 0x200000
/** Ours, not the ABI's: place it so that it can be made of huge pages. */
export const MAP_ALIGN_LARGE = 0x40000000

/** mmap(2). An address, or -errno. */
export function mmap(
  task: Task,
  address: number,
  length: number,
  prot: number,
  flags: number,
  file: OpenFile | null,
  offset: number,
): number {
  const { mm } = task
  if (length === 0) return -EINVAL
  if (length < 0 || length > TASK_SIZE_MAX) return -ENOMEM
  if (offset % 4096 !== 0) return -EINVAL
  if (offset < 0) return -EINVAL
  if (mm.vmas.all.length >= MAX_MAPPINGS) return -ENOMEM
  const size = pageAlignUp(length)
  const anonymous = (flags & MAP_ANONYMOUS) !== 0
  if (!anonymous && file === null) return -EBADF
  // No pool of huge pages is configured (vm.nr_hugepages = 0).
  if ((flags & MAP_HUGETLB) !== 0) return -ENOMEM
  const type = flags & MAP_TYPE
  if (type !== MAP_SHARED && type !== MAP_PRIVATE && type !== MAP_SHARED_VALIDATE) return -EINVAL
  const shared = type !== MAP_PRIVATE
  if (!anonymous && (file!.flags & O_ACCMODE) === O_WRONLY) return -EACCES
  const align = anonymous && task.kernel.profile.userAbi.alignsLargeMappings ? MAP_ALIGN_LARGE : 0
  const start = placeMapping(mm, address, size, (flags & ~MAP_ALIGN_LARGE) | align)
  if (start < 0) return start
  const init: VmaInit = {
    start,
    end: start + size,
    prot: prot & 7,
    shared,
    growsDown: (flags & MAP_GROWSDOWN) !== 0,
    file: anonymous ? null : file,
    sourcePage: anonymous ? 0 : offset / 4096,
    name: anonymous ? (shared ? '/dev/zero (deleted)' : '') : file!.name,
  }
  const result = addMapping(task, init)
  if (result < 0) return result
  if ((flags & MAP_POPULATE) !== 0) populate(mm, start, start + size, (prot & PROT_WRITE) !== 0)
  return start
}

/** Chooses or checks the address (get_unmapped_area). `startGap`: bytes that must be free below a chosen one. */
export function placeMapping(mm: Mm, address: number, size: number, flags: number, startGap = 0): number {
  if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) !== 0) {
    if (address % 4096 !== 0) return -EINVAL
    if (address < 0 || address + size > TASK_SIZE_MAX) return -ENOMEM
    if (address < MMAP_MIN_ADDR) return -EPERM
    if ((flags & MAP_FIXED_NOREPLACE) !== 0 && mm.vmas.overlaps(address, address + size)) return -EEXIST
    return address
  }
  if ((flags & MAP_32BIT) !== 0) {
    const low = mm.vmas.findGapAbove(size, 0x40000000, 0x80000000)
    return low < 0 ? -ENOMEM : low
  }
  if (address > 0) {
    const hint = Math.max(pageAlignUp(address), MMAP_MIN_ADDR)
    if (hint + size <= TASK_SIZE_MAX && mm.vmas.isFree(hint, hint + size)) return hint
  }
  const bottom = (flags & MAP_ABOVE4G) !== 0 ? 0x100000000 : MMAP_MIN_ADDR
  if (address === 0 && (flags & MAP_ALIGN_LARGE) !== 0 && size % HUGE_PAGE === 0) {
    const room = mm.vmas.findGapBelow(size + HUGE_PAGE + startGap, MMAP_BASE, bottom)
    if (room >= 0) return alignLarge(room + startGap)
  }
  const gap = mm.vmas.findGapBelow(size + startGap, MMAP_BASE, bottom)
  if (gap >= 0) return gap + startGap
  const high = mm.vmas.findGapAbove(size + startGap, bottom)
  return high < 0 ? -ENOMEM : high + startGap
}

/** In a gap with room for one huge page more, as high as it goes (__thp_get_unmapped_area, top down). */
function alignLarge(room: number): number {
  const aligned = Math.ceil(room / HUGE_PAGE) * HUGE_PAGE
  return aligned === room ? room + HUGE_PAGE : aligned
}

/** Installs a mapping; what was in its place goes. */
function addMapping(task: Task, init: VmaInit): number {
  const { mm } = task
  const vma = new Vma(mm, init)
  if (init.file) {
    init.file.retain()
    const result = init.file.mmap(task, vma)
    if (result < 0) {
      init.file.put(task)
      return result
    }
  } else if (init.shared) {
    const memory = new SharedMemory(task.kernel, init.end - init.start)
    vma.source = memory
    vma.source.mapped!(vma)
    memory.release()
  }
  if (init.file) vma.source?.mapped?.(vma)
  unmapRange(mm, init.start, init.end)
  mm.vmas.insert(vma)
  mm.vmas.merge(init.start, init.end)
  return 0
}

/** A mapping the kernel itself makes: program segments, stack, heap. */
export function mapKernelChosen(task: Task, init: VmaInit): number {
  return addMapping(task, init)
}

function populate(mm: Mm, start: number, end: number, write: boolean): void {
  for (let at = start; at < end; at += 4096) if (mm.fault(at, write, false) !== 0) return
}

/** munmap(2). */
export function munmap(task: Task, address: number, length: number): number {
  if (address % 4096 !== 0 || length <= 0 || address < 0 || address + length > TASK_SIZE_MAX) return -EINVAL
  const end = address + pageAlignUp(length)
  unmapRange(task.mm, address, end)
  return 0
}

/** Takes [start, end) out of the address space. */
export function unmapRange(mm: Mm, start: number, end: number): void {
  if (!mm.vmas.overlaps(start, end)) return
  mm.vmas.splitAt(start)
  mm.vmas.splitAt(end)
  mm.zap(start, end)
  for (const vma of mm.vmas.overlapping(start, end)) {
    mm.vmas.remove(vma)
    vma.dispose()
  }
}

/** True when [start, end) is mapped without gaps. */
export function fullyMapped(mm: Mm, start: number, end: number): boolean {
  let at = start
  for (const vma of mm.vmas.overlapping(start, end)) {
    if (vma.start > at) return false
    at = vma.end
  }
  return at >= end
}

/** mprotect(2) and pkey_mprotect(2). `pkey` -1 keeps the key. */
export function mprotect(task: Task, address: number, length: number, prot: number, pkey: number): number {
  const { mm } = task
  if (address % 4096 !== 0) return -EINVAL
  if ((prot & ~0x0f) !== 0 && (prot & ~0x0300000f) !== 0) return -EINVAL
  if (length === 0) return 0
  const end = address + pageAlignUp(length)
  if (address < 0 || length < 0 || end > TASK_SIZE_MAX) return -ENOMEM
  const covered = fullyMapped(mm, address, end)
  for (const vma of mm.vmas.overlapping(address, end)) if ((prot & 7 & ~vma.maxProt) !== 0) return -EACCES
  // The pages before the first gap are changed all the same.
  let limit = end
  if (!covered) {
    limit = address
    for (const vma of mm.vmas.overlapping(address, end)) {
      if (vma.start > limit) break
      limit = Math.min(vma.end, end)
    }
  }
  if (limit > address) changeProtection(mm, address, limit, prot & 7, pkey)
  return covered ? 0 : -ENOMEM
}

function changeProtection(mm: Mm, start: number, end: number, prot: number, pkey: number): void {
  mm.vmas.splitAt(start)
  mm.vmas.splitAt(end)
  mm.invalidating(start, end)
  const { i32 } = mm.mem
  for (const vma of mm.vmas.overlapping(start, end)) {
    vma.prot = prot
    if (pkey >= 0) vma.pkey = pkey
    const high = ((prot & PROT_EXEC) === 0 ? PTE_HI_NX : 0) | (vma.pkey << PTE_HI_PKEY_SHIFT)
    mm.table.forEach(vma.start, vma.end, (word) => {
      // Without any right a page is not present; the entry keeps the page (PROT_NONE).
      i32[word] = prot === 0 ? i32[word] & ~1 : i32[word] | 1
      // Dirty alone would be a page of a shadow stack.
      if ((prot & PROT_WRITE) === 0) i32[word] &= ~(PTE_WRITE | PTE_DIRTY)
      i32[word + 1] = high
    })
  }
  mm.flushRange(start, end)
  mm.vmas.merge(start, end)
}

/** brk(2): the new end of the heap, or the present one when it cannot be. */
export function brk(task: Task, address: number): number {
  const { mm } = task
  if (address < mm.brkStart || address > TASK_SIZE_MAX) return mm.brk
  const oldEnd = pageAlignUp(mm.brk)
  const newEnd = pageAlignUp(address)
  if (newEnd < oldEnd) unmapRange(mm, newEnd, oldEnd)
  else if (newEnd > oldEnd) {
    if (mm.vmas.overlaps(oldEnd, newEnd + 4096)) return mm.brk
    const init = { start: oldEnd, end: newEnd, prot: 3, name: '[heap]' }
    if (addMapping(task, init) < 0) return mm.brk
  }
  mm.brk = address
  return address
}

const MREMAP_MAYMOVE = 1
const MREMAP_FIXED = 2
const MREMAP_DONTUNMAP = 4

/** mremap(2). */
export function mremap(
  task: Task,
  oldAddress: number,
  oldLength: number,
  newLength: number,
  flags: number,
  newAddress: number,
): number {
  const { mm } = task
  if ((flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) !== 0) return -EINVAL
  if ((flags & MREMAP_FIXED) !== 0 && (flags & MREMAP_MAYMOVE) === 0) return -EINVAL
  if ((flags & MREMAP_DONTUNMAP) !== 0) return -EINVAL
  if (oldAddress % 4096 !== 0 || newLength <= 0 || oldLength < 0) return -EINVAL
  const oldSize = pageAlignUp(oldLength)
  const newSize = pageAlignUp(newLength)
  const vma = mm.vmas.find(oldAddress)
  if (vma === null) return -14
  if (oldAddress + oldSize > vma.end) return -14
  if (oldSize === 0) return -EINVAL
  if ((flags & MREMAP_FIXED) !== 0) {
    if (newAddress % 4096 !== 0 || newAddress < 0 || newAddress + newSize > TASK_SIZE_MAX) return -EINVAL
    if (newAddress < oldAddress + oldSize && oldAddress < newAddress + newSize) return -EINVAL
    if (newAddress < MMAP_MIN_ADDR) return -EPERM
    unmapRange(mm, newAddress, newAddress + newSize)
    return move(mm, oldAddress, Math.min(oldSize, newSize), oldSize, newAddress, newSize)
  }
  if (newSize <= oldSize) {
    if (newSize < oldSize) unmapRange(mm, oldAddress + newSize, oldAddress + oldSize)
    return oldAddress
  }
  if (
    oldAddress + oldSize === vma.end &&
    !mm.vmas.overlaps(vma.end, oldAddress + newSize) &&
    oldAddress + newSize <= TASK_SIZE_MAX
  ) {
    vma.end = oldAddress + newSize
    mm.vmas.merge(vma.start, vma.end)
    return oldAddress
  }
  if ((flags & MREMAP_MAYMOVE) === 0) return -ENOMEM
  const gap = mm.vmas.findGapBelow(newSize)
  if (gap < 0) return -ENOMEM
  return move(mm, oldAddress, oldSize, oldSize, gap, newSize)
}

/** Moves pages and mapping; what the move leaves behind is unmapped. */
function move(mm: Mm, from: number, length: number, oldSize: number, to: number, newSize: number): number {
  let roomForAll = true
  mm.table.forEach(from, from + length, (_word, address) => {
    if (mm.table.ensure(to + (address - from)) === 0) roomForAll = false
  })
  if (!roomForAll) return -ENOMEM
  mm.vmas.splitAt(from)
  mm.vmas.splitAt(from + oldSize)
  const old = mm.vmas.find(from)!
  const moved = old.copy(mm, from, from + oldSize)
  moved.start = to
  moved.end = to + newSize
  mm.invalidating(from, from + oldSize)
  const { i32 } = mm.mem
  mm.table.forEach(from, from + length, (word, address) => {
    const target = mm.table.ensure(to + (address - from))
    i32[target] = i32[word]
    i32[target + 1] = i32[word + 1]
    i32[word] = 0
    i32[word + 1] = 0
  })
  mm.flushRange(from, from + oldSize)
  unmapRange(mm, from, from + oldSize)
  mm.vmas.insert(moved)
  mm.vmas.merge(moved.start, moved.end)
  return to
}

const MADV_DONTNEED = 4
const MADV_FREE = 8
const MADV_REMOVE = 9
const MADV_DONTFORK = 10
const MADV_DOFORK = 11
const MADV_POPULATE_READ = 22
const MADV_POPULATE_WRITE = 23
/** Hints that change nothing a program can see: NORMAL RANDOM SEQUENTIAL WILLNEED, (UN)MERGEABLE, (NO)HUGEPAGE, (DO)DUMP, COLD, PAGEOUT. */
const HINTS = new Set([0, 1, 2, 3, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21])

/** madvise(2): LUX-17. */
export function madvise(task: Task, address: number, length: number, advice: number): number {
  const { mm } = task
  if (address % 4096 !== 0 || length < 0) return -EINVAL
  if (length === 0) return 0
  const end = address + pageAlignUp(length)
  if (end > TASK_SIZE_MAX) return -EINVAL
  const covered = fullyMapped(mm, address, end) ? 0 : -ENOMEM
  const inside = mm.vmas.overlapping(address, end)
  switch (advice) {
    case MADV_DONTNEED:
    case MADV_FREE:
      for (const vma of inside) mm.zap(Math.max(vma.start, address), Math.min(vma.end, end))
      return covered
    case MADV_REMOVE:
      return removePages(inside, address, end)
    case MADV_DONTFORK:
    case MADV_DOFORK:
      mm.vmas.splitAt(address)
      mm.vmas.splitAt(end)
      for (const vma of mm.vmas.overlapping(address, end)) vma.dontFork = advice === MADV_DONTFORK
      return covered
    case MADV_POPULATE_READ:
    case MADV_POPULATE_WRITE:
      if (covered < 0) return covered
      for (let at = address; at < end; at += 4096) if (mm.fault(at, advice === MADV_POPULATE_WRITE, false) !== 0) return -EAGAIN
      return 0
    default:
      return HINTS.has(advice) ? covered : -EINVAL
  }
}

function removePages(mappings: Vma[], start: number, end: number): number {
  for (const vma of mappings) {
    if (!vma.shared || !(vma.source instanceof SharedMemory)) return -EINVAL
    const first = Math.max(vma.start, start)
    vma.source.punchHole((vma.sourcePage + (first - vma.start) / 4096) * 4096, Math.min(vma.end, end) - first)
  }
  return 0
}
