import { CTL, type ExecutionContext } from './execution-context.ts'
import type { MachineMemory } from './machine-memory.ts'
import { PHYSICAL_BASE, PKRU } from './memory-map.ts'
import { EPT_EXECUTE, EPT_READ, EPT_WRITE, type SecondStage } from './second-stage.ts'

export const ACCESS_READ = 0
export const ACCESS_WRITE = 1
export const ACCESS_FETCH = 2
/** Shadow-stack accesses: need a shadow-stack page (SDM Vol. 3, 4.6.1; Vol. 1, 17.2). */
export const ACCESS_SHADOW_READ = 3
export const ACCESS_SHADOW_WRITE = 4

/** #PF error code bits (SDM Vol. 3, 4.7). */
export const PF_PRESENT = 1
export const PF_WRITE = 2
export const PF_USER = 4
export const PF_RESERVED = 8
export const PF_FETCH = 16
export const PF_PROTECTION_KEY = 32
export const PF_SHADOW_STACK = 64

export const WALK_OK = 0
/** `errorCode` is the page fault's. */
export const WALK_PAGE_FAULT = 1
/** The linear address is not canonical: #GP or #SS. */
export const WALK_NOT_CANONICAL = 2
/** A guest-physical address without (sufficient) second-stage entry: `gpa`, `gpaAccess`. */
export const WALK_SECOND_STAGE = 3
/** A physical address beyond the machine's memory: reads as all ones, writes are lost (no device there). */
export const WALK_NO_MEMORY = 4

const CR0_WP = 1 << 16
const CR0_PG = 0x80000000 | 0
const CR4_PAE = 1 << 5
const CR4_PSE = 1 << 4
const CR4_LA57 = 1 << 12
const CR4_SMEP = 1 << 20
const CR4_SMAP = 1 << 21
const CR4_PKE = 1 << 22
const EFER_LMA = 1 << 10
const EFER_NXE = 1 << 11
const RFLAGS_AC = 1 << 18

const P = 1
const RW = 2
const US = 4
const A = 0x20
const D = 0x40
const PS = 0x80

/**
 * Linear-address translation: 4- and 5-level, PAE and 32-bit paging, with the checks of SDM Vol. 3 chapter 4 and accessed
 * and dirty bits. Results are in the fields; nothing is allocated.
 */
export class PageWalk {
  private readonly mem: MachineMemory
  private readonly physicalPages: number
  private readonly maxPhysAddr: number
  /** Result of a successful walk: host-physical page number; whether writes are permitted and the dirty bit is set. */
  hpaPage = 0
  writable = false
  errorCode = 0
  /** Guest-physical address (bytes, below 2^52) of WALK_SECOND_STAGE; also of the result page when a second stage is used. */
  gpa = 0
  /** 1 read, 2 write, 4 fetch (EPT violation qualification). */
  gpaAccess = 0
  /** The second-stage failure was met on the translated page itself, not on a paging-structure access. */
  gpaIsFinal = false

  // Sub-results of reading one entry.
  private entryLo = 0
  private entryHi = 0
  private entryAt = 0

  constructor(mem: MachineMemory, maxPhysAddr: number) {
    this.mem = mem
    this.physicalPages = mem.physicalBytes >>> 12
    this.maxPhysAddr = maxPhysAddr
  }

  /**
   * @param access ACCESS_*; `user`: CPL 3 (or the access is a user access)
   * @param registerFile wasm offset, for PKRU
   */
  walk(
    ctx: ExecutionContext,
    second: SecondStage | null,
    lo: number,
    hi: number,
    access: number,
    user: boolean,
    registerFile: number,
  ): number {
    const cr0 = ctx.ctlLo(CTL.CR0)
    const cr4 = ctx.ctlLo(CTL.CR4)
    const efer = ctx.ctlLo(CTL.EFER)
    if ((cr0 & CR0_PG) === 0) return this.finish(second, lo >>> 12, access, true)
    if (efer & EFER_LMA) return this.walkLong(ctx, second, lo, hi, access, user, registerFile, cr0, cr4, efer)
    if (cr4 & CR4_PAE) return this.walkPae(ctx, second, lo, access, user, cr0, cr4, efer)
    return this.walk32(ctx, second, lo, access, user, cr0, cr4)
  }

