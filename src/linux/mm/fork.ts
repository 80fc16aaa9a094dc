import type { Kernel } from '../kernel.ts'
import type { Mm } from './mm.ts'
import { PTE_DIRTY, PTE_WRITE } from './page-table.ts'

/**
 * A copy of an address space as fork makes it (dup_mmap): private pages are shared until one side writes, shared mappings map
 * the same pages. Null when memory is exhausted.
 */
export function forkMm(kernel: Kernel, parent: Mm): Mm | null {
  const child = kernel.newMm()
  const { i32 } = parent.mem
  parent.invalidating(0, Number.MAX_SAFE_INTEGER)
  let exhausted = false
  for (const vma of parent.vmas.all) {
    if (vma.dontFork) continue
    child.vmas.all.push(vma.copy(child, vma.start, vma.end))
    // Shared pages are found again through their source.
    if (vma.shared) continue
    parent.table.forEach(vma.start, vma.end, (word, address) => {
      const copy = child.table.ensure(address)
      if (copy === 0) {
        exhausted = true
        return
      }
      i32[word] &= ~(PTE_WRITE | PTE_DIRTY)
      i32[copy] = i32[word]
      i32[copy + 1] = i32[word + 1]
      const hpa = (i32[word] & ~0xfff) >>> 0
      child.pages.retain(hpa)
      if (hpa !== child.zeroPage) child.residentPages++
    })
  }
  parent.space.flush()
  copyLayout(parent, child)
  kernel.descriptors.copyLdt(child)
  if (!exhausted) return child
  child.release()
  return null
}

function copyLayout(parent: Mm, child: Mm): void {
  child.brkStart = parent.brkStart
  child.brk = parent.brk
  child.stackLimit = parent.stackLimit
  child.argStart = parent.argStart
  child.argEnd = parent.argEnd
  child.envStart = parent.envStart
  child.envEnd = parent.envEnd
  child.pkeys = parent.pkeys
  child.ldt = [...parent.ldt]
}
