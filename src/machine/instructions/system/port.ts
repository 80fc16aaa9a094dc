import { CTL, type ExecutionContext, REG } from '../../execution-context.ts'
import { EXIT_REASON_IO_INSTRUCTION } from '../../exits.ts'
import { SEGMENT, SPILL } from '../../memory-map.ts'
import type { Processor } from '../../processor.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { i32 } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { generalProtection } from './outcome.ts'

/** Argument: port or -1 for DX << 8; size in bytes, bit 3 set for IN. */
registerCallOut('port', (p, ctx, argument) => {
  const port = argument >> 8 < 0 ? ctx.lo(REG.RDX) & 0xffff : argument >> 8
  const size = argument & 7
  if (!mayUsePort(p, ctx, port, size))
    return generalProtection(p, `port ${port.toString(16)}h: CPL is above IOPL and the I/O permission bitmap forbids it`)
  return exitForPort(p, port, size, (argument & 8) !== 0, false, false)
})
/** INS and OUTS; argument as in integer/string.ts. The hypervisor does the transfer. */
registerCallOut('port-string', (p, ctx, argument) => {
  const port = ctx.lo(REG.RDX) & 0xffff
  const size = argument & 7
  if (!mayUsePort(p, ctx, port, size))
    return generalProtection(p, `port ${port.toString(16)}h: CPL is above IOPL and the I/O permission bitmap forbids it`)
  if (p.vmcs !== null) p.vmcs.exitQualification = argument
  return exitForPort(p, port, size, (argument & 16) !== 0, true, (argument & 8) !== 0)
})

function exitForPort(p: Processor, port: number, size: number, isIn: boolean, string: boolean, rep: boolean): number {
  const v = p.vmcs
  if (v === null) return generalProtection(p, 'host programs have no ports')
  v.ioPort = port
  v.ioSize = size
  v.ioIn = isIn
  v.ioString = string
  v.ioRep = rep
  return p.vmExit(EXIT_REASON_IO_INSTRUCTION)
}

/** SDM Vol. 1, 19.5: IOPL, then the TSS's permission bitmap. */
function mayUsePort(p: Processor, ctx: ExecutionContext, port: number, size: number): boolean {
  if ((ctx.ctlLo(CTL.CR0) & 1) === 0 || ctx.cpl <= ((ctx.rflagsRest >> 12) & 3)) return true
  if (p.vmcs === null) return false
  const limit = ctx.limit(SEGMENT.TR)
  const tss = ctx.ctlLo(CTL.TR_BASE)
  const tssHi = ctx.ctlHi(CTL.TR_BASE)
  const scratch = ctx.base + SPILL
  if (limit < 0x67 || !p.machine.slow.readLinear((tss + 0x66) | 0, tssHi, scratch, 2, false)) return false
  const at = ctx.mem.u16[scratch >> 1] + (port >> 3)
  if (at + 1 > limit || !p.machine.slow.readLinear((tss + at) | 0, tssHi, scratch, 2, false)) return false
  return ((ctx.mem.u16[scratch >> 1] >> (port & 7)) & ((1 << size) - 1)) === 0
}

const portOf = (s: InstructionSite, op: number): number => (s.isRegister(op) ? -1 : s.d.immediateLo & 0xff)
define('IN', (s) => s.callOut('port', i32((portOf(s, 1) << 8) | (s.bitsOf(0) / 8) | 8)))
define('OUT', (s) => s.callOut('port', i32((portOf(s, 0) << 8) | (s.bitsOf(1) / 8))))
