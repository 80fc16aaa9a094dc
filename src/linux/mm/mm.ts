import type { AddressSpace } from '../../machine/address-space.ts'
import { PHYSICAL_BASE } from '../../machine/memory-map.ts'
import { EFAULT } from '../errno.ts'
import type { HostMachine } from '../hardware.ts'
import type { Descriptor } from '../segments/descriptors.ts'
import { handleFault } from './fault.ts'
import { TASK_SIZE_MAX } from './layout.ts'
import type { MmNotifier } from './notifier.ts'
import type { PageAllocator } from './page-allocator.ts'
import { PageTable, PTE_DIRTY, PTE_PRESENT, PTE_USER, PTE_WRITE } from './page-table.ts'
import { UserMemory } from './user-memory.ts'
import { type MappingOwner, PROT_WRITE } from './vma.ts'
import { VmaList } from './vma-list.ts'

/** `Mm.getUserPage`: bit 0 of a result that is not negative. */
export const USER_PAGE_WRITABLE = 1

/** The user address space of a process (Linux's mm_struct). */
export class Mm extends UserMemory implements MappingOwner {
  /** Distinguishes address spaces of the host. */
  readonly id: number
  readonly pages: PageAllocator
  readonly table: PageTable
  /** The machine's view: software TLBs of this page table. */
  readonly space: AddressSpace
  readonly vmas = new VmaList()
  private readonly notifiers = new Set<MmNotifier>()
  /** Tasks that run in it (and holders that keep it alive). */
  private users = 1
  dead = false
  /** Frees what hangs on the address space beside its mappings. */
  onRelease: () => void = () => {}
  /** The one zero page of the host. */
  readonly zeroPage: number
  brkStart = 0
  brk = 0
  /** Soft RLIMIT_STACK when the program was started: how far the stack may grow. */
  stackLimit = 0x800000
  /** For /proc: where arguments and environment lie. */
  argStart = 0
  argEnd = 0
  envStart = 0
  envEnd = 0
  /** Protection keys handed out: bit n. Key 0 always. */
  pkeys = 1
  /** Local descriptor table (modify_ldt): by entry number. */
  ldt: (Descriptor | undefined)[] = []
  /** Its pages, 0 while the table is empty. */
  ldtPages = 0
  /** Pages of anonymous and file memory mapped now. */
  residentPages = 0
  minorFaults = 0

  constructor(id: number, machine: HostMachine, pages: PageAllocator, zeroPage: number) {
    super(machine)
    this.id = id
    this.pages = pages
    this.zeroPage = zeroPage
    this.table = new PageTable(machine.mem, pages)
    this.space = machine.newAddressSpace()
  }

  retain(): this {
    this.users++
    return this
  }

  /** More than one task (or holder) uses it. */
  get shared(): boolean {
    return this.users > 1
  }

  /** One user less; the last one frees everything. */
  release(): void {
    if (--this.users > 0) return
    this.dead = true
    for (const notifier of [...this.notifiers]) notifier.release()
    this.notifiers.clear()
    for (const vma of this.vmas.all) {
      this.clearEntries(vma.start, vma.end)
      vma.dispose()
    }
    this.vmas.all.length = 0
    this.onRelease()
    this.table.free()
    this.space.release()
  }

  addNotifier(notifier: MmNotifier): void {
    this.notifiers.add(notifier)
  }
  removeNotifier(notifier: MmNotifier): void {
    this.notifiers.delete(notifier)
  }
  /** Call before translations of [start, end) change or lose rights. */
  invalidating(start: number, end: number): void {
    for (const notifier of this.notifiers) notifier.invalidateRange(start, end)
  }

  fault(address: number, write: boolean, execute: boolean, shadow = false): number {
    return handleFault(this, address, write, execute, shadow)
  }

  /**
   * The page under a user address, faulted in as a write (or read) access would. For KVM's second stage: the answer stays
   * true until a notifier says otherwise.
   * @returns hpa of the page, plus USER_PAGE_WRITABLE when it may be written now; -EFAULT
   */
  getUserPage(address: number, write: boolean): number {
    const at = this.resolve(address, write)
    if (at < 0) return -EFAULT
    const entry = this.mem.i32[this.table.find(address)]
    return at - (at & 0xfff) - PHYSICAL_BASE + ((entry & PTE_WRITE) !== 0 ? USER_PAGE_WRITABLE : 0)
  }

