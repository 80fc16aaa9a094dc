import { CTL } from '../../machine/execution-context.ts'
import { PHYSICAL_BASE, SEGMENT } from '../../machine/memory-map.ts'
import type { Kernel } from '../kernel.ts'
import type { Mm } from '../mm/mm.ts'
import { PTE_ACCESSED, PTE_DIRTY, PTE_HI_NX, PTE_PRESENT, PTE_WRITE } from '../mm/page-table.ts'
import type { PinnedProcessor } from '../processor.ts'
import type { Task } from '../task.ts'
import { type Descriptor, GDT_TLS_MIN, USER_CS_RIGHTS, USER_DS_RIGHTS, USER32_CS_RIGHTS } from './descriptors.ts'

/**
 * The descriptor tables as processors read them: one page a processor for the GDT, 64 KiB an address space for the LDT once it has
 * one. They lie in the kernel half of every address space (48-bit addresses here; bits 63..48 are ones).
 */
const GDT_AREA = 0xfe0000000000
const LDT_AREA = 0xfe8000000000
const HIGH_ONES = 0xffff0000
const GDT_LIMIT = 16 * 8 - 1
const LDT_ENTRIES = 8192
const LDT_PAGES = 16
/** Kernel entries of the GDT (arch/x86/include/asm/segment.h): 32-bit CS 1, CS 2, DS 3. */
const KERNEL_ENTRIES: readonly (readonly [number, Descriptor])[] = [
  [1, { rights: 0xc09b, base: 0, limit: 0xffffffff }],
  [2, { rights: 0xa09b, base: 0, limit: 0xffffffff }],
  [3, { rights: 0xc093, base: 0, limit: 0xffffffff }],
]
const USER_ENTRIES: readonly (readonly [number, Descriptor])[] = [
  [4, { rights: USER32_CS_RIGHTS, base: 0, limit: 0xffffffff }],
  [5, { rights: USER_DS_RIGHTS, base: 0, limit: 0xffffffff }],
  [6, { rights: USER_CS_RIGHTS, base: 0, limit: 0xffffffff }],
]
/** Entry 15: a data segment whose limit is the processor's number; LSL of it tells programs where they run. */
const CPU_NUMBER_ENTRY = 15
const CPU_NUMBER_RIGHTS = 0x40f5

const LDTR_PRESENT = 0x82
const LDTR_UNUSABLE = 0x10000

export class DescriptorTables {
  private readonly kernel: Kernel
  private readonly gdtPages: number[] = []

  constructor(kernel: Kernel) {
    this.kernel = kernel
    for (let id = 0; id < kernel.machine.processors.length; id++) {
      const hpa = kernel.pages.allocate()
      this.gdtPages.push(hpa)
      for (const [entry, descriptor] of [...KERNEL_ENTRIES, ...USER_ENTRIES]) this.write(hpa, entry, descriptor)
      this.write(hpa, CPU_NUMBER_ENTRY, { rights: CPU_NUMBER_RIGHTS, base: 0, limit: id })
    }
  }

  private write(table: number, entry: number, descriptor: Descriptor | null): void {
    const { i32 } = this.kernel.machine.mem
    const word = (PHYSICAL_BASE + table + entry * 8) >>> 2
    i32[word] = descriptor === null ? 0 : descriptorLow(descriptor)
    i32[word + 1] = descriptor === null ? 0 : descriptorHigh(descriptor)
  }

  /** Gives a fresh address space its kernel half. */
  mapInto(mm: Mm): void {
    this.gdtPages.forEach((hpa, id) => {
      this.mapPage(mm, GDT_AREA + id * 4096, hpa)
    })
  }

  private mapPage(mm: Mm, address: number, hpa: number): void {
    const word = mm.table.ensure(address)
    if (word === 0) throw new RangeError('no physical memory for page tables')
    mm.mem.i32[word] = hpa | PTE_PRESENT | PTE_WRITE | PTE_ACCESSED | PTE_DIRTY
    mm.mem.i32[word + 1] = PTE_HI_NX
  }

  /** `mm.ldt[entry]` changed; the table is made when the first entry is. False when memory is exhausted. */
  writeLdtEntry(mm: Mm, entry: number): boolean {
    if (mm.ldtPages === 0) {
      mm.ldtPages = this.kernel.pages.allocateContiguous(LDT_PAGES)
      if (mm.ldtPages === 0) return false
      for (let i = 0; i < LDT_PAGES; i++) this.mapPage(mm, LDT_AREA + i * 4096, mm.ldtPages + i * 4096)
      for (const task of this.kernel.tasks.values()) if (task.mm === mm) this.loadLdt(task)
    }
    this.write(mm.ldtPages, entry, mm.ldt[entry] ?? null)
    return true
  }

  /** Writes the whole table of a forked address space. */
  copyLdt(mm: Mm): void {
    mm.ldt.forEach((descriptor, entry) => {
      if (descriptor !== undefined) this.writeLdtEntry(mm, entry)
    })
  }

  releaseLdt(mm: Mm): void {
    if (mm.ldtPages !== 0) this.kernel.pages.releaseContiguous(mm.ldtPages, LDT_PAGES)
    mm.ldtPages = 0
  }

  /** Context switch: the processor's GDT holds the task's TLS entries, LDTR is its address space's. */
  load(task: Task, cpu: PinnedProcessor): void {
    const { context } = task
    const gdt = GDT_AREA + cpu.id * 4096
    context.setCtl(CTL.GDTR_BASE, gdt | 0, HIGH_ONES | Math.floor(gdt / 4294967296))
    context.setCtl(CTL.GDTR_LIMIT, GDT_LIMIT, 0)
    this.loadTls(task, cpu)
    this.loadLdt(task)
  }

  loadTls(task: Task, cpu: PinnedProcessor): void {
    if (cpu.tlsOwner === task && !task.tlsChanged) return
    cpu.tlsOwner = task
    task.tlsChanged = false
    const gdt = this.gdtPages[cpu.id]
    for (let i = 0; i < task.tls.length; i++) this.write(gdt, GDT_TLS_MIN + i, task.tls[i])
  }

  private loadLdt(task: Task): void {
    const present = task.mm.ldtPages !== 0
    const limit = present ? LDT_ENTRIES * 8 - 1 : 0
    const attributes = present ? LDTR_PRESENT : LDTR_UNUSABLE
    task.context.setSegment(
      SEGMENT.LDTR,
      present ? 0x40 : 0,
      attributes,
      limit,
      LDT_AREA | 0,
      HIGH_ONES | Math.floor(LDT_AREA / 4294967296),
    )
  }
}

/** Legacy segment descriptor (SDM Vol. 3 Figure 3-8). */
export function descriptorLow(d: Descriptor): number {
  return ((d.base & 0xffff) << 16) | (rawLimit(d) & 0xffff)
}
export function descriptorHigh(d: Descriptor): number {
  return (d.base & 0xff000000) | (rawLimit(d) & 0xf0000) | ((d.rights & 0xf0ff) << 8) | ((d.base >>> 16) & 0xff)
}
function rawLimit(d: Descriptor): number {
  return (d.rights & 0x8000) !== 0 ? d.limit >>> 12 : d.limit
}
