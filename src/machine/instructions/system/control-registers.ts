import { X86_CR0_TS, X86_CR4_PCIDE } from '../../../isa/control-registers.ts'
import { writeCr0, writeCr4 } from '../../control-register-writes.ts'
import { OpKind, Register } from '../../decoder/iced-tables.ts'
import { CTL, type ExecutionContext } from '../../execution-context.ts'
import { EXIT_REASON_CR_ACCESS, EXIT_REASON_DR_ACCESS } from '../../exits.ts'
import { SPILL } from '../../memory-map.ts'
import type { Processor } from '../../processor.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { CONTINUE, EXIT_FAULT_EXACT } from '../../translate/emitter.ts'
import { i32 } from '../../translate/expr.ts'
import { gprNumber, type InstructionSite } from '../../translate/instruction.ts'
import { generalProtection, resync, undefinedOpcode } from './outcome.ts'

/**
 * MOV to and from control and debug registers, CLTS, LMSW. A guest's writes of CR0 and CR4, and of CR8 when asked for, exit
 * (qualification: SDM Vol. 3, table 28-3); CR2 and CR3 are read and written directly.
 */

const SLOT: Readonly<Record<number, number>> = { 0: CTL.CR0, 2: CTL.CR2, 3: CTL.CR3, 4: CTL.CR4, 8: CTL.CR8 }
const EFER_LMA = 0x400

/** Argument: control register number, general register << 8. */
registerCallOut('mov-from-cr', (p, ctx, argument) => {
  if (ctx.cpl !== 0) return generalProtection(p, 'MOV from a control register at CPL above 0')
  const cr = argument & 0xff
  const slot = SLOT[cr]
  if (slot === undefined) return undefinedOpcode(p, 'no such control register')
  if (cr === 8 && p.vmcs?.controls.cr8Exiting) return exitForCr(p, cr, 1, argument >> 8)
  const wide = (ctx.ctlLo(CTL.EFER) & EFER_LMA) !== 0
  ctx.set(argument >> 8, ctx.ctlLo(slot), wide ? ctx.ctlHi(slot) : 0)
  return CONTINUE
})
registerCallOut('mov-to-cr', (p, ctx, argument, info) => {
  if (ctx.cpl !== 0) return generalProtection(p, 'MOV to a control register at CPL above 0')
  const cr = argument & 0xff
  const register = argument >> 8
  if (SLOT[cr] === undefined) return undefinedOpcode(p, 'no such control register')
  if (cr === 2) {
    ctx.setCtl(CTL.CR2, ctx.lo(register), ctx.hi(register))
    return CONTINUE
  }
  if (cr === 3) return writeCr3(p, ctx, register, info)
  if (cr === 8 && !p.vmcs?.controls.cr8Exiting) {
    if (ctx.hi(register) !== 0 || ctx.lo(register) >>> 0 > 15) return generalProtection(p, 'MOV CR8: a reserved bit is set')
    ctx.setCtl(CTL.CR8, ctx.lo(register), 0)
    return CONTINUE
  }
  return p.vmcs === null ? writeBare(p, ctx, cr, ctx.lo(register), ctx.hi(register), info) : exitForCr(p, cr, 0, register)
})

/** CR0 and CR4 of code that is in no guest. */
function writeBare(p: Processor, ctx: ExecutionContext, cr: number, lo: number, hi: number, info: number): number {
  const refused = cr === 0 ? writeCr0(ctx, lo, hi) : writeCr4(p.machine.model, ctx, lo, hi)
  return refused === null ? resync(ctx, info) : generalProtection(p, `MOV CR${cr}: ${refused}`)
}

function exitForCr(p: Processor, cr: number, accessType: number, register: number): number {
  p.vmcs!.exitQualification = cr | (accessType << 4) | (register << 8)
  return p.vmExit(EXIT_REASON_CR_ACCESS)
}

function writeCr3(p: Processor, ctx: ExecutionContext, register: number, info: number): number {
  const lo = ctx.lo(register)
  let hi = ctx.hi(register)
  const cr4 = ctx.ctlLo(CTL.CR4)
  if ((ctx.ctlLo(CTL.EFER) & EFER_LMA) !== 0) {
    // Bit 63 (no flush) is allowed with PCIDE; bits 62:MAXPHYADDR must be 0.
    if ((cr4 & X86_CR4_PCIDE) !== 0) hi &= 0x7fffffff
    const limit = p.guestMaxPhysAddr
    if (hi >>> (limit - 32) !== 0) return generalProtection(p, 'MOV CR3: a bit above MAXPHYADDR is set')
  } else hi = 0
  ctx.setCtl(CTL.CR3, lo, hi)
  p.space.flush()
  return resync(ctx, info)
}

