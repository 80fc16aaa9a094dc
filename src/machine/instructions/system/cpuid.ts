import { REG } from '../../execution-context.ts'
import { EXIT_REASON_CPUID } from '../../exits.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { CONTINUE } from '../../translate/emitter.ts'

/** CPUID: the processor's own answer, or a VM exit (always taken by a guest). */
registerCallOut('cpuid', (p, ctx) => {
  if (p.vmcs !== null) return p.vmExit(EXIT_REASON_CPUID)
  const answer = p.cpuid(ctx.lo(REG.RAX) >>> 0, ctx.lo(REG.RCX) >>> 0)
  ctx.set32(REG.RAX, answer.eax)
  ctx.set32(REG.RBX, answer.ebx)
  ctx.set32(REG.RCX, answer.ecx)
  ctx.set32(REG.RDX, answer.edx)
  return CONTINUE
})

define('CPUID', (s) => s.callOut('cpuid'))
