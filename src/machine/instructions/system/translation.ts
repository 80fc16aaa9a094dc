import { SPILL } from '../../memory-map.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { generalProtection, resync } from './outcome.ts'

/** INVLPG: the linear address is at SPILL. No exit: guests have a second stage. */
registerCallOut('invlpg', (p, ctx, _argument, info) => {
  if (ctx.cpl !== 0) return generalProtection(p, 'INVLPG at CPL above 0')
  const w = (ctx.base + SPILL) >> 2
  p.space.flushPage(ctx.mem.i32[w], ctx.mem.i32[w + 1])
  return resync(ctx, info)
})

define('INVLPG', (s) => {
  s.e.setCtx64(SPILL, s.memoryAddress())
  s.callOut('invlpg')
})