registerCallOut('clts', (p, ctx, _argument, info) => {
  if (ctx.cpl !== 0) return generalProtection(p, 'CLTS at CPL above 0')
  if (p.vmcs === null) return writeBare(p, ctx, 0, ctx.ctlLo(CTL.CR0) & ~X86_CR0_TS, 0, info)
  return exitForCr(p, 0, 2, 0)
})
/** LMSW: PE, MP, EM and TS; it sets PE, but does not clear it. */
registerCallOut('lmsw', (p, ctx, _argument, info) => {
  if (ctx.cpl !== 0) return generalProtection(p, 'LMSW at CPL above 0')
  const source = ctx.mem.u16[(ctx.base + SPILL) >> 1]
  const cr0 = ctx.ctlLo(CTL.CR0)
  if (p.vmcs === null) return writeBare(p, ctx, 0, (cr0 & ~14) | (source & 15), 0, info)
  p.vmcs.exitQualification = (3 << 4) | (source << 16)
  return p.vmExit(EXIT_REASON_CR_ACCESS)
})

/** Argument: debug register, general register << 8, write << 16. DR4 and DR5 are DR6 and DR7 unless CR4.DE. */
registerCallOut('mov-dr', (p, ctx, argument, info) => {
  let dr = argument & 0xff
  const register = (argument >> 8) & 0xff
  const write = argument >> 16 !== 0
  if (dr === 4 || dr === 5) {
    if ((ctx.ctlLo(CTL.CR4) & 8) !== 0) return undefinedOpcode(p, 'DR4 or DR5 under CR4.DE')
    dr += 2
  }
  if (ctx.cpl !== 0) return generalProtection(p, 'MOV of a debug register at CPL above 0')
  if ((ctx.ctlLo(CTL.DR7) & 0x2000) !== 0 && !p.vmcs?.controls.drExiting) {
    ctx.setCtl(CTL.DR6, ctx.ctlLo(CTL.DR6) | 0x2000, 0)
    p.raise(1, 0, 'DR7.GD')
    p.fault.dr6 = 0x2000
    return EXIT_FAULT_EXACT
  }
  if (p.vmcs?.controls.drExiting) {
    p.vmcs.exitQualification = dr | (write ? 0 : 0x10) | (register << 8)
    return p.vmExit(EXIT_REASON_DR_ACCESS)
  }
  const slot = dr < 4 ? CTL.DR0 + dr : dr === 6 ? CTL.DR6 : CTL.DR7
  if (!write) {
    ctx.set(register, ctx.ctlLo(slot), ctx.ctlHi(slot))
    return CONTINUE
  }
  if (dr >= 6 && ctx.hi(register) !== 0) return generalProtection(p, 'MOV DR6 or DR7: an upper bit is set')
  const value = ctx.lo(register)
  if (dr === 6) ctx.setCtl(slot, (value & 0x1e00f) | 0xfffe0ff0, 0)
  else if (dr === 7) ctx.setCtl(slot, (value & 0xffff2bff) | 0x400, 0)
  else ctx.setCtl(slot, value, ctx.hi(register))
  return resync(ctx, info)
})

const isCr = (register: number): boolean => register >= Register.CR0 && register <= Register.CR15
const isDr = (register: number): boolean => register >= Register.DR0 && register <= Register.DR15
const bothRegisters = (d: { opKind: readonly number[] }): boolean =>
  d.opKind[0] === OpKind.Register && d.opKind[1] === OpKind.Register

const moveCr = (s: InstructionSite) => {
  const [to, from] = s.d.opRegister
  if (isCr(to)) s.callOut('mov-to-cr', i32((to - Register.CR0) | (gprNumber(from) << 8)))
  else s.callOut('mov-from-cr', i32((from - Register.CR0) | (gprNumber(to) << 8)))
}
const moveDr = (s: InstructionSite) => {
  const [to, from] = s.d.opRegister
  const write = isDr(to)
  const [dr, register] = write ? [to, from] : [from, to]
  if (dr - Register.DR0 > 7) s.raise(6)
  else s.callOut('mov-dr', i32((dr - Register.DR0) | (gprNumber(register) << 8) | (write ? 1 << 16 : 0)))
}
define('MOV', moveCr, (d) => bothRegisters(d) && (isCr(d.opRegister[0]) || isCr(d.opRegister[1])))
define('MOV', moveDr, (d) => bothRegisters(d) && (isDr(d.opRegister[0]) || isDr(d.opRegister[1])))
define('CLTS', (s) => s.callOut('clts'))
define('LMSW', (s) => {
  s.e.setCtx32(SPILL, s.isMemory(0) ? s.e.loadInt(s.memoryAddress(), 16) : s.readGpr(Register.AX + gprNumber(s.d.opRegister[0])))
  s.callOut('lmsw')
})
