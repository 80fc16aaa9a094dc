import { CTL, type ExecutionContext } from './execution-context.ts'
import { SCRATCH_BASE, SEGMENT } from './memory-map.ts'
import type { Processor } from './processor.ts'

const AT = SCRATCH_BASE + 0x200
const EFER_LMA = 1 << 10

/** Access-rights bits (VMX format). */
export const ATTR_ACCESSED = 1
/** Data: writable; code: readable. */
export const ATTR_RW = 2
/** Data: expand-down; code: conforming. */
export const ATTR_CONFORMING = 4
export const ATTR_CODE = 8
export const ATTR_S = 0x10
export const ATTR_P = 0x80
export const ATTR_L = 0x2000
export const ATTR_DB = 0x4000
export const ATTR_UNUSABLE = 0x10000

/** A descriptor read from the GDT or LDT, as the fields of a segment register. Reused: `DescriptorReader` has one. */
export interface Descriptor {
  attributes: number
  limit: number
  baseLo: number
  baseHi: number
  /** The raw words, for gates and LAR. */
  lo: number
  hi: number
}

/** Reads descriptors as the processor does; one per processor. SDM Vol. 3, 3.4.5 and 3.5.2. */
export class DescriptorReader {
  private readonly p: Processor
  readonly d: Descriptor = { attributes: 0, limit: 0, baseLo: 0, baseHi: 0, lo: 0, hi: 0 }
  /** Linear address of the descriptor read last. */
  private atLo = 0
  private atHi = 0

  constructor(processor: Processor) {
    this.p = processor
  }

  /** Whether the selector's entry is inside its table. */
  inTable(ctx: ExecutionContext, selector: number, bytes = 8): boolean {
    const local = (selector & 4) !== 0
    if (local && (ctx.attributes(SEGMENT.LDTR) & ATTR_UNUSABLE) !== 0) return false
    const limit = local ? ctx.limit(SEGMENT.LDTR) : ctx.ctlLo(CTL.GDTR_LIMIT) & 0xffff
    return (selector & 0xfff8) + bytes - 1 <= limit
  }

  /** Reads the 8-byte descriptor of a selector that is in its table; false after raising a page fault. */
  read(ctx: ExecutionContext, selector: number): boolean {
    const local = (selector & 4) !== 0
    const baseLo = local ? ctx.ctlLo(CTL.LDTR_BASE) : ctx.ctlLo(CTL.GDTR_BASE)
    const baseHi = local ? ctx.ctlHi(CTL.LDTR_BASE) : ctx.ctlHi(CTL.GDTR_BASE)
    const sum = (baseLo >>> 0) + (selector & 0xfff8)
    this.atLo = sum | 0
    this.atHi = (baseHi + (sum >= 0x100000000 ? 1 : 0)) | 0
    if (!this.p.machine.slow.readLinear(this.atLo, this.atHi, AT, 8, false)) return false
    this.decode(ctx.mem.i32[AT >> 2], ctx.mem.i32[(AT >> 2) + 1])
    return true
  }

  private decode(lo: number, hi: number): void {
    const d = this.d
    d.lo = lo
    d.hi = hi
    d.attributes = ((hi >>> 8) & 0xff) | ((hi >>> 8) & 0xf000)
    const limit = (lo & 0xffff) | (hi & 0xf0000)
    d.limit = hi & 0x800000 ? ((limit << 12) | 0xfff) >>> 0 : limit
    d.baseLo = (lo >>> 16) | ((hi & 0xff) << 16) | (hi & 0xff000000)
    d.baseHi = 0
  }

  /** Upper 8 bytes of a 16-byte system descriptor (64-bit mode): bits 63:32 of the base. */
  readUpper(): boolean {
    const sum = (this.atLo >>> 0) + 8
    if (!this.p.machine.slow.readLinear(sum | 0, this.atHi + (sum >= 0x100000000 ? 1 : 0), AT, 4, false)) return false
    this.d.baseHi = this.p.machine.mem.i32[AT >> 2]
    return true
  }

