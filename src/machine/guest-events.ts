import { DR6_BUS_LOCK } from '../isa/control-registers.ts'
import { trackFarBranch } from './branch-tracker.ts'
import { isCetOn } from './cet.ts'
import { CTL, type ExecutionContext, REG } from './execution-context.ts'
import {
  EXIT_REASON_EXCEPTION_NMI,
  EXIT_REASON_INTERRUPT_WINDOW,
  EXIT_REASON_NMI_WINDOW,
  EXIT_REASON_TRIPLE_FAULT,
} from './exits.ts'
import { SCRATCH_BASE, SEGMENT } from './memory-map.ts'
import { type Processor, RAISED_EXCEPTION, RAISED_NOTHING, RAISED_VM_EXIT } from './processor.ts'
import {
  INTR_INFO_DELIVER_CODE,
  INTR_INFO_VALID,
  INTR_TYPE_HARD_EXCEPTION,
  INTR_TYPE_NMI,
  INTR_TYPE_PRIV_SW_EXCEPTION,
  INTR_TYPE_SOFT_EXCEPTION,
  INTR_TYPE_SOFT_INTR,
} from './vmcs.ts'

const RFLAGS_IF = 0x200
/** TF NT RF VM: cleared by every delivery. */
const CLEARED = 0x100 | 0x4000 | 0x10000 | 0x20000
const TYPE_MASK = 7 << 8
const CR0_PE = 1
const EFER_LMA = 1 << 10
const FRAME = SCRATCH_BASE + 0x100

/** Vectors 0, 10..13 (SDM Vol. 3, table 7-4); 14 is the page-fault class. */
const isContributory = (vector: number): boolean => vector === 0 || (vector >= 10 && vector <= 13)

/** Delivery of events to a guest through its IDT, and the exits that replace it. */
export class GuestEvents {
  private readonly p: Processor

  constructor(processor: Processor) {
    this.p = processor
  }

  /** Delivers what VM entry was asked to inject. -1 to go on, or an exit reason. */
  inject(): number {
    const v = this.p.vmcs!
    const info = v.entryInterruptionInfo
    if ((info & INTR_INFO_VALID) === 0) return -1
    v.entryInterruptionInfo = 0
    const type = info & TYPE_MASK
    if (type === INTR_TYPE_SOFT_INTR || type === INTR_TYPE_SOFT_EXCEPTION || type === INTR_TYPE_PRIV_SW_EXCEPTION) {
      v.context.advanceRip(v.entryInstructionLength)
    }
    if (type === INTR_TYPE_NMI) v.context.setCtl(CTL.INTERRUPTIBILITY, v.context.ctlLo(CTL.INTERRUPTIBILITY) | 8, 0)
    v.context.setCtl(CTL.ACTIVITY, 0, 0)
    return this.deliver(info & 0xff, type, (info & INTR_INFO_DELIVER_CODE) !== 0, v.entryErrorCode)
  }

  /** An interrupt- or NMI-window exit that is due, or -1. */
  windowExit(): number {
    const v = this.p.vmcs!
    const shadow = v.context.ctlLo(CTL.INTERRUPTIBILITY)
    if (v.controls.interruptWindowExiting && (v.context.rflagsRest & RFLAGS_IF) !== 0 && (shadow & 3) === 0)
      return EXIT_REASON_INTERRUPT_WINDOW
    if (v.controls.nmiWindowExiting && (shadow & 11) === 0) return EXIT_REASON_NMI_WINDOW
    return -1
  }

  /** The exception in `fault`: an exit when intercepted, else delivery. -1 to go on, or an exit reason. */
  exception(): number {
    const f = this.p.fault
    const type = f.vector === 3 || f.vector === 4 ? INTR_TYPE_SOFT_EXCEPTION : INTR_TYPE_HARD_EXCEPTION
    if (this.intercepted(f.vector)) return this.exceptionExit(type)
    return this.deliver(f.vector, type, f.hasErrorCode, f.errorCode)
  }

  /** INT n, INT3, INTO, INT1 by the guest; RIP is already past the instruction for delivery. */
  software(vector: number, type: number): number {
    return this.deliver(vector, type, false, 0)
  }

  private intercepted(vector: number): boolean {
    return ((this.p.vmcs!.controls.exceptionBitmap >>> vector) & 1) !== 0
  }

