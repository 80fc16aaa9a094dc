import { Register } from '../../decoder/iced-tables.ts'
import { ATTR_S } from '../../descriptors.ts'
import { CTL, type ExecutionContext, REG } from '../../execution-context.ts'
import { RFLAGS_ZF } from '../../flags.ts'
import { MODE, SEGMENT, SEGMENT_BASE, SPILL } from '../../memory-map.ts'
import { MODE_CODE_64, MODE_CODE_MASK } from '../../mode.ts'
import type { Processor } from '../../processor.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { CONTINUE, EXIT_FAULT_EXACT } from '../../translate/emitter.ts'
import { i32, low, zeroExtend } from '../../translate/expr.ts'
import { gprNumber } from '../../translate/instruction.ts'
import { isSegmentRegister } from '../integer/move.ts'
import { generalProtection, resync, undefinedOpcode } from './outcome.ts'

const X86_CR4_FSGSBASE = 1 << 16
const CR0_PE = 1
const RFLAGS_VM = 1 << 17
const isReal = (ctx: ExecutionContext): boolean => (ctx.ctlLo(CTL.CR0) & CR0_PE) === 0 || (ctx.rflagsRest & RFLAGS_VM) !== 0

/** Loads a data segment register; real mode derives the base from the selector. */
export function loadSegment(p: Processor, ctx: ExecutionContext, seg: number, selector: number): boolean {
  if (!isReal(ctx)) return p.descriptors.loadData(ctx, seg, selector)
  ctx.setSelector(seg, selector)
  ctx.setSegmentBase(seg, selector << 4, 0)
  return true
}

/** MOV Sreg: the selector is at SPILL; argument: SEGMENT number. MOV SS holds events off for one instruction. */
registerCallOut('mov-segment', (p, ctx, seg, info) => {
  if (seg === SEGMENT.CS) return undefinedOpcode(p, 'MOV to CS')
  if (!loadSegment(p, ctx, seg, ctx.mem.u16[(ctx.base + SPILL) >> 1])) return EXIT_FAULT_EXACT
  if (seg === SEGMENT.SS) ctx.setCtl(CTL.INTERRUPTIBILITY, ctx.ctlLo(CTL.INTERRUPTIBILITY) | 2, 0)
  return resync(ctx, info)
})
/** POP Sreg: argument: SEGMENT number, operand size << 8. */
registerCallOut('pop-segment', (p, ctx, argument, info) => {
  const seg = argument & 0xff
  const bytes = argument >> 11
  const wide = (ctx.mem.u32[(ctx.base + MODE) >> 2] & MODE_CODE_MASK) === MODE_CODE_64
  const lo = wide ? ctx.lo(REG.RSP) : (ctx.lo(REG.RSP) + ctx.segmentBaseLo(SEGMENT.SS)) | 0
  if (!p.machine.slow.readLinear(lo, wide ? ctx.hi(REG.RSP) : 0, ctx.base + SPILL, 2)) return EXIT_FAULT_EXACT
  if (!loadSegment(p, ctx, seg, ctx.mem.u16[(ctx.base + SPILL) >> 1])) return EXIT_FAULT_EXACT
  const sum = (ctx.lo(REG.RSP) >>> 0) + bytes
  ctx.set(REG.RSP, sum | 0, wide && sum >= 0x100000000 ? ctx.hi(REG.RSP) + 1 : ctx.hi(REG.RSP))
  if (seg === SEGMENT.SS) ctx.setCtl(CTL.INTERRUPTIBILITY, ctx.ctlLo(CTL.INTERRUPTIBILITY) | 2, 0)
  return resync(ctx, info)
})
define(
  'MOV',
  (s) => {
    s.e.setCtx32(
      SPILL,
      s.isMemory(1) ? s.e.loadInt(s.memoryAddress(), 16) : s.readGpr(Register.AX + gprNumber(s.d.opRegister[1])),
    )
    s.callOut('mov-segment', i32(s.d.opRegister[0] - Register.ES))
  },
  (d) => d.opKind[0] === 0 && isSegmentRegister(d.opRegister[0]),
)

// ---- FS and GS bases ----

