import { X86_CR4_CET } from '../isa/control-registers.ts'
import type { CpuModel } from '../isa/cpu-model.ts'
import { MSR_IA32_INT_SSP_TAB, MSR_IA32_PL0_SSP, MSR_IA32_S_CET, MSR_IA32_U_CET } from '../isa/msr-index.ts'
import { CTL, type ExecutionContext } from './execution-context.ts'
import { CONTROL, U_CET } from './memory-map.ts'
import type { Processor } from './processor.ts'

/** Bits of IA32_U_CET and IA32_S_CET (CET-03; SDM Vol. 1, 17.2 and 17.3). Bits 63:12 are the base of the legacy bitmap. */
export const CET_SH_STK_EN = 1 << 0
export const CET_WR_SHSTK_EN = 1 << 1
export const CET_ENDBR_EN = 1 << 2
export const CET_LEG_IW_EN = 1 << 3
export const CET_NO_TRACK_EN = 1 << 4
export const CET_SUPPRESS_DIS = 1 << 5
export const CET_RESERVED = 0x3c0
export const CET_SUPPRESS = 1 << 10
/** The next instruction must be ENDBRANCH. */
export const CET_TRACKER = 1 << 11

export const VECTOR_CP = 21
/** #CP error codes (CET-53). */
export const CP_NEAR_RET = 1
export const CP_FAR_RET_IRET = 2
export const CP_ENDBRANCH = 3
export const CP_RSTORSSP = 4
export const CP_SETSSBSY = 5

const CR0_PE = 1
const RFLAGS_VM = 1 << 17

/** Wasm offset of IA32_U_CET (CPL 3) or IA32_S_CET (below). */
export const cetRegister = (p: Processor, ctx: ExecutionContext, cpl: number): number =>
  cpl === 3 ? p.registerFile + U_CET : ctx.base + CONTROL + CTL.S_CET * 8

/** CR4.CET; without it no part of CET does anything. */
export const isCetOn = (ctx: ExecutionContext): boolean => (ctx.ctlLo(CTL.CR4) & X86_CR4_CET) !== 0

/** Low half of the register that rules code at `cpl`; 0 where CET is off: CR4.CET clear, real-address and virtual-8086 mode (CET-50). */
export function cetSettings(p: Processor, ctx: ExecutionContext, cpl: number): number {
  if (!isCetOn(ctx)) return 0
  if ((ctx.ctlLo(CTL.CR0) & CR0_PE) === 0 || (ctx.rflagsRest & RFLAGS_VM) !== 0) return 0
  return ctx.mem.i32[cetRegister(p, ctx, cpl) >> 2]
}

export const shadowStackEnabled = (p: Processor, ctx: ExecutionContext, cpl: number): boolean =>
  (cetSettings(p, ctx, cpl) & CET_SH_STK_EN) !== 0

// ---- values that WRMSR, XRSTORS and VM entry take; halves are int32 ----
/** Bits of IA32_U_CET and IA32_S_CET that are reserved on the model (CET-03), or SUPPRESS and TRACKER both. */
export function cetSettingsFault(model: CpuModel, lo: number, hi: number): string | null {
  let reserved = CET_RESERVED
  if (!model.has('shstk')) reserved |= CET_SHSTK_BITS
  if (!model.has('ibt')) reserved |= ~(CET_RESERVED | CET_SHSTK_BITS)
  if ((lo & reserved) !== 0 || (hi !== 0 && !model.has('ibt'))) return 'a reserved bit is set'
  return (lo & CET_SUPPRESS) !== 0 && (lo & CET_TRACKER) !== 0 ? 'SUPPRESS and TRACKER are both set' : null
}
const CET_SHSTK_BITS = CET_SH_STK_EN | CET_WR_SHSTK_EN

/** Whether bits 63:`bits` - 1 of an address with this upper half are the same; `bits` is above 32. */
export const isCanonicalAt = (bits: number, hi: number): boolean => (hi << (64 - bits)) >> (64 - bits) === hi

/**
 * Why the processor refuses a value for IA32_U_CET, IA32_S_CET, IA32_PL0_SSP .. IA32_PL3_SSP or IA32_INTERRUPT_SSP_TABLE_ADDR with
 * #GP(0): null if it does not. Canonical means by the processor's width, whatever the paging mode (SDM Vol. 3, 4.5.3; CET-58).
 */
export function cetMsrFault(model: CpuModel, index: number, lo: number, hi: number): string | null {
  if (!isCanonicalAt(model.linearAddrBits, hi)) return 'not canonical'
  if (index === MSR_IA32_U_CET || index === MSR_IA32_S_CET) return cetSettingsFault(model, lo, hi)
  return index !== MSR_IA32_INT_SSP_TAB && (lo & 3) !== 0 ? 'not aligned to 4 bytes' : null
}
export const isCetMsr = (index: number): boolean =>
  (index >= MSR_IA32_PL0_SSP && index <= MSR_IA32_INT_SSP_TAB) || index === MSR_IA32_U_CET || index === MSR_IA32_S_CET
/** Whether the model has the register: those of both kinds of CET with either, those of shadow stacks with shadow stacks. */
export const hasCetMsr = (model: CpuModel, index: number): boolean =>
  model.has('shstk') || (index < MSR_IA32_PL0_SSP && model.has('ibt'))
