import { X86_CR4_PCE, X86_CR4_TSD } from '../../../isa/control-registers.ts'
import { CTL, type ExecutionContext, REG } from '../../execution-context.ts'
import { EXIT_REASON_RDPMC, EXIT_REASON_RDTSC, EXIT_REASON_RDTSCP } from '../../exits.ts'
import type { Processor } from '../../processor.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { CONTINUE } from '../../translate/emitter.ts'
import { i32 } from '../../translate/expr.ts'
import { gprNumber } from '../../translate/instruction.ts'
import { generalProtection } from './outcome.ts'

/** EDX:EAX <- virtual TSC, plus the guest's offset. */
function loadTsc(p: Processor, ctx: ExecutionContext): void {
  const tsc = p.tsc()
  let lo = tsc % 0x100000000
  let hi = Math.floor(tsc / 0x100000000)
  if (p.vmcs !== null) {
    lo += ctx.ctlLo(CTL.TSC_OFFSET) >>> 0
    hi += ctx.ctlHi(CTL.TSC_OFFSET) + (lo >= 0x100000000 ? 1 : 0)
  }
  ctx.set32(REG.RAX, lo | 0)
  ctx.set32(REG.RDX, hi | 0)
}

const timeStampDisabled = (ctx: ExecutionContext): boolean => (ctx.ctlLo(CTL.CR4) & X86_CR4_TSD) !== 0 && ctx.cpl !== 0

registerCallOut('rdtsc', (p, ctx) => {
  if (timeStampDisabled(ctx)) return generalProtection(p, 'RDTSC: CR4.TSD is set and CPL is not 0')
  if (p.vmcs?.controls.rdtscExiting) return p.vmExit(EXIT_REASON_RDTSC)
  loadTsc(p, ctx)
  return CONTINUE
})
registerCallOut('rdtscp', (p, ctx) => {
  if (timeStampDisabled(ctx)) return generalProtection(p, 'RDTSCP: CR4.TSD is set and CPL is not 0')
  if (p.vmcs?.controls.rdtscExiting) return p.vmExit(EXIT_REASON_RDTSCP)
  loadTsc(p, ctx)
  ctx.set32(REG.RCX, ctx.ctlLo(CTL.TSC_AUX))
  return CONTINUE
})
registerCallOut('rdpmc', (p, ctx) => {
  if ((ctx.ctlLo(CTL.CR4) & X86_CR4_PCE) === 0 && ctx.cpl !== 0)
    return generalProtection(p, 'RDPMC: CR4.PCE is clear and CPL is not 0')
  if (p.vmcs?.controls.rdpmcExiting) return p.vmExit(EXIT_REASON_RDPMC)
  return generalProtection(p, 'RDPMC: the model has no performance counters')
})
registerCallOut('rdpid', (_p, ctx, register) => {
  ctx.set32(register, ctx.ctlLo(CTL.TSC_AUX))
  return CONTINUE
})

define('RDTSC', (s) => s.callOut('rdtsc'))
define('RDTSCP', (s) => s.callOut('rdtscp'))
define('RDPMC', (s) => s.callOut('rdpmc'))
define('RDPID', (s) => s.callOut('rdpid', i32(gprNumber(s.d.opRegister[0]))))