  private exceptionExit(type: number): number {
    const p = this.p
    const v = p.vmcs!
    const f = p.fault
    v.exitInterruptionInfo = f.vector | type | (f.hasErrorCode ? INTR_INFO_DELIVER_CODE : 0) | INTR_INFO_VALID
    v.exitErrorCode = f.errorCode
    v.exitAddressLo = f.addressLo
    v.exitAddressHi = f.addressHi
    v.exitQualification = f.vector === 1 ? f.dr6 : 0
    return EXIT_REASON_EXCEPTION_NMI
  }

  /** Delivers an event, and what goes wrong meanwhile, until one is delivered or the guest exits. */
  private deliver(vector: number, type: number, hasErrorCode: boolean, errorCode: number): number {
    const p = this.p
    for (;;) {
      this.beforeDelivery(vector, type)
      p.raised = RAISED_NOTHING
      // The frame may be pushed onto a page with compiled code: no region runs now, so that code may go at once.
      const { stepping } = p
      p.stepping = true
      const delivered = this.tryDeliver(vector, type, hasErrorCode, errorCode)
      p.stepping = stepping
      if (delivered) {
        p.refresh()
        return -1
      }
      const v = p.vmcs!
      v.idtVectoringInfo = vector | type | (hasErrorCode ? INTR_INFO_DELIVER_CODE : 0) | INTR_INFO_VALID
      v.idtVectoringErrorCode = errorCode
      if (p.raised === RAISED_VM_EXIT) return p.leaveReason
      if (p.raised !== RAISED_EXCEPTION) throw new Error('event delivery failed without raising anything')
      const second = p.fault.vector
      if (this.intercepted(second)) return this.exceptionExit(INTR_TYPE_HARD_EXCEPTION)
      const first = type === INTR_TYPE_HARD_EXCEPTION ? vector : -1
      if (first === 8) {
        // Neither a triple fault nor a #DF that exits is an exit during event delivery: SDM Vol. 3C, 28.2.4.
        v.idtVectoringInfo = 0
        return EXIT_REASON_TRIPLE_FAULT
      }
      type = INTR_TYPE_HARD_EXCEPTION
      if ((isContributory(first) && isContributory(second)) || (first === 14 && (second === 14 || isContributory(second)))) {
        vector = 8
        hasErrorCode = true
        errorCode = 0
        p.fault.vector = 8
        v.idtVectoringInfo = 0
        if (this.intercepted(8)) return this.exceptionExit(type)
      } else {
        vector = second
        hasErrorCode = p.fault.hasErrorCode
        errorCode = p.fault.errorCode
      }
      v.idtVectoringInfo = 0
    }
  }

  /** CR2 and DR6 are written before delivery. */
  private beforeDelivery(vector: number, type: number): void {
    if (type !== INTR_TYPE_HARD_EXCEPTION) return
    const { context: ctx, fault } = this.p
    if (vector === 14 && this.p.raised === RAISED_EXCEPTION) ctx.setCtl(CTL.CR2, fault.addressLo, fault.addressHi)
    if (vector === 1 && this.p.raised === RAISED_EXCEPTION) {
      // DR6[11] is active low (SLD §1); other debug exceptions leave it as it is.
      const busLock = fault.dr6 & DR6_BUS_LOCK
      ctx.setCtl(CTL.DR6, (ctx.ctlLo(CTL.DR6) | (fault.dr6 ^ busLock)) & ~busLock, 0)
    }
    if (vector !== 1 && vector !== 8) ctx.rflagsRest |= 0x10000 // RF in the saved image of a fault
  }

  private tryDeliver(vector: number, type: number, hasErrorCode: boolean, errorCode: number): boolean {
    const ctx = this.p.context
    if ((ctx.ctlLo(CTL.CR0) & CR0_PE) === 0) return this.deliverReal(ctx, vector)
    if (ctx.ctlLo(CTL.EFER) & EFER_LMA) return this.deliverLong(ctx, vector, type, hasErrorCode, errorCode)
    this.p.raiseGeneralProtection('event delivery in 32-bit protected mode is not modelled')
    return false
  }

