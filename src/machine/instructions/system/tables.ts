import { Register } from '../../decoder/iced-tables.ts'
import { CTL, type ExecutionContext } from '../../execution-context.ts'
import { CONTROL, MODE, SEGMENT, SEGMENTS, SPILL } from '../../memory-map.ts'
import { MODE_CODE_64, MODE_CODE_MASK } from '../../mode.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { CONTINUE, EXIT_FAULT_EXACT } from '../../translate/emitter.ts'
import { and, type Expr, i32, load, low, zeroExtend } from '../../translate/expr.ts'
import { gprNumber, type InstructionSite } from '../../translate/instruction.ts'
import { I32, W } from '../../wasm/opcodes.ts'
import { generalProtection, resync } from './outcome.ts'

/** Descriptor-table registers: LGDT, LIDT, SGDT, SIDT, LLDT, LTR, SLDT, STR. */

const X86_CR4_UMIP = 1 << 11
const in64 = (ctx: ExecutionContext): boolean => (ctx.mem.u32[(ctx.base + MODE) >> 2] & MODE_CODE_MASK) === MODE_CODE_64

/** LGDT, LIDT: linear address of the operand at SPILL; argument: base slot. */
registerCallOut('load-table', (p, ctx, slot, info) => {
  if (ctx.cpl !== 0) return generalProtection(p, 'LGDT or LIDT at CPL above 0')
  const w = (ctx.base + SPILL) >> 2
  const wide = in64(ctx)
  const at = ctx.base + SPILL + 16
  if (!p.machine.slow.readLinear(ctx.mem.i32[w], ctx.mem.i32[w + 1], at, wide ? 10 : 6)) return EXIT_FAULT_EXACT
  const hi = wide ? ctx.mem.view.getInt32(at + 6, true) : 0
  if (wide && hi !== (hi << 16) >> 16) return generalProtection(p, 'LGDT or LIDT: the base is not canonical')
  ctx.setCtl(slot, ctx.mem.view.getInt32(at + 2, true), hi)
  ctx.setCtl(slot + 1, ctx.mem.view.getUint16(at, true), 0)
  return resync(ctx, info)
})
registerCallOut('store-table', (p, ctx, slot) => {
  if (ctx.cpl !== 0 && (ctx.ctlLo(CTL.CR4) & X86_CR4_UMIP) !== 0) return generalProtection(p, 'SGDT or SIDT under CR4.UMIP')
  const w = (ctx.base + SPILL) >> 2
  const at = ctx.base + SPILL + 16
  ctx.mem.view.setUint16(at, ctx.ctlLo(slot + 1), true)
  ctx.mem.view.setInt32(at + 2, ctx.ctlLo(slot), true)
  ctx.mem.view.setInt32(at + 6, ctx.ctlHi(slot), true)
  return p.machine.slow.writeLinear(ctx.mem.i32[w], ctx.mem.i32[w + 1], at, in64(ctx) ? 10 : 6) ? CONTINUE : EXIT_FAULT_EXACT
})
for (const [name, slot] of [
  ['GDT', CTL.GDTR_BASE],
  ['IDT', CTL.IDTR_BASE],
] as const) {
  define(`L${name}`, (s) => {
    s.e.setCtx64(SPILL, s.memoryAddress())
    s.callOut('load-table', i32(slot))
  })
  define(`S${name}`, (s) => {
    s.e.setCtx64(SPILL, s.memoryAddress())
    s.callOut('store-table', i32(slot))
  })
}

/** LLDT, LTR: selector at SPILL; argument: SEGMENT.LDTR or SEGMENT.TR. */
registerCallOut('load-system-segment', (p, ctx, seg, info) => {
  if (ctx.cpl !== 0) return generalProtection(p, 'LLDT or LTR at CPL above 0')
  const selector = ctx.mem.u16[(ctx.base + SPILL) >> 1]
  if ((selector & 0xfffc) === 0) {
    if (seg === SEGMENT.TR) return generalProtection(p, 'LTR of a null selector')
    ctx.setSegment(seg, selector, 0x10000, 0, 0, 0)
    return resync(ctx, info)
  }
  const reader = p.descriptors
  const wide = (ctx.ctlLo(CTL.EFER) & 0x400) !== 0
  if ((selector & 4) !== 0 || !reader.inTable(ctx, selector, wide ? 16 : 8))
    return generalProtection(p, 'selector outside the GDT', selector & 0xfffc)
  if (!reader.read(ctx, selector)) return EXIT_FAULT_EXACT
  const type = reader.d.attributes & 0x1f
  const wanted = seg === SEGMENT.LDTR ? type === 2 : type === 9 || (type === 1 && !wide)
  if (!wanted) return generalProtection(p, 'not an LDT or available TSS', selector & 0xfffc)
  if ((reader.d.attributes & 0x80) === 0) {
    p.raise(11, selector & 0xfffc, 'LDT or TSS not present')
    return EXIT_FAULT_EXACT
  }
  if (seg === SEGMENT.TR && !reader.setTypeBits(2)) return EXIT_FAULT_EXACT
  if (wide && !reader.readUpper()) return EXIT_FAULT_EXACT
  const attributes = reader.d.attributes | (seg === SEGMENT.TR ? 2 : 0)
  ctx.setSegment(seg, selector, attributes, reader.d.limit, reader.d.baseLo, reader.d.baseHi)
  return resync(ctx, info)
})
/** An assist: SLDT, STR and SMSW under CR4.UMIP. */
registerCallOut('check-umip', (p, ctx) => {
  if (ctx.cpl === 0 || (ctx.ctlLo(CTL.CR4) & X86_CR4_UMIP) === 0) return 0
  p.raiseGeneralProtection('SLDT, STR or SMSW under CR4.UMIP')
  return 1
})
const selectorOperand = (s: InstructionSite) =>
  s.isMemory(0) ? s.e.loadInt(s.memoryAddress(), 16) : s.readGpr(Register.AX + gprNumber(s.d.opRegister[0]))
for (const [load_, store, seg] of [
  ['LLDT', 'SLDT', SEGMENT.LDTR],
  ['LTR', 'STR', SEGMENT.TR],
] as const) {
  define(load_, (s) => {
    s.e.setCtx32(SPILL, selectorOperand(s))
    s.callOut('load-system-segment', i32(seg))
  })
  define(store, (s) => {
    s.assist('check-umip')
    const selector = s.e.let(load(W.i32_load16_u, I32, s.e.ctx, SEGMENTS + seg * 16))
    storeWord(s, selector)
  })
}
/** A 16-bit value into memory, or zero-extended into a register of any width. */
function storeWord(s: InstructionSite, value: Expr): void {
  if (s.isMemory(0)) s.e.storeInt(s.memoryAddress(), 16, value)
  else s.write(0, zeroExtend(16, s.bitsOf(0), value))
}
define('SMSW', (s) => {
  s.assist('check-umip')
  const cr0 = s.e.let(s.e.ctx32(CONTROL + CTL.CR0 * 8))
  if (s.isMemory(0)) s.e.storeInt(s.memoryAddress(), 16, and(32, cr0, i32(0xffff)))
  else s.write(0, s.bitsOf(0) === 64 ? zeroExtend(32, 64, cr0) : low(32, s.bitsOf(0), cr0))
})
