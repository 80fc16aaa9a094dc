import { X86_CR4_PKE } from '../../../isa/control-registers.ts'
import { CTL, REG } from '../../execution-context.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { CONTINUE } from '../../translate/emitter.ts'
import { generalProtection, resync, undefinedOpcode } from './outcome.ts'

/** RDPKRU and WRPKRU (SDM Vol. 2B). */
registerCallOut('rdpkru', (p, ctx) => {
  if ((ctx.ctlLo(CTL.CR4) & X86_CR4_PKE) === 0) return undefinedOpcode(p, 'RDPKRU: CR4.PKE is clear')
  if (ctx.lo(REG.RCX) !== 0) return generalProtection(p, 'RDPKRU: ECX is not 0')
  ctx.set32(REG.RAX, p.pkru)
  ctx.set32(REG.RDX, 0)
  return CONTINUE
})
registerCallOut('wrpkru', (p, ctx, _argument, info) => {
  if ((ctx.ctlLo(CTL.CR4) & X86_CR4_PKE) === 0) return undefinedOpcode(p, 'WRPKRU: CR4.PKE is clear')
  if (ctx.lo(REG.RCX) !== 0 || ctx.lo(REG.RDX) !== 0) return generalProtection(p, 'WRPKRU: ECX or EDX is not 0')
  p.loadPkru(ctx.lo(REG.RAX))
  return resync(ctx, info)
})
define('RDPKRU', (s) => s.callOut('rdpkru'))
define('WRPKRU', (s) => s.callOut('wrpkru'))
