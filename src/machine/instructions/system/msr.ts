import { cetMsrFault, hasCetMsr, isCetMsr } from '../../cet.ts'
import { CTL, type ExecutionContext, REG } from '../../execution-context.ts'
import { EXIT_REASON_MSR_READ, EXIT_REASON_MSR_WRITE } from '../../exits.ts'
import { CONTROL, PL0_SSP, PL3_SSP, SEGMENT, SEGMENT_BASE, U_CET, XFD, XFD_ERR } from '../../memory-map.ts'
import type { Processor } from '../../processor.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { CONTINUE } from '../../translate/emitter.ts'
import { generalProtection, resync } from './outcome.ts'

/** MSRs that are 64-bit slots of the execution context, by index. */
const CONTEXT_MSRS = new Map<number, number>([
  [0xc0000080, CTL.EFER],
  [0xc0000081, CTL.STAR],
  [0xc0000082, CTL.LSTAR],
  [0xc0000083, CTL.CSTAR],
  [0xc0000084, CTL.FMASK],
  [0xc0000102, CTL.KERNEL_GS_BASE],
  [0xc0000103, CTL.TSC_AUX],
  [0x174, CTL.SYSENTER_CS],
  [0x175, CTL.SYSENTER_ESP],
  [0x176, CTL.SYSENTER_EIP],
  [0x277, CTL.PAT],
  [0x6a2, CTL.S_CET],
  [0x6a8, CTL.INT_SSP_TAB],
])
/** MSRs that are u64 places of the register file. */
const REGISTER_FILE_MSRS = new Map<number, number>([
  [0x6a0, U_CET],
  [0x6a4, PL0_SSP],
  [0x6a5, PL0_SSP + 8],
  [0x6a6, PL0_SSP + 16],
  [0x6a7, PL3_SSP],
])
const MSR_FS_BASE = 0xc0000100
const MSR_GS_BASE = 0xc0000101
const MSR_IA32_XFD = 0x1c4
const MSR_IA32_XFD_ERR = 0x1c5
/** MSRs whose value must be a canonical address. */
const CANONICAL = new Set([0xc0000082, 0xc0000083, 0xc0000102, MSR_FS_BASE, MSR_GS_BASE, 0x175, 0x176])

/** Wasm offset of an MSR that is a place in memory, or -1. */
function placeOf(p: Processor, ctx: ExecutionContext, index: number): number {
  const file = REGISTER_FILE_MSRS.get(index)
  if (file !== undefined) return p.registerFile + file
  const slot = slotOffset(index)
  return slot < 0 ? -1 : ctx.base + slot
}
function slotOffset(index: number): number {
  if (index === MSR_FS_BASE) return SEGMENT_BASE + SEGMENT.FS * 8
  if (index === MSR_GS_BASE) return SEGMENT_BASE + SEGMENT.GS * 8
  const slot = CONTEXT_MSRS.get(index)
  return slot === undefined ? -1 : CONTROL + slot * 8
}

/** RDMSR at CPL 0 by a guest, of an MSR that does not exit. */
registerCallOut('rdmsr', (p, ctx) => {
  if (ctx.cpl !== 0) return generalProtection(p, 'RDMSR at CPL above 0')
  const index = ctx.lo(REG.RCX) >>> 0
  if (p.vmcs?.controls.msrReadExits(index)) return p.vmExit(EXIT_REASON_MSR_READ)
  if (isCetMsr(index) && !hasCetMsr(p.machine.model, index)) return otherMsr(p, EXIT_REASON_MSR_READ)
  const at = placeOf(p, ctx, index)
  if (at >= 0) {
    const w = at >> 2
    return result(ctx, ctx.mem.i32[w], ctx.mem.i32[w + 1])
  }
  if (index === MSR_IA32_XFD) return result(ctx, p.registerFile32(XFD), 0)
  if (index === MSR_IA32_XFD_ERR) return result(ctx, p.registerFile32(XFD_ERR), 0)
  return otherMsr(p, EXIT_REASON_MSR_READ)
})

registerCallOut('wrmsr', (p, ctx, _argument, info) => {
  if (ctx.cpl !== 0) return generalProtection(p, 'WRMSR at CPL above 0')
  const index = ctx.lo(REG.RCX) >>> 0
  if (p.vmcs?.controls.msrWriteExits(index)) return p.vmExit(EXIT_REASON_MSR_WRITE)
  const lo = ctx.lo(REG.RAX)
  const hi = ctx.lo(REG.RDX)
  if (CANONICAL.has(index) && hi !== (hi << 16) >> 16)
    return generalProtection(p, `WRMSR ${index.toString(16)}: the value is not canonical`)
  if (isCetMsr(index)) {
    if (!hasCetMsr(p.machine.model, index)) return otherMsr(p, EXIT_REASON_MSR_WRITE)
    const refused = cetMsrFault(p.machine.model, index, lo, hi)
    if (refused !== null) return generalProtection(p, `WRMSR ${index.toString(16)}: ${refused}`)
  }
  const at = placeOf(p, ctx, index)
  if (at >= 0) {
    const w = at >> 2
    ctx.mem.i32[w] = lo
    ctx.mem.i32[w + 1] = hi
    return resync(ctx, info)
  }
  if (index === MSR_IA32_XFD || index === MSR_IA32_XFD_ERR) return writeXfd(p, ctx, index, lo, hi, info)
  return otherMsr(p, EXIT_REASON_MSR_WRITE)
})

function writeXfd(p: Processor, ctx: ExecutionContext, index: number, lo: number, hi: number, info: number): number {
  if (hi !== 0 || (lo & ~p.machine.model.xstate.xfdMask) !== 0)
    return generalProtection(p, 'WRMSR IA32_XFD: a bit is not supported')
  p.setRegisterFile32(index === MSR_IA32_XFD ? XFD : XFD_ERR, lo)
  return resync(ctx, info)
}

/** An MSR that no exit was asked for and that has no slot: the hypervisor decides after all; without one it does not exist. */
function otherMsr(p: Processor, reason: number): number {
  return p.vmcs === null ? generalProtection(p, 'no such MSR') : p.vmExit(reason)
}

function result(ctx: ExecutionContext, lo: number, hi: number): number {
  ctx.set32(REG.RAX, lo)
  ctx.set32(REG.RDX, hi)
  return CONTINUE
}

define('RDMSR', (s) => s.callOut('rdmsr'))
define('WRMSR', (s) => s.callOut('wrmsr'))
