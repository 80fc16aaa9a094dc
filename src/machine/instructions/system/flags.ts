import { CTL } from '../../execution-context.ts'
import { RFLAGS_ARITHMETIC } from '../../flags.ts'
import { RFLAGS_REST, SPILL } from '../../memory-map.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { CONTINUE } from '../../translate/emitter.ts'
import { and, type Bits, i32, low, or, zeroExtend } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { pop, push } from '../control/branches.ts'
import { generalProtection, resync, undefinedOpcode } from './outcome.ts'

const RFLAGS_IF = 0x200
const RFLAGS_IOPL = 0x3000
const RFLAGS_RF_VM = 0x30000
const RFLAGS_AC = 0x40000
const iopl = (rflags: number): number => (rflags >> 12) & 3

/** STI: sets IF; the next instruction cannot be interrupted when IF was clear. */
registerCallOut('sti', (p, ctx, _argument, info) => {
  const rflags = ctx.rflagsRest
  if (iopl(rflags) < ctx.cpl) return generalProtection(p, 'STI: CPL is above IOPL')
  if ((rflags & RFLAGS_IF) !== 0) return CONTINUE
  ctx.rflagsRest = rflags | RFLAGS_IF
  ctx.setCtl(CTL.INTERRUPTIBILITY, ctx.ctlLo(CTL.INTERRUPTIBILITY) | 1, 0)
  return resync(ctx, info)
})
registerCallOut('cli', (p, ctx) => {
  if (iopl(ctx.rflagsRest) < ctx.cpl) return generalProtection(p, 'CLI: CPL is above IOPL')
  ctx.rflagsRest &= ~RFLAGS_IF
  return CONTINUE
})
/** STAC and CLAC: argument 1 or 0. */
registerCallOut('set-ac', (p, ctx, on, info) => {
  if (ctx.cpl !== 0) return undefinedOpcode(p, 'CLAC or STAC at CPL above 0')
  const before = ctx.rflagsRest
  ctx.rflagsRest = on ? before | RFLAGS_AC : before & ~RFLAGS_AC
  if (ctx.rflagsRest === before) return CONTINUE
  p.space.flush() // cached translations were checked under the old AC
  return resync(ctx, info)
})
/** Second half of POPF: the popped value is at SPILL; argument: operand size. RSP is already moved. */
registerCallOut('popf', (p, ctx, bits, info) => {
  const value = ctx.mem.i32[(ctx.base + SPILL) >> 2]
  const before = ctx.rflags
  let changes = RFLAGS_ARITHMETIC | 0x100 | 0x400 | 0x4000 // TF DF NT
  if (bits > 16) changes |= RFLAGS_AC | 0x200000 // ID
  if (ctx.cpl === 0) changes |= RFLAGS_IOPL
  if (ctx.cpl <= iopl(before)) changes |= RFLAGS_IF
  const after = (before & ~changes & ~RFLAGS_RF_VM) | (value & changes) | 2
  ctx.rflags = after
  const differs = before ^ after
  if ((differs & RFLAGS_AC) !== 0) p.space.flush()
  return (differs & (0x100 | RFLAGS_IF | RFLAGS_AC)) !== 0 || after & 0x100 ? resync(ctx, info) : CONTINUE
})

define('STI', (s) => s.callOut('sti'))
define('CLI', (s) => s.callOut('cli'))
define('STAC', (s) => s.callOut('set-ac', i32(1)))
define('CLAC', (s) => s.callOut('set-ac', i32(0)))

const pushFlags = (bits: Bits) => (s: InstructionSite) => {
  const rest = and(32, s.e.ctx32(RFLAGS_REST), i32(~RFLAGS_RF_VM))
  const all = or(32, rest, s.e.flags.all())
  push(s, bits, bits === 64 ? zeroExtend(32, 64, all) : low(32, bits, all))
}
define('PUSHF', pushFlags(16))
define('PUSHFD', pushFlags(32))
define('PUSHFQ', pushFlags(64))

const popFlags = (bits: Bits) => (s: InstructionSite) => {
  const value = pop(s, bits)
  s.e.setCtx32(SPILL, low(bits, 32, value))
  s.callOut('popf', i32(bits))
}
define('POPF', popFlags(16))
define('POPFD', popFlags(32))
define('POPFQ', popFlags(64))