  private walkLong(
    ctx: ExecutionContext,
    second: SecondStage | null,
    lo: number,
    hi: number,
    access: number,
    user: boolean,
    registerFile: number,
    cr0: number,
    cr4: number,
    efer: number,
  ): number {
    const la57 = (cr4 & CR4_LA57) !== 0
    if (!isSignExtended(hi, la57)) return WALK_NOT_CANONICAL
    let frame = frameOf(ctx.ctlLo(CTL.CR3), ctx.ctlHi(CTL.CR3))
    let rights = RW | US
    let noExecute = 0
    for (let level = la57 ? 5 : 4; level >= 1; level--) {
      const status = this.readEntry8(second, frame, indexAt(lo, hi, level))
      if (status !== WALK_OK) return status
      const eLo = this.entryLo
      const eHi = this.entryHi
      if ((eLo & P) === 0) return this.pageFault(access, user, 0, efer)
      const large = level > 1 && (eLo & PS) !== 0
      if (this.reservedBitsSet(eLo, eHi, level, large, efer)) return this.pageFault(access, user, PF_PRESENT | PF_RESERVED, efer)
      const above = rights
      rights &= eLo
      noExecute |= efer & EFER_NXE ? eHi & 0x80000000 : 0
      if (level === 1 || large) {
        const denied =
          access >= ACCESS_SHADOW_READ
            ? shadowDenied(above, eLo, rights, user)
            : this.denied(ctx, rights, noExecute, access, user, cr0, cr4, eHi, registerFile)
        if (denied !== 0) return this.pageFault(access, user, denied, efer)
        this.setAccessed(eLo, access)
        const page = frameOf(eLo, eHi)
        const within = level === 1 ? 0 : level === 2 ? (lo >>> 12) & 0x1ff : (lo >>> 12) & 0x3ffff
        const base = level === 1 ? page : level === 2 ? page - (page % 512) : page - (page % 262144)
        return this.finish(second, base + within, access, (rights & RW) !== 0 && (access === ACCESS_WRITE || (eLo & D) !== 0))
      }
      if ((eLo & A) === 0) this.mem.i32[this.entryAt >> 2] = eLo | A
      frame = frameOf(eLo, eHi)
    }
    return WALK_OK
  }

  private walkPae(
    ctx: ExecutionContext,
    second: SecondStage | null,
    lo: number,
    access: number,
    user: boolean,
    cr0: number,
    cr4: number,
    efer: number,
  ): number {
    // The PDPTE is read from memory at each walk; processors load it at MOV CR3.
    const table = ctx.ctlLo(CTL.CR3) & ~0x1f
    let status = this.readEntryAt(second, table >>> 12, (table & 0xfff) + (lo >>> 30) * 8)
    if (status !== WALK_OK) return status
    if ((this.entryLo & P) === 0) return this.pageFault(access, user, 0, efer)
    let frame = frameOf(this.entryLo, this.entryHi)
    let rights = RW | US
    let noExecute = 0
    for (let level = 2; level >= 1; level--) {
      status = this.readEntry8(second, frame, indexAt(lo, 0, level))
      if (status !== WALK_OK) return status
      const eLo = this.entryLo
      const eHi = this.entryHi
      if ((eLo & P) === 0) return this.pageFault(access, user, 0, efer)
      const large = level === 2 && (eLo & PS) !== 0
      if (this.reservedBitsSet(eLo, eHi, level, large, efer)) return this.pageFault(access, user, PF_PRESENT | PF_RESERVED, efer)
      rights &= eLo
      noExecute |= efer & EFER_NXE ? eHi & 0x80000000 : 0
      if (level === 1 || large) {
        const denied = this.denied(ctx, rights, noExecute, access, user, cr0, cr4, 0, 0)
        if (denied !== 0) return this.pageFault(access, user, denied, efer)
        this.setAccessed(eLo, access)
        const page = frameOf(eLo, eHi)
        const final = large ? page - (page % 512) + ((lo >>> 12) & 0x1ff) : page
        return this.finish(second, final, access, (rights & RW) !== 0 && (access === ACCESS_WRITE || (eLo & D) !== 0))
      }
      if ((eLo & A) === 0) this.mem.i32[this.entryAt >> 2] = eLo | A
      frame = frameOf(eLo, eHi)
    }
    return WALK_OK
  }