  /** Sets type bits in the descriptor in memory (accessed, busy). */
  setTypeBits(bits: number): boolean {
    const mem = this.p.machine.mem
    if (((this.d.hi >>> 8) & bits) === bits) return true
    mem.i32[AT >> 2] = this.d.hi | (bits << 8)
    const sum = (this.atLo >>> 0) + 4
    return this.p.machine.slow.writeLinear(sum | 0, this.atHi + (sum >= 0x100000000 ? 1 : 0), AT, 4, false)
  }

  /**
   * Loads ES, DS, FS, GS or SS as MOV and POP do (SDM Vol. 2, MOV). False after raising #GP, #SS, #NP or #PF; then nothing
   * has changed.
   */
  loadData(ctx: ExecutionContext, seg: number, selector: number): boolean {
    if ((selector & 0xfffc) === 0) return this.loadNull(ctx, seg, selector)
    const error = selector & 0xfffc
    if (!this.inTable(ctx, selector)) return this.fail(13, error, 'selector outside its table')
    if (!this.read(ctx, selector)) return false
    const d = this.d
    const dpl = (d.attributes >> 5) & 3
    const rpl = selector & 3
    const code = (d.attributes & ATTR_CODE) !== 0
    if ((d.attributes & ATTR_S) === 0) return this.fail(13, error, 'a system descriptor')
    if (seg === SEGMENT.SS) {
      if (code || (d.attributes & ATTR_RW) === 0) return this.fail(13, error, 'SS needs writable data')
      if (rpl !== ctx.cpl || dpl !== ctx.cpl) return this.fail(13, error, 'SS: RPL or DPL is not CPL')
      if ((d.attributes & ATTR_P) === 0) return this.fail(12, error, 'stack segment not present')
    } else {
      if (code && (d.attributes & ATTR_RW) === 0) return this.fail(13, error, 'code that is not readable')
      const conforming = code && (d.attributes & ATTR_CONFORMING) !== 0
      if (!conforming && Math.max(rpl, ctx.cpl) > dpl) return this.fail(13, error, 'DPL below RPL or CPL')
      if ((d.attributes & ATTR_P) === 0) return this.fail(11, error, 'segment not present')
    }
    if (!this.setTypeBits(ATTR_ACCESSED)) return false
    ctx.setSegment(seg, selector, d.attributes | ATTR_ACCESSED, d.limit, d.baseLo, 0)
    return true
  }

  /** A null selector: unusable; in SS only allowed to 64-bit code below CPL 3. */
  private loadNull(ctx: ExecutionContext, seg: number, selector: number): boolean {
    if (seg === SEGMENT.SS) {
      const long = (ctx.ctlLo(CTL.EFER) & EFER_LMA) !== 0 && (ctx.attributes(SEGMENT.CS) & ATTR_L) !== 0
      if (!long || ctx.cpl === 3 || (selector & 3) !== ctx.cpl) return this.fail(13, 0, 'null selector in SS')
      ctx.setSegment(seg, selector, ATTR_UNUSABLE | (ctx.cpl << 5) | 0x93, 0xffffffff, 0, 0)
      return true
    }
    // FS and GS: Intel clears the base, AMD keeps it (LUX-58).
    const keeps = this.p.machine.model.vendor === 'AuthenticAMD' && !this.p.machine.model.has('null-sel-clr-base')
    const lo = keeps ? ctx.segmentBaseLo(seg) : 0
    const hi = keeps ? ctx.segmentBaseHi(seg) : 0
    ctx.setSegment(seg, selector, ATTR_UNUSABLE, 0, lo, hi)
    return true
  }

  fail(vector: number, errorCode: number, reason: string): boolean {
    this.p.raise(vector, errorCode, reason)
    return false
  }
}
