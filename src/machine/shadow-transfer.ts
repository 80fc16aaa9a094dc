import { CP_FAR_RET_IRET, shadowStackEnabled, VECTOR_CP } from './cet.ts'
import { CTL, type ExecutionContext } from './execution-context.ts'
import { MODE, PL0_SSP, PL3_SSP, SCRATCH_BASE, SEGMENT } from './memory-map.ts'
import { MODE_CODE_64, MODE_CODE_MASK } from './mode.ts'
import { isCanonical } from './page-walk.ts'
import type { Processor } from './processor.ts'

const ENTRY = SCRATCH_BASE + 0x288
const EFER_LMA = 1 << 10
/** Bit 0 of a supervisor shadow-stack token: some processor is on that stack. */
export const TOKEN_BUSY = 1
/** Words of a far CALL's or an event's frame, downwards from the top. */
const [FRAME_CS, FRAME_LIP, FRAME_SSP] = [0, 1, 2]

/** hi of lo:hi + delta, when `sum` is lo + delta as an unsigned sum. */
export const carryInto = (hi: number, sum: number): number => (hi + Math.floor(sum / 0x100000000)) | 0

/**
 * The shadow-stack half of far transfers and event delivery (SDM Vol. 1, 17.2.2 and 17.2.3; Vol. 2 "CALL", "JMP", "RET", "IRET",
 * "INT n"; CET-51, CET-56), in two steps: `plan…` makes every check and finds the places, and faults with nothing changed;
 * `commit` writes. One per processor.
 */
export class ShadowTransfer {
  private readonly p: Processor
  /** SSP after the transfer; it is loaded only when `loads`. */
  private loads = false
  private sspLo = 0
  private sspHi = 0
  /** The old SSP goes to IA32_PL3_SSP. */
  private parks = false
  /** Wasm offset of a token and the low half it gets; 0: none. */
  private token = 0
  private tokenLo = 0
  /** Wasm offset of the 4 bytes of an alignment hole; 0: none. */
  private hole = 0
  /** Wasm offsets of the frame's words; the first is 0 when there is no frame. */
  private readonly frame = new Float64Array(3)
  private lipLo = 0
  private lipHi = 0

  constructor(processor: Processor) {
    this.p = processor
  }

  // ---- transfers in ----
  /** An event is delivered at `cpl` through a gate with this IST index; RIP is the return address. False after raising. */
  planEvent(ctx: ExecutionContext, cpl: number, ist: number): boolean {
    const changes = cpl !== ctx.cpl
    this.clear()
    this.parks = changes && ctx.cpl === 3 && shadowStackEnabled(this.p, ctx, 3)
    if (!shadowStackEnabled(this.p, ctx, cpl)) return true
    if (!changes && ist === 0) return this.planFrame(ctx, ctx.ctlLo(CTL.SSP), ctx.ctlHi(CTL.SSP), cpl, ctx.ripLo, ctx.ripHi)
    const found = ist !== 0 ? this.readTable(ctx, ist) : this.readPlSsp(ctx, cpl)
    if (!found || !this.takeToken(ctx, cpl)) return false
    return (changes && ctx.cpl === 3) || this.planFrame(ctx, this.sspLo, this.sspHi, cpl, ctx.ripLo, ctx.ripHi)
  }

  /** A far CALL within a privilege level to 64-bit code or other; `returnLo`, `returnHi`: RIP behind it. False after raising. */
  planCall(ctx: ExecutionContext, to64: boolean, returnLo: number, returnHi: number): boolean {
    this.clear()
    if (!shadowStackEnabled(this.p, ctx, ctx.cpl)) return true
    if (!this.reaches(ctx, to64)) return false
    return this.planFrame(ctx, ctx.ctlLo(CTL.SSP), ctx.ctlHi(CTL.SSP), ctx.cpl, returnLo, returnHi)
  }
  /** A far JMP: SSP must be usable in the code it goes to (CET-24b). False after raising. */
  planJump(ctx: ExecutionContext, to64: boolean): boolean {
    this.clear()
    return !shadowStackEnabled(this.p, ctx, ctx.cpl) || this.reaches(ctx, to64)
  }
  private reaches(ctx: ExecutionContext, to64: boolean): boolean {
    return to64 || ctx.ctlHi(CTL.SSP) === 0 || this.generalProtection('SSP is above 4 GiB, and the target is no 64-bit code')
  }