  private walk32(
    ctx: ExecutionContext,
    second: SecondStage | null,
    lo: number,
    access: number,
    user: boolean,
    cr0: number,
    cr4: number,
  ): number {
    let frame = ctx.ctlLo(CTL.CR3) >>> 12
    let rights = RW | US
    for (let level = 2; level >= 1; level--) {
      const index = level === 2 ? lo >>> 22 : (lo >>> 12) & 0x3ff
      const status = this.readEntry4(second, frame, index)
      if (status !== WALK_OK) return status
      const entry = this.entryLo
      if ((entry & P) === 0) return this.pageFault(access, user, 0, 0)
      rights &= entry
      const large = level === 2 && (entry & PS) !== 0 && (cr4 & CR4_PSE) !== 0
      if (level === 1 || large) {
        const denied = this.denied(ctx, rights, 0, access, user, cr0, cr4, 0, 0)
        if (denied !== 0) return this.pageFault(access, user, denied, 0)
        this.setAccessed(entry, access)
        // PSE-36: bits 20:13 of a 4 MiB entry are address bits 39:32.
        const page = large ? ((entry >>> 13) & 0xff) * 0x100000 + (entry >>> 22) * 1024 + ((lo >>> 12) & 0x3ff) : entry >>> 12
        return this.finish(second, page, access, (rights & RW) !== 0 && (access === ACCESS_WRITE || (entry & D) !== 0))
      }
      if ((entry & A) === 0) this.mem.i32[this.entryAt >> 2] = entry | A
      frame = entry >>> 12
    }
    return WALK_OK
  }

  private reservedBitsSet(lo: number, hi: number, level: number, large: boolean, efer: number): boolean {
    if ((hi & 0xfffff) >>> (this.maxPhysAddr - 32) !== 0) return true
    if ((efer & EFER_NXE) === 0 && hi < 0) return true
    if (large) return level > 3 || (lo & (level === 2 ? 0x1fe000 : 0x3fffe000)) !== 0
    return level > 3 && (lo & PS) !== 0
  }

  /** 0, or the error-code bits of a protection violation (SDM Vol. 3, 4.6). */
  private denied(
    ctx: ExecutionContext,
    rights: number,
    noExecute: number,
    access: number,
    user: boolean,
    cr0: number,
    cr4: number,
    entryHi: number,
    registerFile: number,
  ): number {
    const userPage = (rights & US) !== 0
    if (access === ACCESS_FETCH) {
      if (noExecute !== 0 || (user && !userPage) || (!user && userPage && (cr4 & CR4_SMEP) !== 0)) return PF_PRESENT
      return 0
    }
    if (user && !userPage) return PF_PRESENT
    if (!user && userPage && (cr4 & CR4_SMAP) !== 0 && (ctx.rflagsRest & RFLAGS_AC) === 0) return PF_PRESENT
    if (access === ACCESS_WRITE && (rights & RW) === 0 && (user || (cr0 & CR0_WP) !== 0)) return PF_PRESENT
    if (userPage && (cr4 & CR4_PKE) !== 0 && registerFile !== 0) {
      const key = (entryHi >>> 27) & 0xf
      const pkru = this.mem.u32[(registerFile + PKRU) >> 2] >>> (key * 2)
      if (pkru & 1) return PF_PRESENT | PF_PROTECTION_KEY
      if (access === ACCESS_WRITE && (pkru & 2) !== 0 && (user || (cr0 & CR0_WP) !== 0)) return PF_PRESENT | PF_PROTECTION_KEY
    }
    return 0
  }

  private setAccessed(entry: number, access: number): void {
    const wanted = isWrite(access) ? A | D : A
    if ((entry & wanted) !== wanted) this.mem.i32[this.entryAt >> 2] = entry | wanted
  }

  private pageFault(access: number, user: boolean, bits: number, efer: number): number {
    this.errorCode =
      bits | (isWrite(access) ? PF_WRITE : 0) | (user ? PF_USER : 0) | (access >= ACCESS_SHADOW_READ ? PF_SHADOW_STACK : 0)
    if (access === ACCESS_FETCH && efer & EFER_NXE) this.errorCode |= PF_FETCH
    return WALK_PAGE_FAULT
  }

