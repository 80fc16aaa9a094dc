import type { RegionImports } from './code-cache.ts'
import type { Machine } from './machine.ts'
import { BOUNCE, PHYSICAL_BASE, SCRATCH_BASE } from './memory-map.ts'
import {
  ACCESS_READ,
  ACCESS_SHADOW_READ,
  ACCESS_SHADOW_WRITE,
  ACCESS_WRITE,
  type PageWalk,
  WALK_NO_MEMORY,
  WALK_NOT_CANONICAL,
  WALK_OK,
  WALK_PAGE_FAULT,
} from './page-walk.ts'
import { type Processor, RAISED_STEP } from './processor.ts'
import { callOuts } from './translate/call-outs.ts'
import { ACCESS_STACK } from './translate/emitter.ts'

/** Results of `translate` that are no wasm offset. */
const FAULTED = 0
/** Answered by a device or by nothing: `deviceGpa` (-1: nothing there, reads as ones). */
const DEVICE = 1
const NO_SHADOW_MEMORY = SCRATCH_BASE + 0x290

/** What compiled code calls when the software TLB misses, an access crosses a page, or an instruction runs out of line. */
export class SlowPaths {
  private readonly m: Machine
  /** The processor that is running compiled code. */
  processor!: Processor
  private deviceGpa = 0
  /** Where a read-modify-write through the bounce buffer goes: two pieces (wasm offset, or 0 for a device), set by modifySlow. */
  private piece0 = 0
  private piece1 = 0
  private bytes0 = 0
  private bytes = 0
  private modifyGpa = 0

  constructor(machine: Machine) {
    this.m = machine
  }

  imports(): RegionImports {
    return {
      readSlow: (ctx, lo, hi, info) => this.read(ctx, lo, hi, info),
      writeSlow: (ctx, lo, hi, info) => this.write(ctx, lo, hi, info),
      modifySlow: (ctx, lo, hi, info) => this.modify(ctx, lo, hi, info),
      commit: (ctx) => this.commit(ctx),
      callOut: (_ctx, id, argument, info) => {
        const p = this.processor
        p.lastInfo = info
        return callOuts[id](p, p.context, argument, info)
      },
      assist: (_ctx, id, argument, info) => {
        const p = this.processor
        p.lastInfo = info
        return callOuts[id](p, p.context, argument, info)
      },
    }
  }

  // ---- translation ----
  /** Wasm offset of the page that holds the linear address, FAULTED (a fault is raised), or DEVICE. */
  private translate(lo: number, hi: number, access: number): number {
    return this.translateAs(lo, hi, access, this.processor.user)
  }

  private translateAs(lo: number, hi: number, access: number, user: boolean): number {
    const p = this.processor
    const walk: PageWalk = this.m.pageWalk
    const status = walk.walk(p.context, p.space.secondStage, lo, hi, access, user, p.registerFile)
    if (status === WALK_OK) {
      if (this.m.code.usesSoftwareTlb) this.fillTlb(lo, hi, walk, user)
      return PHYSICAL_BASE + walk.hpaPage * 4096
    }
    if (status === WALK_PAGE_FAULT) p.raisePageFault(lo, hi, walk.errorCode)
    else if (status === WALK_NOT_CANONICAL) p.raise(p.lastInfo & ACCESS_STACK ? 12 : 13, 0, 'a linear address is not canonical')
    else if (status === WALK_NO_MEMORY) {
      this.deviceGpa = -1
      return DEVICE
    } else if (p.mmioPort !== null && walk.gpaIsFinal) {
      this.deviceGpa = walk.gpa + (lo & 0xfff)
      return DEVICE
    } else p.raiseEptViolation(walk.gpa + (walk.gpaIsFinal ? lo & 0xfff : 0), walk.gpaAccess, lo, hi)
    return FAULTED
  }

  private fillTlb(lo: number, hi: number, walk: PageWalk, user: boolean): void {
    const p = this.processor
    const writable = walk.writable && this.m.code.codePage[walk.hpaPage] === 0
    const at = PHYSICAL_BASE + walk.hpaPage * 4096
    if (this.m.tlbs.fill(p.space, user ? 1 : 0, lo, hi, walk.hpaPage, at, writable)) p.useTlb()
  }

  // ---- reads ----
  private read(ctx: number, lo: number, hi: number, info: number): number {
    this.processor.lastInfo = info
    const bytes = info & 0x7f
    const offset = lo & 0xfff
    if (offset + bytes <= 4096) {
      const page = this.translate(lo, hi, ACCESS_READ)
      if (page > DEVICE) return page + offset
      return page === FAULTED ? 0 : this.readDevice(ctx + BOUNCE, bytes)
    }
    return this.gather(ctx, lo, hi, bytes, ACCESS_READ)
  }