  /** The CS, LIP and SSP of the interrupted code below `topLo`, `topHi`. */
  private planFrame(ctx: ExecutionContext, topLo: number, topHi: number, cpl: number, ripLo: number, ripHi: number): boolean {
    const user = cpl === 3
    if ((topLo & 4) !== 0) {
      this.hole = this.place(topLo, topHi, -4, user)
      if (this.hole === 0) return false
    }
    for (let i = FRAME_CS; i <= FRAME_SSP; i++) {
      this.frame[i] = this.place(topLo & ~7, topHi, -8 - i * 8, user)
      if (this.frame[i] === 0) return false
    }
    const long = in64(ctx)
    this.lipLo = long ? ripLo : (ripLo + ctx.segmentBaseLo(SEGMENT.CS)) | 0
    this.lipHi = long ? ripHi : 0
    this.loadSsp(topLo & ~7, topHi, -24)
    return true
  }

  private readTable(ctx: ExecutionContext, ist: number): boolean {
    const sum = (ctx.ctlLo(CTL.INT_SSP_TAB) >>> 0) + ist * 8
    if (!this.p.machine.slow.readLinear(sum | 0, carryInto(ctx.ctlHi(CTL.INT_SSP_TAB), sum), ENTRY, 8, false)) return false
    this.loadSsp(ctx.mem.i32[ENTRY >> 2], ctx.mem.i32[(ENTRY >> 2) + 1], 0)
    return true
  }
  private readPlSsp(ctx: ExecutionContext, cpl: number): boolean {
    const w = (this.p.registerFile + PL0_SSP + cpl * 8) >> 2
    this.loadSsp(ctx.mem.i32[w], ctx.mem.i32[w + 1], 0)
    return true
  }

  /**
   * The supervisor token at the new SSP: it must hold its own address, not busy, and lie with the frame below it in one aligned
   * piece of 32 bytes (SDM Vol. 2 "INT n", as of 2023). It is made busy by `commit`. Anything else is #GP(0).
   */
  private takeToken(ctx: ExecutionContext, cpl: number): boolean {
    const { sspLo, sspHi } = this
    if ((sspLo & 31) !== 24) return this.generalProtection('the new SSP does not leave room for a frame beside its token')
    const at = this.place(sspLo, sspHi, 0, cpl === 3)
    if (at === 0) return false
    const { i32 } = ctx.mem
    if (i32[at >>> 2] !== sspLo || i32[(at >>> 2) + 1] !== sspHi)
      return this.generalProtection('no supervisor shadow-stack token at the new SSP, or it is busy')
    this.token = at
    this.tokenLo = sspLo | TOKEN_BUSY
    return true
  }

  // ---- returns ----
  /**
   * A far RET or IRET to `selector`:RIP with linear address `lip`, at privilege `cpl`, in 64-bit code or other. Returns inwards
   * were refused before. False after raising #CP(2), #GP or a page fault.
   */
  planReturn(
    ctx: ExecutionContext,
    selector: number,
    lipLo: number,
    lipHi: number,
    cpl: number,
    to64: boolean,
    isIret: boolean,
  ): boolean {
    this.clear()
    const outwards = cpl > ctx.cpl
    const from = shadowStackEnabled(this.p, ctx, ctx.cpl)
    let topLo = ctx.ctlLo(CTL.SSP)
    let topHi = ctx.ctlHi(CTL.SSP)
    if (from) {
      if ((topLo & 7) !== 0) return this.refuse('SSP is not aligned to 8 bytes')
      if (!outwards || cpl !== 3) {
        if (!this.checkFrame(ctx, selector, lipLo, lipHi)) return false
        const sum = (topLo >>> 0) + 24
        topLo = sum | 0
        topHi = carryInto(topHi, sum)
      }
    }
    if (outwards ? shadowStackEnabled(this.p, ctx, cpl) : from) {
      if (outwards && cpl === 3) this.readPlSsp(ctx, 3)
      this.loads = true
      if (to64 ? !isCanonical(ctx, this.sspHi) : this.sspHi !== 0)
        return this.generalProtection('the SSP to return to is no address of that code')
    }
    // An IRET within a level ends a stack switch through an IST unless it stays on this stack.
    const long = (ctx.ctlLo(CTL.EFER) & EFER_LMA) !== 0
    const switches = outwards || (isIret && long && (this.sspLo !== topLo || this.sspHi !== topHi))
    return !from || !switches || this.releaseToken(ctx, topLo, topHi)
  }

