import { REG } from '../../execution-context.ts'
import { EXIT_REASON_HLT, EXIT_REASON_INVD, EXIT_REASON_MONITOR, EXIT_REASON_MWAIT, EXIT_REASON_WBINVD } from '../../exits.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { CONTINUE } from '../../translate/emitter.ts'
import { i32 } from '../../translate/expr.ts'
import { generalProtection, undefinedOpcode } from './outcome.ts'

/** Instructions that wait, or that act on caches; at CPL 0 only a guest runs, so all of them exit or do nothing. */

registerCallOut('hlt', (p, ctx) => {
  if (ctx.cpl !== 0) return generalProtection(p, 'HLT at CPL above 0')
  if (p.vmcs === null || !p.vmcs.controls.hltExiting) return generalProtection(p, 'HLT without anyone to wake the processor')
  return p.vmExit(EXIT_REASON_HLT)
})
registerCallOut('wbinvd', (p, ctx, invd) => {
  if (ctx.cpl !== 0) return generalProtection(p, 'WBINVD or INVD at CPL above 0')
  return p.vmcs === null ? CONTINUE : p.vmExit(invd ? EXIT_REASON_INVD : EXIT_REASON_WBINVD)
})
registerCallOut('mwait', (p, ctx, monitor) => {
  if (ctx.cpl !== 0) return undefinedOpcode(p, 'MONITOR or MWAIT at CPL above 0')
  if (monitor && ctx.lo(REG.RCX) !== 0) return generalProtection(p, 'MONITOR: unsupported extension in ECX')
  if (p.vmcs?.controls.mwaitExiting) return p.vmExit(monitor ? EXIT_REASON_MONITOR : EXIT_REASON_MWAIT)
  return CONTINUE
})

define('HLT', (s) => s.callOut('hlt'))
define('WBINVD', (s) => s.callOut('wbinvd'))
define('WBNOINVD', (s) => s.callOut('wbinvd'))
define('INVD', (s) => s.callOut('wbinvd', i32(1)))
define('MONITOR', (s) => s.callOut('mwait', i32(1)))
define('MWAIT', (s) => s.callOut('mwait'))