  // ---- paging-structure accesses ----
  private readEntry8(second: SecondStage | null, frame: number, index: number): number {
    return this.readEntryAt(second, frame, index * 8)
  }
  private readEntryAt(second: SecondStage | null, frame: number, offset: number): number {
    const status = this.structurePage(second, frame)
    if (status !== WALK_OK) return status
    const at = PHYSICAL_BASE + this.hpaPage * 4096 + offset
    this.entryAt = at
    this.entryLo = this.mem.i32[at >>> 2]
    this.entryHi = this.mem.i32[(at >>> 2) + 1]
    return WALK_OK
  }
  private readEntry4(second: SecondStage | null, frame: number, index: number): number {
    const status = this.structurePage(second, frame)
    if (status !== WALK_OK) return status
    const at = PHYSICAL_BASE + this.hpaPage * 4096 + index * 4
    this.entryAt = at
    this.entryLo = this.mem.i32[at >>> 2]
    return WALK_OK
  }
  /** Host page of a paging structure. Paging structures are read and their accessed bits written: write permission is asked. */
  private structurePage(second: SecondStage | null, frame: number): number {
    if (second === null) {
      this.hpaPage = frame
      return frame < this.physicalPages ? WALK_OK : WALK_NO_MEMORY
    }
    const entry = second.lookup(frame)
    if ((entry & EPT_WRITE) === 0) return this.secondStageFault(frame, 3, false)
    this.hpaPage = entry >>> 12
    return WALK_OK
  }

  private finish(second: SecondStage | null, page: number, access: number, writable: boolean): number {
    if (second === null) {
      if (page >= this.physicalPages) return WALK_NO_MEMORY
      this.hpaPage = page
      this.writable = writable
      return WALK_OK
    }
    const entry = second.lookup(page)
    const need = isWrite(access) ? EPT_WRITE : access === ACCESS_FETCH ? EPT_EXECUTE : EPT_READ
    if ((entry & need) === 0) return this.secondStageFault(page, isWrite(access) ? 2 : access === ACCESS_FETCH ? 4 : 1, true)
    this.hpaPage = entry >>> 12
    this.writable = writable && (entry & EPT_WRITE) !== 0
    this.gpa = page * 4096
    return WALK_OK
  }

  private secondStageFault(gfn: number, access: number, final: boolean): number {
    this.gpa = gfn * 4096
    this.gpaAccess = access
    this.gpaIsFinal = final
    return WALK_SECOND_STAGE
  }
}

/** The upper half of an address of 57 (LA57) or 48 bits. */
const isSignExtended = (hi: number, la57: boolean): boolean => (la57 ? (hi << 7) >> 7 : (hi << 16) >> 16) === hi
/** Whether an address with this upper half is canonical in the context's paging mode. */
export const isCanonical = (ctx: ExecutionContext, hi: number): boolean =>
  isSignExtended(hi, (ctx.ctlLo(CTL.CR4) & CR4_LA57) !== 0)

const isWrite = (access: number): boolean => access === ACCESS_WRITE || access === ACCESS_SHADOW_WRITE

/**
 * A shadow-stack page: not writable and dirty in its own entry, writable in all entries above, and of the access's own
 * privilege (user accesses to user pages, supervisor accesses to supervisor pages).
 */
function shadowDenied(above: number, leaf: number, rights: number, user: boolean): number {
  const isShadowPage = (above & RW) !== 0 && (leaf & RW) === 0 && (leaf & D) !== 0
  return isShadowPage && user === ((rights & US) !== 0) ? 0 : PF_PRESENT
}

/** Page frame of an entry or CR3: physical address bits 51:12. */
const frameOf = (lo: number, hi: number): number => (hi & 0xfffff) * 0x100000 + (lo >>> 12)

/** Paging-structure index of a linear address, level 1 (PTE) to 5 (PML5E). */
function indexAt(lo: number, hi: number, level: number): number {
  switch (level) {
    case 1:
      return (lo >>> 12) & 0x1ff
    case 2:
      return (lo >>> 21) & 0x1ff
    case 3:
      return ((lo >>> 30) | (hi << 2)) & 0x1ff
    case 4:
      return (hi >>> 7) & 0x1ff
    default:
      return (hi >>> 16) & 0x1ff
  }
}
