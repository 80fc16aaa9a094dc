import { PHYSICAL_BASE } from '../../machine/memory-map.ts'
import { pageAlignDown, STACK_GUARD_GAP, TASK_SIZE_MAX } from './layout.ts'
import type { Mm } from './mm.ts'
import { BEYOND_END } from './page-source.ts'
import { PTE_ACCESSED, PTE_DIRTY, PTE_HI_NX, PTE_HI_PKEY_SHIFT, PTE_PRESENT, PTE_USER, PTE_WRITE } from './page-table.ts'
import { PROT_EXEC, PROT_WRITE, type Vma } from './vma.ts'

/** Outcomes of a page fault: 0, or signal << 8 | si_code (LUX-18). */
export const FAULT_HANDLED = 0
export const FAULT_SEGV_MAPERR = (11 << 8) | 1
export const FAULT_SEGV_ACCERR = (11 << 8) | 2
export const FAULT_BUS_ADRERR = (7 << 8) | 2
/** Physical memory is exhausted: the out-of-memory killer's SIGKILL. */
export const FAULT_OOM = 9 << 8

/** Makes one page accessible, or says which signal the access earns. Linux's do_user_addr_fault and handle_mm_fault. */
export function handleFault(mm: Mm, address: number, write: boolean, execute: boolean, shadow: boolean): number {
  if (!(address >= 0 && address < TASK_SIZE_MAX)) return FAULT_SEGV_MAPERR
  const vma = mm.vmas.find(address) ?? growStack(mm, address)
  if (vma === null) return FAULT_SEGV_MAPERR
  // Any right makes a page readable, as on hardware without execute-only protection (access_error).
  if (vma.prot === 0) return FAULT_SEGV_ACCERR
  // A shadow-stack access goes to a shadow stack, an ordinary write never does (access_error). A shadow-stack read counts as a
  // write: the page must become one of a shadow stack.
  if (shadow ? !vma.shadowStack : write && vma.shadowStack) return FAULT_SEGV_ACCERR
  const wanted = write || shadow
  if (wanted && (vma.prot & PROT_WRITE) === 0) return FAULT_SEGV_ACCERR
  if (execute && (vma.prot & PROT_EXEC) === 0) return FAULT_SEGV_ACCERR
  mm.minorFaults++
  const page = pageAlignDown(address)
  const word = mm.table.ensure(page)
  if (word === 0) return FAULT_OOM
  const entry = mm.mem.i32[word]
  if (entry === 0) return faultIn(mm, vma, page, word, wanted)
  if (wanted && (entry & writableFlags(vma)) === 0) return makeWritable(mm, vma, page, word)
  mm.flushPage(page)
  return FAULT_HANDLED
}

/** An access below the stack extends it, within RLIMIT_STACK and the guard gap. */
function growStack(mm: Mm, address: number): Vma | null {
  const { all } = mm.vmas
  const index = mm.vmas.indexAbove(address)
  const stack = all[index]
  if (stack === undefined || !stack.growsDown || stack.start <= address) return null
  const start = pageAlignDown(address)
  if (stack.end - start > mm.stackLimit) return null
  if (index > 0 && all[index - 1].end + STACK_GUARD_GAP > start && all[index - 1].prot !== 0) return null
  stack.start = start
  return stack
}

/** PTE bits of a mapping, without address and without write permission. */
export function entryFlags(): number {
  return PTE_PRESENT | PTE_USER | PTE_ACCESSED
}

export function entryHigh(vma: Vma): number {
  return ((vma.prot & PROT_EXEC) === 0 ? PTE_HI_NX : 0) | (vma.pkey << PTE_HI_PKEY_SHIFT)
}

/** PTE bits of a page that may be written. Dirty without writable is what makes a shadow-stack page (SDM Vol. 3, 4.6.1). */
function writableFlags(vma: Vma): number {
  return vma.shadowStack ? PTE_DIRTY : PTE_WRITE | PTE_DIRTY
}

function setEntry(mm: Mm, vma: Vma, word: number, hpa: number, writable: boolean): void {
  mm.mem.i32[word] = hpa | entryFlags() | (writable ? writableFlags(vma) : 0)
  mm.mem.i32[word + 1] = entryHigh(vma)
}

function faultIn(mm: Mm, vma: Vma, page: number, word: number, write: boolean): number {
  const { pages } = mm
  if (vma.source === null) {
    if (!write) {
      pages.retain(mm.zeroPage)
      setEntry(mm, vma, word, mm.zeroPage, false)
      return FAULT_HANDLED
    }
    const fresh = pages.allocate()
    if (fresh === 0) return FAULT_OOM
    mm.residentPages++
    setEntry(mm, vma, word, fresh, true)
    return FAULT_HANDLED
  }
  const index = vma.sourcePage + (page - vma.start) / 4096
  const hpa = vma.source.page(index, vma.shared && write)
  if (hpa < 0) return hpa === BEYOND_END ? FAULT_BUS_ADRERR : FAULT_OOM
  mm.residentPages++
  if (vma.shared) {
    pages.retain(hpa)
    setEntry(mm, vma, word, hpa, (vma.prot & PROT_WRITE) !== 0)
    return FAULT_HANDLED
  }
  if (!write) {
    pages.retain(hpa)
    setEntry(mm, vma, word, hpa, false)
    return FAULT_HANDLED
  }
  const copy = copyPage(mm, hpa)
  if (copy === 0) return FAULT_OOM
  setEntry(mm, vma, word, copy, true)
  return FAULT_HANDLED
}

/** A write to a present page without write permission: copy on write, or permission that mprotect gave back. */
function makeWritable(mm: Mm, vma: Vma, page: number, word: number): number {
  const { pages } = mm
  const { i32 } = mm.mem
  const hpa = (i32[word] & ~0xfff) >>> 0
  if (vma.shared || (hpa !== mm.zeroPage && pages.referencesOf(hpa) === 1)) {
    i32[word] |= writableFlags(vma)
    mm.flushPage(page)
    return FAULT_HANDLED
  }
  const copy = hpa === mm.zeroPage ? pages.allocate() : copyPage(mm, hpa)
  if (copy === 0) return FAULT_OOM
  mm.invalidating(page, page + 4096)
  if (hpa === mm.zeroPage) mm.residentPages++
  setEntry(mm, vma, word, copy, true)
  pages.release(hpa)
  mm.flushPage(page)
  return FAULT_HANDLED
}

/** A private copy of a page; 0 when memory is exhausted. */
function copyPage(mm: Mm, hpa: number): number {
  const copy = mm.pages.allocate()
  if (copy === 0) return 0
  mm.mem.u8.copyWithin(PHYSICAL_BASE + copy, PHYSICAL_BASE + hpa, PHYSICAL_BASE + hpa + 4096)
  mm.machine.physicalWritten(copy, 4096)
  return copy
}
