import { missEndbranch } from '../../branch-tracker.ts'
import { CET_NO_TRACK_EN, CET_SUPPRESS, CET_TRACKER } from '../../cet.ts'
import { CTL } from '../../execution-context.ts'
import { CONTEXT_TAG, CONTROL, MODE, U_CET } from '../../memory-map.ts'
import { MODE_ENDBRANCH_DUE, MODE_IBT } from '../../mode.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { EXIT_FAULT_EXACT } from '../../translate/emitter.ts'
import { and, type Expr, eqz, i32, load, or } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { I32, W } from '../../wasm/opcodes.ts'

/** Indirect-branch tracking in compiled code (SDM Vol. 1, 17.3; CET-52): nothing at all where MODE_IBT is clear. */

const base = (s: InstructionSite): Expr => (s.isUser ? s.e.fpu : s.e.ctx)
const offset = (s: InstructionSite): number => (s.isUser ? U_CET : CONTROL + CTL.S_CET * 8)
const settings = (s: InstructionSite): Expr => s.e.let(load(W.i32_load, I32, base(s), offset(s)))
const setSettings = (s: InstructionSite, value: Expr): void => s.e.store(W.i32_store, base(s), offset(s), value)

/** A near indirect branch that cannot fault any more: what it jumps to must be ENDBRANCH. */
export function trackBranch(s: InstructionSite): void {
  if ((s.mode & MODE_IBT) === 0) return
  const { e } = s
  const now = settings(s)
  e.if(eqz(32, and(32, now, i32(s.d.notrack ? CET_SUPPRESS | CET_NO_TRACK_EN : CET_SUPPRESS))), () => {
    setSettings(s, or(32, now, i32(CET_TRACKER)))
    e.setCtx32(MODE, i32(s.mode | MODE_ENDBRANCH_DUE))
    e.setCtx32(CONTEXT_TAG, or(32, e.ctx32(CONTEXT_TAG), i32(MODE_ENDBRANCH_DUE)))
  })
}

const endbranch = (is64: boolean) => (s: InstructionSite) => {
  if ((s.mode & MODE_IBT) === 0 || s.is64 !== is64) return
  const { e } = s
  setSettings(s, and(32, settings(s), i32(~(CET_TRACKER | CET_SUPPRESS))))
  if ((s.mode & MODE_ENDBRANCH_DUE) === 0) return
  e.setCtx32(MODE, i32(s.mode & ~MODE_ENDBRANCH_DUE))
  e.setCtx32(CONTEXT_TAG, and(32, e.ctx32(CONTEXT_TAG), i32(~MODE_ENDBRANCH_DUE)))
}
define('ENDBR64', endbranch(true))
define('ENDBR32', endbranch(false))

/** In the place of an instruction that should have been ENDBRANCH. */
registerCallOut('miss-endbranch', (p, ctx) => {
  missEndbranch(p, ctx)
  return EXIT_FAULT_EXACT
})
