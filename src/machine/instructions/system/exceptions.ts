import { HOST_EXIT_SOFTWARE_INTERRUPT } from '../../exits.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { EXIT_FAULT_EXACT, EXIT_JUMP } from '../../translate/emitter.ts'
import { INTR_TYPE_SOFT_INTR } from '../../vmcs.ts'

/** Assist: raise vector (low byte) with error code (the rest). */
registerCallOut('raise', (p, _ctx, argument) => {
  p.raise(argument & 0xff, argument >>> 8)
  return 1
})

/** Assist: the engine or the CPU model does not have the instruction. The processor notes it once RIP is exact. */
registerCallOut('undefined', (p, _ctx, length) => {
  p.raise(6, 0, 'instruction not supported')
  p.undefinedLength = length
  return 1
})

/** INT3 and INT1: traps, RIP after the instruction. */
registerCallOut('software-exception', (p, ctx, vector, info) => {
  ctx.advanceRip(info & 0x7f)
  p.raise(vector, 0)
  return EXIT_FAULT_EXACT
})

/** INT n. */
registerCallOut('software-interrupt', (p, ctx, vector, info) => {
  ctx.advanceRip(info & 0x7f)
  if (p.vmcs === null) {
    p.raise(vector, 0)
    return p.leaveHost(HOST_EXIT_SOFTWARE_INTERRUPT)
  }
  const reason = p.deliverSoftware(vector, INTR_TYPE_SOFT_INTR)
  return reason < 0 ? EXIT_JUMP : p.vmExit(reason)
})
