import { trackFarBranch } from '../../branch-tracker.ts'
import { shadowStackEnabled } from '../../cet.ts'
import { CTL, type ExecutionContext, REG } from '../../execution-context.ts'
import { HOST_EXIT_SYSCALL } from '../../exits.ts'
import { PL3_SSP, SEGMENT } from '../../memory-map.ts'
import type { Processor } from '../../processor.ts'
import { parkUserSsp } from '../../shadow-transfer.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { EXIT_FAULT_EXACT, EXIT_RESYNC } from '../../translate/emitter.ts'

const EFER_SCE = 1
const EFER_LMA = 1 << 10
/** Flat segments as SYSCALL and SYSRET load them (VMX access-rights format). */
const CODE64 = 0xa09b
const CODE64_USER = 0xa0fb
const CODE32_USER = 0xc0fb
const DATA = 0xc093
const DATA_USER = 0xc0f3

/** CET at SYSCALL and SYSENTER, at the old CPL: the handler starts without a shadow stack and with ENDBRANCH (CET-56, CET-57). */
function enterSupervisor(p: Processor, ctx: ExecutionContext): void {
  if (shadowStackEnabled(p, ctx, ctx.cpl)) parkUserSsp(p, ctx)
  if (shadowStackEnabled(p, ctx, 0)) ctx.setCtl(CTL.SSP, 0, 0)
  trackFarBranch(p, ctx, 0)
}
/** SYSRET and SYSEXIT go back to the user's shadow stack. */
function loadUserSsp(p: Processor, ctx: ExecutionContext): void {
  if (!shadowStackEnabled(p, ctx, 3)) return
  const w = (p.registerFile + PL3_SSP) >> 2
  ctx.setCtl(CTL.SSP, ctx.mem.i32[w], ctx.mem.i32[w + 1])
}

/** SYSCALL (SDM Vol. 2B): RCX <- RIP, R11 <- RFLAGS; in host user code it enters the kernel model. */
registerCallOut('syscall', (p, ctx, _argument, info) => {
  if ((ctx.ctlLo(CTL.EFER) & (EFER_SCE | EFER_LMA)) !== (EFER_SCE | EFER_LMA)) {
    p.raise(6, 0, 'SYSCALL: EFER.SCE is clear')
    return EXIT_FAULT_EXACT
  }
  ctx.advanceRip(info & 0x7f)
  ctx.set(REG.RCX, ctx.ripLo, ctx.ripHi)
  const rflags = ctx.rflags & ~0x10000
  ctx.set32(REG.R11, rflags)
  if (p.vmcs === null) return p.leaveHost(HOST_EXIT_SYSCALL)
  ctx.rflags = rflags & ~ctx.ctlLo(CTL.FMASK)
  enterSupervisor(p, ctx)
  const selector = ctx.ctlHi(CTL.STAR) & 0xfffc
  ctx.setSegment(SEGMENT.CS, selector, CODE64, 0xffffffff, 0, 0)
  ctx.setSegment(SEGMENT.SS, (selector + 8) & 0xffff, DATA, 0xffffffff, 0, 0)
  ctx.setRip(ctx.ctlLo(CTL.LSTAR), ctx.ctlHi(CTL.LSTAR))
  return EXIT_RESYNC
})

/** SYSRET: argument 64 (REX.W) or 32. */
registerCallOut('sysret', (p, ctx, bits) => {
  if ((ctx.ctlLo(CTL.EFER) & EFER_SCE) === 0) {
    p.raise(6, 0, 'SYSRET: EFER.SCE is clear')
    return EXIT_FAULT_EXACT
  }
  if (ctx.cpl !== 0) return general(p, 'SYSRET at CPL 3')
  const hi = ctx.hi(REG.RCX)
  if (bits === 64 && hi !== (hi << 16) >> 16) return general(p, 'SYSRET: RCX is not canonical')
  const star = ctx.ctlHi(CTL.STAR) >>> 16
  ctx.rflags = (ctx.lo(REG.R11) & 0x3c7fd7) | 2
  ctx.setRip(ctx.lo(REG.RCX), bits === 64 ? hi : 0)
  ctx.setSegment(SEGMENT.CS, (bits === 64 ? star + 16 : star) | 3, bits === 64 ? CODE64_USER : CODE32_USER, 0xffffffff, 0, 0)
  ctx.setSegment(SEGMENT.SS, (star + 8) | 3, DATA_USER, 0xffffffff, 0, 0)
  loadUserSsp(p, ctx)
  return EXIT_RESYNC
})

/** SYSENTER: host user code has no 64-bit SYSENTER entry (LUX-12). */
registerCallOut('sysenter', (p, ctx) => {
  const selector = ctx.ctlLo(CTL.SYSENTER_CS) & 0xfffc
  if (selector === 0) return general(p, 'SYSENTER: IA32_SYSENTER_CS is 0')
  ctx.rflagsRest &= ~(0x200 | 0x20000)
  enterSupervisor(p, ctx)
  const long = (ctx.ctlLo(CTL.EFER) & EFER_LMA) !== 0
  ctx.set(REG.RSP, ctx.ctlLo(CTL.SYSENTER_ESP), long ? ctx.ctlHi(CTL.SYSENTER_ESP) : 0)
  ctx.setRip(ctx.ctlLo(CTL.SYSENTER_EIP), long ? ctx.ctlHi(CTL.SYSENTER_EIP) : 0)
  ctx.setSegment(SEGMENT.CS, selector, long ? CODE64 : 0xc09b, 0xffffffff, 0, 0)
  ctx.setSegment(SEGMENT.SS, selector + 8, DATA, 0xffffffff, 0, 0)
  return EXIT_RESYNC
})

registerCallOut('sysexit', (p, ctx, bits) => {
  const base = ctx.ctlLo(CTL.SYSENTER_CS) & 0xfffc
  if (base === 0 || ctx.cpl !== 0) return general(p, 'SYSEXIT: IA32_SYSENTER_CS is 0, or CPL is not 0')
  const selector = base + (bits === 64 ? 32 : 16)
  ctx.set(REG.RSP, ctx.lo(REG.RCX), bits === 64 ? ctx.hi(REG.RCX) : 0)
  ctx.setRip(ctx.lo(REG.RDX), bits === 64 ? ctx.hi(REG.RDX) : 0)
  ctx.setSegment(SEGMENT.CS, selector | 3, bits === 64 ? CODE64_USER : CODE32_USER, 0xffffffff, 0, 0)
  ctx.setSegment(SEGMENT.SS, (selector + 8) | 3, DATA_USER, 0xffffffff, 0, 0)
  loadUserSsp(p, ctx)
  return EXIT_RESYNC
})

function general(p: Processor, reason: string): number {
  p.raiseGeneralProtection(reason)
  return EXIT_FAULT_EXACT
}