  private deliverReal(ctx: ExecutionContext, vector: number): boolean {
    const { mem } = ctx
    const slow = this.p.machine.slow
    if (vector * 4 + 3 > (ctx.ctlLo(CTL.IDTR_LIMIT) & 0xffff)) return this.fail(13, 0, 'IDT limit')
    if (!slow.readLinear((ctx.ctlLo(CTL.IDTR_BASE) + vector * 4) | 0, 0, FRAME, 4, false)) return false
    const ip = mem.u16[FRAME >> 1]
    const cs = mem.u16[(FRAME >> 1) + 1]
    mem.u16[FRAME >> 1] = ctx.ripLo
    mem.u16[(FRAME >> 1) + 1] = ctx.selector(SEGMENT.CS)
    mem.u16[(FRAME >> 1) + 2] = ctx.rflags
    const sp = (ctx.lo(REG.RSP) - 6) & 0xffff
    if (!slow.writeLinear((ctx.segmentBaseLo(SEGMENT.SS) + sp) | 0, 0, FRAME, 6, false)) return false
    ctx.set(REG.RSP, (ctx.lo(REG.RSP) & ~0xffff) | sp, ctx.hi(REG.RSP))
    ctx.setRip(ip, 0)
    ctx.setSegment(SEGMENT.CS, cs, ctx.attributes(SEGMENT.CS), ctx.limit(SEGMENT.CS), cs << 4, 0)
    ctx.rflagsRest &= ~(RFLAGS_IF | CLEARED | 0x40000)
    return true
  }

  /** SDM Vol. 3, 7.14: 64-bit delivery. */
  private deliverLong(ctx: ExecutionContext, vector: number, type: number, hasErrorCode: boolean, errorCode: number): boolean {
    const p = this.p
    const { mem } = ctx
    const slow = p.machine.slow
    const software = type === INTR_TYPE_SOFT_INTR || type === INTR_TYPE_SOFT_EXCEPTION
    const selectorError = vector * 8 + 2 + (software ? 0 : 1)
    if (vector * 16 + 15 > (ctx.ctlLo(CTL.IDTR_LIMIT) & 0xffff)) return this.fail(13, selectorError, 'IDT limit')
    const entry = addOffset(ctx.ctlLo(CTL.IDTR_BASE), ctx.ctlHi(CTL.IDTR_BASE), vector * 16)
    if (!slow.readLinear(entry.lo, entry.hi, FRAME, 16, false)) return false
    const w = FRAME >> 2
    const [d0, d1, d2] = [mem.i32[w], mem.i32[w + 1], mem.i32[w + 2]]
    const gate = (d1 >> 8) & 0x1f
    if (gate !== 0x0e && gate !== 0x0f) return this.fail(13, selectorError, 'the IDT entry is no 64-bit gate')
    if (software && ctx.cpl > ((d1 >> 13) & 3)) return this.fail(13, selectorError, 'gate DPL below CPL')
    if ((d1 & 0x8000) === 0) return this.fail(11, selectorError, 'gate not present')
    const selector = d0 >>> 16
    const ext = software ? 0 : 1
    if ((selector & ~3) === 0) return this.fail(13, ext, 'null code selector in gate')
    if (!this.readDescriptor(ctx, selector, ext)) return false
    const attributes = this.attributes
    if ((attributes & 0x98) === 0 || (attributes & 0x18) !== 0x18)
      return this.fail(13, (selector & ~3) | ext, 'gate does not point to code')
    const dpl = (attributes >> 5) & 3
    if (dpl > ctx.cpl) return this.fail(13, (selector & ~3) | ext, 'code DPL above CPL')
    if ((attributes & 0x80) === 0) return this.fail(11, (selector & ~3) | ext, 'code segment not present')
    if ((attributes & 0x6000) !== 0x2000) return this.fail(13, (selector & ~3) | ext, 'gate to a segment that is not 64-bit')
    const cpl = (attributes & 4) !== 0 ? ctx.cpl : dpl
    const newAttributes = attributes
    const newLimit = this.limit
    const offsetLo = (d0 & 0xffff) | (d1 & 0xffff0000)
    const ist = d1 & 7
    let spLo = ctx.lo(REG.RSP)
    let spHi = ctx.hi(REG.RSP)
    const changes = cpl !== ctx.cpl
    if (changes || ist !== 0) {
      const at = addOffset(ctx.ctlLo(CTL.TR_BASE), ctx.ctlHi(CTL.TR_BASE), ist !== 0 ? 0x24 + (ist - 1) * 8 : 4 + cpl * 8)
      if (!slow.readLinear(at.lo, at.hi, FRAME, 8, false)) return false
      spLo = mem.i32[w]
      spHi = mem.i32[w + 1]
    }
    spLo &= ~15
    const words = hasErrorCode ? 6 : 5
    const top = addOffset(spLo, spHi, -words * 8)
    if (isCetOn(ctx) && !(slow.probeWrite(top.lo, top.hi, words * 8, false) && p.shadow.planEvent(ctx, cpl, ist))) return false
    this.buildFrame(ctx, hasErrorCode, errorCode)
    if (!slow.writeLinear(top.lo, top.hi, FRAME, words * 8, false)) return false
    if (isCetOn(ctx)) {
      p.shadow.commit(ctx)
      trackFarBranch(p, ctx, cpl)
    }
    ctx.set(REG.RSP, top.lo, top.hi)
    ctx.setSegment(SEGMENT.CS, (selector & ~3) | cpl, newAttributes, newLimit, 0, 0)
    if (changes) ctx.setSegment(SEGMENT.SS, cpl, 0x10000 | (cpl << 5) | 0x93, 0, 0, 0)
    ctx.setRip(offsetLo, d2)
    ctx.rflagsRest &= ~(CLEARED | (gate === 0x0e ? RFLAGS_IF : 0))
    ctx.setCtl(CTL.INTERRUPTIBILITY, ctx.ctlLo(CTL.INTERRUPTIBILITY) & ~3, 0)
    return true
  }