/** An assist that only checks CR4.FSGSBASE. */
registerCallOut('check-fsgsbase', (p, ctx) => {
  if ((ctx.ctlLo(CTL.CR4) & X86_CR4_FSGSBASE) !== 0) return 0
  p.raise(6, 0, 'CR4.FSGSBASE is clear')
  return 1
})
registerCallOut('write-base', (p, ctx, seg) => {
  const w = (ctx.base + SPILL) >> 2
  const hi = ctx.mem.i32[w + 1]
  if (hi !== (hi << 16) >> 16) {
    p.raiseGeneralProtection('WRFSBASE or WRGSBASE: the base is not canonical')
    return 1
  }
  ctx.setSegmentBase(seg, ctx.mem.i32[w], hi)
  return 0
})
for (const [name, seg] of [
  ['FS', SEGMENT.FS],
  ['GS', SEGMENT.GS],
] as const) {
  define(`RD${name}BASE`, (s) => {
    s.assist('check-fsgsbase')
    const base = s.e.let(s.e.ctx64(SEGMENT_BASE + seg * 8))
    s.writeGpr(s.d.opRegister[0], s.bitsOf(0) === 64 ? base : low(64, 32, base))
  })
  define(`WR${name}BASE`, (s) => {
    s.assist('check-fsgsbase')
    s.e.setCtx64(SPILL, zeroExtend(s.bitsOf(0), 64, s.read(0)))
    s.assist('write-base', i32(seg))
  })
}
registerCallOut('swapgs', (p, ctx) => {
  if (ctx.cpl !== 0) return generalProtection(p, 'SWAPGS at CPL above 0')
  const lo = ctx.segmentBaseLo(SEGMENT.GS)
  const hi = ctx.segmentBaseHi(SEGMENT.GS)
  ctx.setSegmentBase(SEGMENT.GS, ctx.ctlLo(CTL.KERNEL_GS_BASE), ctx.ctlHi(CTL.KERNEL_GS_BASE))
  ctx.setCtl(CTL.KERNEL_GS_BASE, lo, hi)
  return CONTINUE
})
define('SWAPGS', (s) => s.callOut('swapgs'))

// ---- LAR, LSL, VERR, VERW: selector at SPILL ----
/** Argument: 0 LAR, 1 LSL, 2 VERR, 3 VERW; destination register << 8; its width << 16. */
registerCallOut('check-selector', (p, ctx, argument) => {
  if (isReal(ctx)) return undefinedOpcode(p, 'LAR, LSL, VERR or VERW in real-address mode')
  const kind = argument & 0xff
  const selector = ctx.mem.u16[(ctx.base + SPILL) >> 1]
  const reader = p.descriptors
  let ok = false
  if ((selector & 0xfffc) !== 0 && reader.inTable(ctx, selector)) {
    if (!reader.read(ctx, selector)) return EXIT_FAULT_EXACT
    ok = visible(ctx, reader.d.attributes, selector, kind)
  }
  ctx.rflags = ok ? ctx.rflags | RFLAGS_ZF : ctx.rflags & ~RFLAGS_ZF
  if (ok && kind < 2) {
    const value = kind === 0 ? reader.d.hi & 0x00ffff00 : reader.d.limit | 0
    const register = (argument >> 8) & 0xff
    if (argument >> 16 === 16) ctx.set(register, (ctx.lo(register) & ~0xffff) | (value & 0xffff), ctx.hi(register))
    else ctx.set32(register, value)
  }
  return CONTINUE
})
/** System types LAR and LSL accept in IA-32e and protected mode alike: TSS and LDT; LAR also call gates. */
const LSL_SYSTEM = new Set([1, 2, 3, 9, 11])
function visible(ctx: ExecutionContext, attributes: number, selector: number, kind: number): boolean {
  const type = attributes & 15
  const dpl = (attributes >> 5) & 3
  const privileged = Math.max(ctx.cpl, selector & 3) <= dpl
  if ((attributes & ATTR_S) === 0)
    return kind < 2 && privileged && (LSL_SYSTEM.has(type) || (kind === 0 && (type === 4 || type === 12)))
  const code = (type & 8) !== 0
  const conforming = code && (type & 4) !== 0
  if (!conforming && !privileged) return false
  if (kind === 2) return !code || (type & 2) !== 0
  if (kind === 3) return !code && (type & 2) !== 0
  return true
}
;(['LAR', 'LSL', 'VERR', 'VERW'] as const).forEach((name, kind) => {
  define(name, (s) => {
    const op = kind < 2 ? 1 : 0
    s.e.setCtx32(
      SPILL,
      s.isMemory(op) ? s.e.loadInt(s.memoryAddress(), 16) : s.readGpr(Register.AX + gprNumber(s.d.opRegister[op])),
    )
    const destination = kind < 2 ? (gprNumber(s.d.opRegister[0]) << 8) | (s.bitsOf(0) << 16) : 0
    s.callOut('check-selector', i32(kind | destination))
  })
})