  /** Compares the frame at SSP with where the return goes, and takes the old SSP from it. */
  private checkFrame(ctx: ExecutionContext, selector: number, lipLo: number, lipHi: number): boolean {
    const { i32 } = ctx.mem
    // As they are popped: which of them faults can be seen.
    const ssp = this.frameWord(ctx, 0)
    const lip = ssp === 0 ? 0 : this.frameWord(ctx, 8)
    const cs = lip === 0 ? 0 : this.frameWord(ctx, 16)
    if (cs === 0) return false
    if (i32[cs >>> 2] !== selector || i32[(cs >>> 2) + 1] !== 0) return this.refuse('the shadow stack holds another CS')
    if (i32[lip >>> 2] !== lipLo || i32[(lip >>> 2) + 1] !== lipHi)
      return this.refuse('the shadow stack holds another return address')
    if ((i32[ssp >>> 2] & 3) !== 0) return this.refuse('the previous SSP is not aligned to 4 bytes')
    this.sspLo = i32[ssp >>> 2]
    this.sspHi = i32[(ssp >>> 2) + 1]
    return true
  }

  private frameWord(ctx: ExecutionContext, delta: number): number {
    return this.place(ctx.ctlLo(CTL.SSP), ctx.ctlHi(CTL.SSP), delta, ctx.cpl === 3, false)
  }

  /** The stack that is left: a busy token at its top is free from now on. Anything else there stays as it is. */
  private releaseToken(ctx: ExecutionContext, lo: number, hi: number): boolean {
    const at = this.place(lo, hi, 0, ctx.cpl === 3)
    if (at === 0) return false
    const { i32 } = ctx.mem
    if (i32[at >>> 2] !== (lo | TOKEN_BUSY) || i32[(at >>> 2) + 1] !== hi) return true
    this.token = at
    this.tokenLo = lo
    return true
  }

  // ---- carrying out ----
  /** Writes what was planned. CS in the context is still the old one. */
  commit(ctx: ExecutionContext): void {
    const { i32 } = ctx.mem
    const [oldLo, oldHi] = [ctx.ctlLo(CTL.SSP), ctx.ctlHi(CTL.SSP)]
    if (this.parks) parkUserSsp(this.p, ctx)
    if (this.token !== 0) i32[this.token >>> 2] = this.tokenLo
    if (this.hole !== 0) i32[this.hole >>> 2] = 0
    if (this.frame[FRAME_CS] !== 0) {
      const put = (word: number, lo: number, hi: number): void => {
        i32[this.frame[word] >>> 2] = lo
        i32[(this.frame[word] >>> 2) + 1] = hi
      }
      put(FRAME_CS, ctx.selector(SEGMENT.CS), 0)
      put(FRAME_LIP, this.lipLo, this.lipHi)
      put(FRAME_SSP, oldLo, oldHi)
    }
    if (this.loads) ctx.setCtl(CTL.SSP, this.sspLo, this.sspHi)
  }

  private clear(): void {
    this.loads = this.parks = false
    this.token = this.hole = 0
    this.frame.fill(0)
  }
  private loadSsp(lo: number, hi: number, delta: number): void {
    const sum = (lo >>> 0) + delta
    this.loads = true
    this.sspLo = sum | 0
    this.sspHi = carryInto(hi, sum)
  }
  /** Wasm offset of the 8 bytes (4 in a hole) at lo:hi + delta, 0 after a fault. */
  private place(lo: number, hi: number, delta: number, user: boolean, write = true): number {
    const sum = (lo >>> 0) + delta
    return this.p.machine.slow.shadowStack(sum | 0, carryInto(hi, sum), delta === -4 ? 4 : 8, write, user)
  }
  private refuse(why: string): boolean {
    this.p.raise(VECTOR_CP, CP_FAR_RET_IRET, `far return: ${why}`)
    return false
  }
  private generalProtection(why: string): boolean {
    this.p.raiseGeneralProtection(why)
    return false
  }
}

const in64 = (ctx: ExecutionContext): boolean => (ctx.mem.u32[(ctx.base + MODE) >> 2] & MODE_CODE_MASK) === MODE_CODE_64

/** IA32_PL3_SSP := SSP, sign-extended from the processor's linear-address width. */
export function parkUserSsp(p: Processor, ctx: ExecutionContext): void {
  const { i32 } = ctx.mem
  const w = (p.registerFile + PL3_SSP) >> 2
  const unused = 64 - p.machine.model.linearAddrBits
  i32[w] = ctx.ctlLo(CTL.SSP)
  i32[w + 1] = (ctx.ctlHi(CTL.SSP) << unused) >> unused
}