  /** [error code] RIP CS RFLAGS RSP SS, ascending, at FRAME. */
  private buildFrame(ctx: ExecutionContext, hasErrorCode: boolean, errorCode: number): void {
    const i32 = ctx.mem.i32
    let w = FRAME >> 2
    const put = (lo: number, hi: number) => {
      i32[w] = lo
      i32[w + 1] = hi
      w += 2
    }
    if (hasErrorCode) put(errorCode, 0)
    put(ctx.ripLo, ctx.ripHi)
    put(ctx.selector(SEGMENT.CS), 0)
    put(ctx.rflags, 0)
    put(ctx.lo(REG.RSP), ctx.hi(REG.RSP))
    put(ctx.selector(SEGMENT.SS), 0)
  }

  private attributes = 0
  private limit = 0
  /** Reads a code or data descriptor of the GDT or LDT into `attributes` (VMX format) and `limit`. */
  private readDescriptor(ctx: ExecutionContext, selector: number, ext: number): boolean {
    const local = (selector & 4) !== 0
    const tableLimit = local ? ctx.limit(SEGMENT.LDTR) : ctx.ctlLo(CTL.GDTR_LIMIT) & 0xffff
    if ((selector & ~7) + 7 > tableLimit) return this.fail(13, (selector & ~3) | ext, 'selector outside its table')
    const at = addOffset(
      local ? ctx.ctlLo(CTL.LDTR_BASE) : ctx.ctlLo(CTL.GDTR_BASE),
      local ? ctx.ctlHi(CTL.LDTR_BASE) : ctx.ctlHi(CTL.GDTR_BASE),
      selector & ~7,
    )
    if (!this.p.machine.slow.readLinear(at.lo, at.hi, FRAME, 8, false)) return false
    const lo = ctx.mem.i32[FRAME >> 2]
    const hi = ctx.mem.i32[(FRAME >> 2) + 1]
    this.attributes = ((hi >> 8) & 0xff) | ((hi >> 8) & 0xf000)
    const limit = (lo & 0xffff) | (hi & 0xf0000)
    this.limit = hi & 0x800000 ? (limit << 12) | 0xfff : limit
    return true
  }

  private fail(vector: number, errorCode: number, reason: string): boolean {
    this.p.raise(vector, errorCode, reason)
    return false
  }
}

function addOffset(lo: number, hi: number, offset: number): { lo: number; hi: number } {
  const sum = (lo >>> 0) + offset
  return { lo: sum | 0, hi: (hi + Math.floor(sum / 0x100000000)) | 0 }
}
