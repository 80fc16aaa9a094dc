import { X86_CR4_LA57 } from '../isa/control-registers.ts'
import {
  CET_ENDBR_EN,
  CET_LEG_IW_EN,
  CET_NO_TRACK_EN,
  CET_SUPPRESS,
  CET_SUPPRESS_DIS,
  CET_TRACKER,
  CP_ENDBRANCH,
  cetRegister,
  cetSettings,
  VECTOR_CP,
} from './cet.ts'
import { CTL, type ExecutionContext } from './execution-context.ts'
import { CONTEXT_TAG, MODE, SCRATCH_BASE, SEGMENT } from './memory-map.ts'
import { MODE_CODE_64, MODE_CODE_MASK, MODE_ENDBRANCH_DUE, MODE_IBT } from './mode.ts'
import { type Processor, RAISED_STEP } from './processor.ts'

/**
 * Indirect-branch tracking (SDM Vol. 1, 17.3). Its state is TRACKER and SUPPRESS in IA32_U_CET and IA32_S_CET, always up to
 * date there; MODE_ENDBRANCH_DUE repeats TRACKER, so that what is compiled for it checks the instruction it starts with.
 */

const MAP_BYTE = SCRATCH_BASE + 0x280

/** A far branch or an event arrived at `cpl`: it waits for ENDBRANCH, suppressed or not. Whoever calls this refreshes the mode. */
export function trackFarBranch(p: Processor, ctx: ExecutionContext, cpl: number): void {
  if ((cetSettings(p, ctx, cpl) & CET_ENDBR_EN) === 0) return
  const w = cetRegister(p, ctx, cpl) >> 2
  ctx.mem.i32[w] = (ctx.mem.i32[w] & ~CET_SUPPRESS) | CET_TRACKER
}

/** Out of line what compiled code does after a near indirect branch; the instruction jumps next. */
export function trackNearBranch(p: Processor, ctx: ExecutionContext, notrack: boolean): void {
  const { i32, u32 } = ctx.mem
  if ((u32[(ctx.base + MODE) >> 2] & MODE_IBT) === 0) return
  const w = cetRegister(p, ctx, ctx.cpl) >> 2
  if ((i32[w] & (notrack ? CET_SUPPRESS | CET_NO_TRACK_EN : CET_SUPPRESS)) !== 0) return
  i32[w] |= CET_TRACKER
  u32[(ctx.base + MODE) >> 2] |= MODE_ENDBRANCH_DUE
  u32[(ctx.base + CONTEXT_TAG) >> 2] |= MODE_ENDBRANCH_DUE
}

/**
 * The instruction at RIP should have been ENDBRANCH: raises #CP(3), or, where the legacy bitmap has its page, has it run
 * without. TRACKER stays set after #CP.
 */
export function missEndbranch(p: Processor, ctx: ExecutionContext): void {
  const w = cetRegister(p, ctx, ctx.cpl) >> 2
  const settings = ctx.mem.i32[w]
  const listed = settings & CET_LEG_IW_EN ? legacyBitmapBit(p, ctx, settings & ~0xfff, ctx.mem.i32[w + 1]) : 0
  if (listed < 0) return
  if (listed === 0) {
    p.raise(VECTOR_CP, CP_ENDBRANCH, 'no ENDBRANCH at the target of an indirect branch')
    return
  }
  ctx.mem.i32[w] = (settings & ~(CET_TRACKER | CET_SUPPRESS)) | (settings & CET_SUPPRESS_DIS ? 0 : CET_SUPPRESS)
  p.refresh()
  p.raised = RAISED_STEP
}

/** Bit of the page of RIP in the legacy bitmap; -1 after raising the page fault of reading it. */
function legacyBitmapBit(p: Processor, ctx: ExecutionContext, baseLo: number, baseHi: number): number {
  const long = (ctx.mem.u32[(ctx.base + MODE) >> 2] & MODE_CODE_MASK) === MODE_CODE_64
  const lo = long ? ctx.ripLo : (ctx.ripLo + ctx.segmentBaseLo(SEGMENT.CS)) | 0
  // Linear-address bits above the paging mode's width are no part of the index.
  const hi = long ? ctx.ripHi & (ctx.ctlLo(CTL.CR4) & X86_CR4_LA57 ? 0x1ffffff : 0xffff) : 0
  const at = (baseLo >>> 0) + (((lo >>> 15) | (hi << 17)) >>> 0)
  const atHi = (baseHi + (hi >>> 15) + (at >= 0x100000000 ? 1 : 0)) | 0
  if (!p.machine.slow.readLinear(at | 0, atHi, MAP_BYTE, 1)) return -1
  return (ctx.mem.u8[MAP_BYTE] >> ((lo >>> 12) & 7)) & 1
}