  private readDevice(dest: number, bytes: number): number {
    if (this.deviceGpa < 0) {
      this.m.mem.u8.fill(0xff, dest, dest + bytes)
      return dest
    }
    const p = this.processor
    if (p.mmioPort!.read(this.deviceGpa, bytes, dest)) return dest
    p.raiseNeedsData()
    return 0
  }

  /** Both pieces of a page-crossing access, copied to the bounce buffer; their places are kept for `commit`. */
  private gather(ctx: number, lo: number, hi: number, bytes: number, access: number): number {
    const first = 4096 - (lo & 0xfff)
    const a = this.translate(lo, hi, access)
    if (a === FAULTED) return 0
    const gpaA = this.deviceGpa
    const b = this.translate((lo + first) | 0, nextPageHi(lo, hi), access)
    if (b === FAULTED) return 0
    const bounce = ctx + BOUNCE
    const u8 = this.m.mem.u8
    if (a === DEVICE) {
      const gpaB = this.deviceGpa
      this.deviceGpa = gpaA
      if (this.readDevice(bounce, first) === 0) return 0
      this.deviceGpa = gpaB
    } else u8.copyWithin(bounce, a + (lo & 0xfff), a + 4096)
    if (b === DEVICE) {
      if (this.readDevice(bounce + first, bytes - first) === 0) return 0
    } else u8.copyWithin(bounce + first, b, b + bytes - first)
    this.piece0 = a === DEVICE ? 0 : a + (lo & 0xfff)
    this.piece1 = b === DEVICE ? 0 : b
    this.bytes0 = first
    this.bytes = bytes
    this.modifyGpa = a === DEVICE ? gpaA : this.deviceGpa
    return bounce
  }

  // ---- writes ----
  private write(ctx: number, lo: number, hi: number, info: number): number {
    const p = this.processor
    p.lastInfo = info
    const bytes = info & 0x7f
    const offset = lo & 0xfff
    const first = Math.min(bytes, 4096 - offset)
    const a = this.translate(lo, hi, ACCESS_WRITE)
    if (a === FAULTED) return 0
    const gpa = this.deviceGpa
    let b = FAULTED
    if (first < bytes) {
      b = this.translate((lo + first) | 0, nextPageHi(lo, hi), ACCESS_WRITE)
      if (b === FAULTED) return 0
    }
    if (a !== DEVICE && !this.mayWrite(a + offset, first)) return 0
    if (b > DEVICE && !this.mayWrite(b, bytes - first)) return 0
    const bounce = ctx + BOUNCE
    this.put(bounce, a === DEVICE ? 0 : a + offset, first, gpa)
    if (first < bytes) this.put(bounce + first, b === DEVICE ? 0 : b, bytes - first, a === DEVICE ? gpa + first : this.deviceGpa)
    return 1
  }

  /**
   * Whether the bytes may be written now. Instructions that would change compiled code are run again alone (a step), so that
   * the next instruction is fetched anew; then the write drops what was compiled.
   */
  private mayWrite(at: number, bytes: number): boolean {
    const hpa = at - PHYSICAL_BASE
    const page = Math.floor(hpa / 4096)
    if (!this.m.code.holdsCode(page, hpa % 4096, bytes)) return true
    if (!this.processor.stepping) {
      this.processor.raised = RAISED_STEP
      return false
    }
    this.m.code.dropPage(page)
    return true
  }

  private put(src: number, dest: number, bytes: number, gpa: number): void {
    if (dest !== 0) this.m.mem.u8.copyWithin(dest, src, src + bytes)
    else if (gpa >= 0) this.processor.mmioPort!.write(gpa, bytes, src)
  }

  // ---- read-modify-write ----
  private modify(ctx: number, lo: number, hi: number, info: number): number {
    this.processor.lastInfo = info
    const bytes = info & 0x7f
    const offset = lo & 0xfff
    if (offset + bytes > 4096) {
      const bounce = this.gather(ctx, lo, hi, bytes, ACCESS_WRITE)
      if (bounce === 0) return 0
      if (this.piece0 !== 0 && !this.mayWrite(this.piece0, this.bytes0)) return 0
      if (this.piece1 !== 0 && !this.mayWrite(this.piece1, bytes - this.bytes0)) return 0
      return bounce
    }
    const page = this.translate(lo, hi, ACCESS_WRITE)
    if (page === FAULTED) return 0
    if (page > DEVICE) return this.mayWrite(page + offset, bytes) ? page + offset : 0
    this.piece0 = 0
    this.bytes0 = this.bytes = bytes
    this.modifyGpa = this.deviceGpa
    return this.readDevice(ctx + BOUNCE, bytes)
  }

