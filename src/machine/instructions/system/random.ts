import { RFLAGS_CF } from '../../flags.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { CONTINUE } from '../../translate/emitter.ts'

/** RDRAND and RDSEED: the machine's seeded generator, so that a run repeats; CF = 1, the other flags 0. */
registerCallOut('random', (p, ctx, argument) => {
  const register = argument & 0xff
  const bits = (argument >> 8) & 0xff
  const lo = p.machine.random32()
  if (bits === 64) ctx.set(register, lo, p.machine.random32())
  else if (bits === 32) ctx.set32(register, lo)
  else ctx.set(register, (ctx.lo(register) & ~0xffff) | (lo & 0xffff), ctx.hi(register))
  ctx.rflags = (ctx.rflags & ~0x8d5) | RFLAGS_CF
  return CONTINUE
})
