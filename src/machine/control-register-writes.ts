import {
  CR0_DEFINED,
  cr4Bits,
  EFER_LMA,
  EFER_LME,
  X86_CR0_CD,
  X86_CR0_ET,
  X86_CR0_NW,
  X86_CR0_PE,
  X86_CR0_PG,
  X86_CR0_WP,
  X86_CR4_CET,
  X86_CR4_LA57,
  X86_CR4_PAE,
  X86_CR4_PCIDE,
} from '../isa/control-registers.ts'
import type { CpuModel } from '../isa/cpu-model.ts'
import { ATTR_L } from './descriptors.ts'
import { CTL, type ExecutionContext } from './execution-context.ts'
import { SEGMENT } from './memory-map.ts'

/**
 * MOV to CR0 and CR4 as the processor itself does it, for code that is not in a guest (a guest's exit before any of these checks).
 * SDM Vol. 3, 2.5, and Vol. 2 "MOV to control registers". @returns why it is #GP(0), or null when it is done
 */
export function writeCr0(ctx: ExecutionContext, lo: number, hi: number): string | null {
  const cr4 = ctx.ctlLo(CTL.CR4)
  const paging = (lo & X86_CR0_PG) !== 0
  if (hi !== 0) return 'an upper bit is set'
  if (paging && (lo & X86_CR0_PE) === 0) return 'PG without PE'
  if ((lo & X86_CR0_NW) !== 0 && (lo & X86_CR0_CD) === 0) return 'NW without CD'
  if ((lo & X86_CR0_WP) === 0 && (cr4 & X86_CR4_CET) !== 0) return 'WP cannot be cleared while CR4.CET is set'
  const refused = paging ? startsPaging(ctx, cr4) : stopsPaging(ctx, cr4)
  if (refused !== null) return refused
  ctx.setCtl(CTL.CR0, (lo & CR0_DEFINED) | X86_CR0_ET, 0)
  const efer = ctx.ctlLo(CTL.EFER)
  ctx.setCtl(CTL.EFER, paging && (efer & EFER_LME) !== 0 ? efer | EFER_LMA : efer & ~EFER_LMA, ctx.ctlHi(CTL.EFER))
  return null
}
function startsPaging(ctx: ExecutionContext, cr4: number): string | null {
  if ((ctx.ctlLo(CTL.CR0) & X86_CR0_PG) !== 0 || (ctx.ctlLo(CTL.EFER) & EFER_LME) === 0) return null
  if ((cr4 & X86_CR4_PAE) === 0) return 'PG with EFER.LME, without CR4.PAE'
  return (ctx.attributes(SEGMENT.CS) & ATTR_L) !== 0 ? 'PG with EFER.LME and CS.L' : null
}
function stopsPaging(ctx: ExecutionContext, cr4: number): string | null {
  if ((cr4 & X86_CR4_PCIDE) !== 0) return 'PG cannot be cleared while CR4.PCIDE is set'
  const long = (ctx.ctlLo(CTL.EFER) & EFER_LMA) !== 0 && (ctx.attributes(SEGMENT.CS) & ATTR_L) !== 0
  return long ? 'PG cannot be cleared in 64-bit code' : null
}

/** CR4: reserved is what the model lacks; CET needs CR0.WP (CET-06). */
export function writeCr4(model: CpuModel, ctx: ExecutionContext, lo: number, hi: number): string | null {
  const old = ctx.ctlLo(CTL.CR4)
  const long = (ctx.ctlLo(CTL.EFER) & EFER_LMA) !== 0
  if (hi !== 0 || (lo & ~writableCr4(model)) !== 0) return 'a reserved bit is set'
  if ((lo & X86_CR4_CET) !== 0 && (ctx.ctlLo(CTL.CR0) & X86_CR0_WP) === 0) return 'CET needs CR0.WP'
  if (long && (lo & X86_CR4_PAE) === 0) return 'PAE cannot be cleared in IA-32e mode'
  if (long && ((lo ^ old) & X86_CR4_LA57) !== 0) return 'LA57 cannot be changed in IA-32e mode'
  if ((lo & ~old & X86_CR4_PCIDE) !== 0 && (!long || (ctx.ctlLo(CTL.CR3) & 0xfff) !== 0))
    return 'PCIDE outside IA-32e mode, or with CR3[11:0] set'
  ctx.setCtl(CTL.CR4, lo, 0)
  return null
}
function writableCr4(model: CpuModel): number {
  let mask = 0
  for (const bit of cr4Bits) if (bit.features.length === 0 || bit.features.some((f) => model.has(f))) mask |= bit.mask
  return mask
}