  private commit(ctx: number): number {
    const bounce = ctx + BOUNCE
    this.put(bounce, this.piece0, this.bytes0, this.modifyGpa)
    if (this.bytes > this.bytes0)
      this.put(
        bounce + this.bytes0,
        this.piece1,
        this.bytes - this.bytes0,
        this.piece0 === 0 ? this.modifyGpa + this.bytes0 : this.modifyGpa,
      )
    return 0
  }

  // ---- for call-outs ----
  /** Wasm offset of the upper 4 bytes of the entry `shadowStack` found last: elsewhere than behind the lower when it crosses a page. */
  shadowUpper = 0
  /** Wasm offset of `bytes` (4 or 8, 4-aligned) of a shadow stack, or of the lower 4; 0 after raising the fault. */
  shadowStack(lo: number, hi: number, bytes: number, write: boolean, user = this.processor.user): number {
    const at = this.shadowWord(lo, hi, write, user)
    if (at === 0) return 0
    this.shadowUpper = at + 4
    if ((lo & 0xfff) + bytes <= 4096) return at
    this.shadowUpper = this.shadowWord((lo + 4) | 0, nextPageHi(lo, hi), write, user)
    return this.shadowUpper === 0 ? 0 : at
  }
  /** Where there is no memory, it reads as ones, and what is written is lost. */
  private shadowWord(lo: number, hi: number, write: boolean, user: boolean): number {
    const page = this.translateAs(lo, hi, write ? ACCESS_SHADOW_WRITE : ACCESS_SHADOW_READ, user)
    if (page === FAULTED) return 0
    if (page === DEVICE) {
      this.m.mem.u8.fill(0xff, NO_SHADOW_MEMORY, NO_SHADOW_MEMORY + 8)
      return NO_SHADOW_MEMORY
    }
    const at = page + (lo & 0xfff)
    return write && !this.mayWrite(at, 8) ? 0 : at
  }
  /**
   * Copies `bytes` (any number) from a linear address to a wasm offset, as this processor's data access.
   * @returns false after raising the fault of the first byte that cannot be read; nothing architectural has changed.
   */
  readLinear(lo: number, hi: number, dest: number, bytes: number, user = this.processor.user): boolean {
    for (let done = 0; done < bytes; ) {
      const at = (lo + done) | 0
      const atHi = at >>> 0 < lo >>> 0 ? (hi + 1) | 0 : hi
      const n = Math.min(bytes - done, 4096 - (at & 0xfff))
      const page = this.translateAs(at, atHi, ACCESS_READ, user)
      if (page === FAULTED) return false
      if (page === DEVICE) {
        if (this.readDevice(dest + done, n) === 0) return false
      } else this.m.mem.u8.copyWithin(dest + done, page + (at & 0xfff), page + (at & 0xfff) + n)
      done += n
    }
    return true
  }

  /** Checks that `bytes` at a linear address can be written; false after raising the fault. Call before `writeLinear`. */
  probeWrite(lo: number, hi: number, bytes: number, user = this.processor.user): boolean {
    for (let done = 0; done < bytes; ) {
      const at = (lo + done) | 0
      const atHi = at >>> 0 < lo >>> 0 ? (hi + 1) | 0 : hi
      const n = Math.min(bytes - done, 4096 - (at & 0xfff))
      const page = this.translateAs(at, atHi, ACCESS_WRITE, user)
      if (page === FAULTED) return false
      if (page !== DEVICE && !this.mayWrite(page + (at & 0xfff), n)) return false
      done += n
    }
    return true
  }

  /** Copies `bytes` from a wasm offset to a linear address; false after raising the fault of the first byte that cannot be written. */
  writeLinear(lo: number, hi: number, src: number, bytes: number, user = this.processor.user): boolean {
    for (let done = 0; done < bytes; ) {
      const at = (lo + done) | 0
      const atHi = at >>> 0 < lo >>> 0 ? (hi + 1) | 0 : hi
      const n = Math.min(bytes - done, 4096 - (at & 0xfff))
      const page = this.translateAs(at, atHi, ACCESS_WRITE, user)
      if (page === FAULTED) return false
      if (page !== DEVICE && !this.mayWrite(page + (at & 0xfff), n)) return false
      this.put(src + done, page === DEVICE ? 0 : page + (at & 0xfff), n, this.deviceGpa)
      done += n
    }
    return true
  }
}

const nextPageHi = (lo: number, hi: number): number => ((lo | 0xfff) === -1 ? (hi + 1) | 0 : hi)
