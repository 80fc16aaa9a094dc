import type { Mm } from '../mm/mm.ts'
import { PTE_ACCESSED, PTE_DIRTY } from '../mm/page-table.ts'
import { PROT_EXEC, PROT_READ, PROT_WRITE, type Vma } from '../mm/vma.ts'

/** /proc/PID/smaps (Documentation/filesystems/proc.rst): per mapping, what of it is in memory, and its flags. */

/** @param heads the lines of /proc/PID/maps, in order */
export function smapsText(mm: Mm, heads: readonly string[]): string {
  return mm.vmas.all.map((vma, i) => `${heads[i]}\n${detailsOf(mm, vma)}`).join('')
}

interface Residence {
  rss: number
  pss: number
  sharedClean: number
  sharedDirty: number
  privateClean: number
  privateDirty: number
  referenced: number
  anonymous: number
}

/** In bytes. The zero page does not count, as in Linux. */
function residenceOf(mm: Mm, vma: Vma): Residence {
  const sum = { rss: 0, pss: 0, sharedClean: 0, sharedDirty: 0, privateClean: 0, privateDirty: 0, referenced: 0, anonymous: 0 }
  const { i32 } = mm.mem
  mm.table.forEach(vma.start, vma.end, (word) => {
    const entry = i32[word]
    const hpa = (entry & ~0xfff) >>> 0
    if (hpa === mm.zeroPage) return
    const users = mm.pages.referencesOf(hpa)
    const dirty = (entry & PTE_DIRTY) !== 0
    sum.rss += 4096
    sum.pss += Math.floor(4096 / Math.max(1, users))
    if (users > 1) sum[dirty ? 'sharedDirty' : 'sharedClean'] += 4096
    else sum[dirty ? 'privateDirty' : 'privateClean'] += 4096
    if ((entry & PTE_ACCESSED) !== 0) sum.referenced += 4096
    if (!vma.shared && vma.source === null) sum.anonymous += 4096
  })
  return sum
}

function detailsOf(mm: Mm, vma: Vma): string {
  const r = residenceOf(mm, vma)
  const rows: [string, number][] = [
    ['Size', vma.end - vma.start],
    ['KernelPageSize', 4096],
    ['MMUPageSize', 4096],
    ['Rss', r.rss],
    ['Pss', r.pss],
    ['Pss_Dirty', r.privateDirty],
    ['Shared_Clean', r.sharedClean],
    ['Shared_Dirty', r.sharedDirty],
    ['Private_Clean', r.privateClean],
    ['Private_Dirty', r.privateDirty],
    ['Referenced', r.referenced],
    ['Anonymous', r.anonymous],
    ['KSM', 0],
    ['LazyFree', 0],
    ['AnonHugePages', 0],
    ['ShmemPmdMapped', 0],
    ['FilePmdMapped', 0],
    ['Shared_Hugetlb', 0],
    ['Private_Hugetlb', 0],
    ['Swap', 0],
    ['SwapPss', 0],
    ['Locked', 0],
  ]
  const kib = rows.map(([name, bytes]) => `${`${name}:`.padEnd(16)}${String(bytes / 1024).padStart(8)} kB\n`).join('')
  return `${kib}THPeligible:           0\nVmFlags: ${flagsOf(vma)}\n`
}

/** Two-letter flags in the order of their bits, each followed by a space (show_smap_vma_flags). */
function flagsOf(vma: Vma): string {
  const flags: [string, boolean][] = [
    ['rd', (vma.prot & PROT_READ) !== 0],
    ['wr', (vma.prot & PROT_WRITE) !== 0],
    ['ex', (vma.prot & PROT_EXEC) !== 0],
    ['sh', vma.shared],
    ['mr', (vma.maxProt & PROT_READ) !== 0],
    ['mw', (vma.maxProt & PROT_WRITE) !== 0],
    ['me', (vma.maxProt & PROT_EXEC) !== 0],
    ['ms', vma.shared],
    ['gd', vma.growsDown],
    ['dc', vma.dontFork],
    // Memory that counts: what is or was private and writable; only shadow stacks are known to have been.
    ['ac', vma.shadowStack || (!vma.shared && (vma.prot & PROT_WRITE) !== 0)],
    ['sd', true],
    ['ss', vma.shadowStack],
  ]
  return flags.map(([name, on]) => (on ? `${name} ` : '')).join('')
}