  /** Whether an access would succeed without faulting anything in. */
  isPresent(address: number): boolean {
    const word = this.table.find(address)
    return word !== 0 && (this.mem.i32[word] & (PTE_PRESENT | PTE_USER)) === (PTE_PRESENT | PTE_USER)
  }

  /** Drops pages and translations of [start, end) (MADV_DONTNEED, truncation); mappings stay. */
  zap(start: number, end: number): void {
    this.invalidating(start, end)
    if (this.clearEntries(start, end) > 0) this.flushRange(start, end)
  }

  private clearEntries(start: number, end: number): number {
    const { i32 } = this.mem
    let cleared = 0
    this.table.forEach(start, end, (word) => {
      const hpa = (i32[word] & ~0xfff) >>> 0
      i32[word] = 0
      i32[word + 1] = 0
      this.pages.release(hpa)
      if (hpa !== this.zeroPage) this.residentPages--
      cleared++
    })
    return cleared
  }

  /** Writes through protections, as a tracer may: a private page gets its own copy. Bytes written. */
  forceCopyToUser(user: number, from: Uint8Array, at: number, length: number): number {
    let done = 0
    while (done < length) {
      const address = user + done
      const chunk = Math.min(4096 - (address % 4096), length - done)
      const vma = this.vmas.find(address)
      if (vma === null || (vma.shared && (vma.prot & PROT_WRITE) === 0)) return done
      const { prot } = vma
      vma.prot |= PROT_WRITE
      const ok = vma.shadowStack
        ? this.copyToShadowStack(address, from, at + done, chunk)
        : this.copyToUser(address, from, at + done, chunk)
      vma.prot = prot
      if ((prot & PROT_WRITE) === 0) this.writeProtectPage(address - (address % 4096))
      if (!ok) return done
      done += chunk
    }
    return done
  }

  /** Wasm offset of a byte of a shadow stack, as WRUSS reaches it; -1 for EFAULT. */
  private resolveShadowStack(address: number): number {
    for (let attempt = 0; attempt < 2; attempt++) {
      const word = address >= 0 && address < TASK_SIZE_MAX ? this.table.find(address) : 0
      const entry = word === 0 ? 0 : this.mem.i32[word]
      const bits = entry & (PTE_PRESENT | PTE_USER | PTE_WRITE | PTE_DIRTY)
      if (bits === (PTE_PRESENT | PTE_USER | PTE_DIRTY)) {
        return PHYSICAL_BASE + ((entry & ~0xfff) >>> 0) + (address % 4096)
      }
      if (this.fault(address, true, false, true) !== 0) return -1
    }
    return -1
  }

  private copyToShadowStack(user: number, from: Uint8Array, at: number, length: number): boolean {
    const to = this.resolveShadowStack(user)
    if (to < 0) return false
    this.mem.u8.set(from.subarray(at, at + length), to)
    this.machine.physicalWritten(to - PHYSICAL_BASE, length)
    return true
  }

  /** Stores a word on a user shadow stack (write_user_shstk_64). */
  putShadowStackWord(user: number, lo: number, hi: number): boolean {
    const to = user % 8 === 0 ? this.resolveShadowStack(user) : -1
    if (to < 0) return false
    this.mem.i32[to >>> 2] = lo
    this.mem.i32[(to >>> 2) + 1] = hi
    this.machine.physicalWritten(to - PHYSICAL_BASE, 8)
    return true
  }
  putShadowStack(user: number, value: number): boolean {
    return this.putShadowStackWord(user, value | 0, Math.floor(value / 4294967296) | 0)
  }

  /** Takes write permission from one present page. */
  writeProtectPage(page: number): void {
    const word = this.table.find(page)
    if (word === 0) return
    this.invalidating(page, page + 4096)
    this.mem.i32[word] &= ~(PTE_WRITE | PTE_DIRTY)
    this.flushPage(page)
  }

  /** Translations of [start, end) changed in memory: no processor may use the old ones. */
  flushRange(start: number, end: number): void {
    if (end - start > 0x10000) this.space.flush()
    else for (let at = start; at < end; at += 4096) this.flushPage(at)
  }

  flushPage(address: number): void {
    this.space.flushPage(address | 0, Math.floor(address / 4294967296))
  }
}
