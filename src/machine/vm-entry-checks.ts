import { X86_CR0_WP } from '../isa/control-registers.ts'
import type { CpuModel } from '../isa/cpu-model.ts'
import { cetSettingsFault, isCanonicalAt, isCetOn } from './cet.ts'
import { CTL, type ExecutionContext } from './execution-context.ts'

/**
 * Whether VM entry takes a guest's CET state (SDM Vol. 3, 27.3.1.1; CET-07, CET-30): CR4.CET needs CR0.WP; IA32_S_CET has no
 * reserved bits, SSP is a multiple of 4, the table's address canonical. The base of the legacy bitmap need not be canonical, and of
 * SSP only the bits above the processor's linear-address width must be the same.
 */
export function entryTakesCetState(model: CpuModel, ctx: ExecutionContext): boolean {
  if (isCetOn(ctx) && (ctx.ctlLo(CTL.CR0) & X86_CR0_WP) === 0) return false
  const settings = ctx.ctlLo(CTL.S_CET)
  const settingsHi = ctx.ctlHi(CTL.S_CET)
  if ((settings | settingsHi) !== 0 && cetSettingsFault(model, settings, settingsHi) !== null) return false
  if ((ctx.ctlLo(CTL.SSP) & 3) !== 0 || !isCanonicalAt(model.linearAddrBits + 1, ctx.ctlHi(CTL.SSP))) return false
  return isCanonicalAt(model.linearAddrBits, ctx.ctlHi(CTL.INT_SSP_TAB))
}
