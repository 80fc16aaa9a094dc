import { trackFarBranch } from '../../branch-tracker.ts'
import { ATTR_CODE, ATTR_CONFORMING, ATTR_DB, ATTR_L, ATTR_P, ATTR_S, ATTR_UNUSABLE } from '../../descriptors.ts'
import { CTL, type ExecutionContext, REG } from '../../execution-context.ts'
import { MODE, SCRATCH_BASE, SEGMENT, SPILL } from '../../memory-map.ts'
import { MODE_CODE_64, MODE_CODE_MASK } from '../../mode.ts'
import type { Processor } from '../../processor.ts'
import { carryInto } from '../../shadow-transfer.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { EXIT_FAULT_EXACT, EXIT_RESYNC } from '../../translate/emitter.ts'
import { generalProtection } from './outcome.ts'

/** IRET and far returns, jumps and calls (SDM Vol. 2). Task switches and call gates are not modelled: #GP. */

const FRAME = SCRATCH_BASE + 0x300
const EFER_LMA = 0x400
/** RFLAGS bits IRET takes at CPL 0: all that exist; IOPL only at CPL 0, IF only at CPL <= IOPL. */
const RFLAGS_RETURNED = 0x254dd5 | 0x10000
const RFLAGS_IF = 0x200
const RFLAGS_IOPL = 0x3000

const in64 = (ctx: ExecutionContext): boolean => (ctx.mem.u32[(ctx.base + MODE) >> 2] & MODE_CODE_MASK) === MODE_CODE_64

/** Reads `words` stack words of `bytes` each, `skip` bytes above RSP, to FRAME as 8-byte slots. */
function readStack(p: Processor, ctx: ExecutionContext, words: number, bytes: number, skip = 0): boolean {
  const { mem } = ctx
  const sum = (ctx.lo(REG.RSP) >>> 0) + skip
  const lo = in64(ctx) ? sum | 0 : (sum + ctx.segmentBaseLo(SEGMENT.SS)) | 0
  const hi = in64(ctx) ? carryInto(ctx.hi(REG.RSP), sum) : 0
  if (!p.machine.slow.readLinear(lo, hi, FRAME + 64, words * bytes)) return false
  for (let i = 0; i < words; i++) {
    const at = FRAME + 64 + i * bytes
    mem.i32[(FRAME >> 2) + i * 2] = bytes === 2 ? mem.u16[at >> 1] : mem.i32[at >> 2]
    mem.i32[(FRAME >> 2) + i * 2 + 1] = bytes === 8 ? mem.i32[(at >> 2) + 1] : 0
  }
  return true
}
const slotLo = (ctx: ExecutionContext, i: number): number => ctx.mem.i32[(FRAME >> 2) + i * 2]
const slotHi = (ctx: ExecutionContext, i: number): number => ctx.mem.i32[(FRAME >> 2) + i * 2 + 1]

/** Checks a return's code selector and leaves its descriptor in `p.descriptors.d`; false after raising. */
function checkReturnCode(p: Processor, ctx: ExecutionContext, selector: number): boolean {
  const reader = p.descriptors
  if ((selector & 0xfffc) === 0) return reader.fail(13, 0, 'return to a null code selector')
  if (!reader.inTable(ctx, selector)) return reader.fail(13, selector & 0xfffc, 'selector outside its table')
  if (!reader.read(ctx, selector)) return false
  const { attributes } = reader.d
  const dpl = (attributes >> 5) & 3
  const rpl = selector & 3
  if ((attributes & (ATTR_S | ATTR_CODE)) !== (ATTR_S | ATTR_CODE))
    return reader.fail(13, selector & 0xfffc, 'return to a selector that is not code')
  if (rpl < ctx.cpl) return reader.fail(13, selector & 0xfffc, 'return to a higher privilege')
  if (attributes & ATTR_CONFORMING ? dpl > rpl : dpl !== rpl)
    return reader.fail(13, selector & 0xfffc, 'DPL of the return segment')
  if ((attributes & ATTR_P) === 0) return reader.fail(11, selector & 0xfffc, 'return segment not present')
  const long = (ctx.ctlLo(CTL.EFER) & EFER_LMA) !== 0
  if (long && (attributes & (ATTR_L | ATTR_DB)) === (ATTR_L | ATTR_DB))
    return reader.fail(13, selector & 0xfffc, 'L and D both set')
  return true
}

/** IRET: argument is the operand size in bits. */
registerCallOut('iret', (p, ctx, bits) => {
  const bytes = bits / 8
  if ((ctx.ctlLo(CTL.CR0) & 1) === 0) return iretReal(p, ctx, bytes)
  if ((ctx.rflagsRest & 0x4000) !== 0) return generalProtection(p, 'IRET with NT set: task switches are not modelled')
  const wide = in64(ctx)
  if (!readStack(p, ctx, wide ? 5 : 3, bytes)) return EXIT_FAULT_EXACT
  const selector = slotLo(ctx, 1) & 0xffff
  const toOuter = (selector & 3) > ctx.cpl
  if (!wide && toOuter && !readStack(p, ctx, 5, bytes)) return EXIT_FAULT_EXACT
  if (!checkReturnCode(p, ctx, selector)) return EXIT_FAULT_EXACT
  const code = { ...p.descriptors.d }
  const to64 = (code.attributes & ATTR_L) !== 0 && (ctx.ctlLo(CTL.EFER) & EFER_LMA) !== 0
  const hi = slotHi(ctx, 0)
  if (to64 && hi !== (hi << 16) >> 16) return generalProtection(p, 'IRET: RIP is not canonical')
  const rflags = returnedFlags(ctx, slotLo(ctx, 2), bits)
  const [ripLo, ripHi] = [slotLo(ctx, 0), to64 ? hi : 0]
  const linear = to64 ? ripLo : (ripLo + code.baseLo) | 0
  const switchesStack = wide || toOuter
  const [spLo, spHi] = [slotLo(ctx, 3), slotHi(ctx, 3)]
  if (switchesStack && !checkReturnStack(p, ctx, slotLo(ctx, 4) & 0xffff, selector & 3, to64)) return EXIT_FAULT_EXACT
  if (!p.shadow.planReturn(ctx, selector, linear, ripHi, selector & 3, to64, true)) return EXIT_FAULT_EXACT
  p.shadow.commit(ctx)
  if (switchesStack) {
    loadReturnStack(ctx)
    ctx.set(REG.RSP, bits === 16 ? (ctx.lo(REG.RSP) & ~0xffff) | (spLo & 0xffff) : spLo, bits === 64 ? spHi : 0)
  } else popped(ctx, 3 * bytes)
  ctx.setSegment(SEGMENT.CS, selector, code.attributes | 1, code.limit, code.baseLo, 0)
  if (toOuter) dropInnerSegments(ctx, selector & 3)
  ctx.setRip(bits === 16 ? ripLo & 0xffff : ripLo, ripHi)
  ctx.rflags = rflags
  // IRET ends NMI blocking (SDM Vol. 3, 7.7.1).
  ctx.setCtl(CTL.INTERRUPTIBILITY, ctx.ctlLo(CTL.INTERRUPTIBILITY) & ~8, 0)
  return EXIT_RESYNC
})

function returnedFlags(ctx: ExecutionContext, popped_: number, bits: number): number {
  let mask = bits === 16 ? RFLAGS_RETURNED & 0xffff : RFLAGS_RETURNED
  if (ctx.cpl === 0) mask |= RFLAGS_IOPL
  if (ctx.cpl <= ((ctx.rflagsRest >> 12) & 3)) mask |= RFLAGS_IF
  else mask &= ~RFLAGS_IF
  return (ctx.rflags & ~mask) | (popped_ & mask) | 2
}

/** What a return puts into SS: filled by `checkReturnStack`, loaded by `loadReturnStack`. */
const returnStack = { selector: 0, attributes: 0, limit: 0, baseLo: 0 }

/** Checks SS of a return to `cpl`; a null selector is fine for 64-bit code below CPL 3. False after raising. */
function checkReturnStack(p: Processor, ctx: ExecutionContext, selector: number, cpl: number, to64: boolean): boolean {
  const reader = p.descriptors
  returnStack.selector = selector
  if ((selector & 0xfffc) === 0) {
    if (!to64 || cpl === 3 || (selector & 3) !== cpl) return reader.fail(13, 0, 'return to a null stack selector')
    returnStack.attributes = ATTR_UNUSABLE | (cpl << 5) | 0x93
    returnStack.limit = 0xffffffff
    returnStack.baseLo = 0
    return true
  }
  if (!reader.inTable(ctx, selector)) return reader.fail(13, selector & 0xfffc, 'selector outside its table')
  if (!reader.read(ctx, selector)) return false
  const { attributes, limit, baseLo } = reader.d
  if ((selector & 3) !== cpl || ((attributes >> 5) & 3) !== cpl)
    return reader.fail(13, selector & 0xfffc, 'SS: RPL or DPL of the return')
  if ((attributes & (ATTR_S | ATTR_CODE | 2)) !== (ATTR_S | 2))
    return reader.fail(13, selector & 0xfffc, 'SS needs writable data')
  if ((attributes & ATTR_P) === 0) return reader.fail(12, selector & 0xfffc, 'stack segment not present')
  returnStack.attributes = attributes | 1
  returnStack.limit = limit
  returnStack.baseLo = baseLo
  return true
}
function loadReturnStack(ctx: ExecutionContext): void {
  const { selector, attributes, limit, baseLo } = returnStack
  ctx.setSegment(SEGMENT.SS, selector, attributes, limit, baseLo, 0)
}

/** A return to an outer level makes data segments of inner privilege null. */
function dropInnerSegments(ctx: ExecutionContext, cpl: number): void {
  for (const seg of [SEGMENT.ES, SEGMENT.DS, SEGMENT.FS, SEGMENT.GS]) {
    const attributes = ctx.attributes(seg)
    if (attributes & ATTR_UNUSABLE) continue
    const conforming = (attributes & (ATTR_CODE | ATTR_CONFORMING)) === (ATTR_CODE | ATTR_CONFORMING)
    if (!conforming && ((attributes >> 5) & 3) < cpl) ctx.setSegment(seg, 0, ATTR_UNUSABLE, 0, 0, 0)
  }
}

function iretReal(p: Processor, ctx: ExecutionContext, bytes: number): number {
  if (!readStack(p, ctx, 3, bytes)) return EXIT_FAULT_EXACT
  const selector = slotLo(ctx, 1) & 0xffff
  const rip = slotLo(ctx, 0)
  const flags = slotLo(ctx, 2)
  popped(ctx, 3 * bytes)
  ctx.setSelector(SEGMENT.CS, selector)
  ctx.setSegmentBase(SEGMENT.CS, selector << 4, 0)
  ctx.setRip(bytes === 2 ? rip & 0xffff : rip, 0)
  ctx.rflags = bytes === 2 ? (ctx.rflags & ~0xffff) | (flags & 0x7fd5) | 2 : (flags & 0x257fd5) | 2
  return EXIT_RESYNC
}

/** RSP += bytes at the stack-pointer width. */
function popped(ctx: ExecutionContext, bytes: number): void {
  const sum = (ctx.lo(REG.RSP) >>> 0) + bytes
  if (in64(ctx)) ctx.set(REG.RSP, sum | 0, ctx.hi(REG.RSP) + Math.floor(sum / 0x100000000))
  else if (ctx.attributes(SEGMENT.SS) & ATTR_DB) ctx.set(REG.RSP, sum | 0, 0)
  else ctx.set(REG.RSP, (ctx.lo(REG.RSP) & ~0xffff) | (sum & 0xffff), ctx.hi(REG.RSP))
}

/** RETF: argument is the operand size in bits, bytes to release << 8. */
registerCallOut('far-return', (p, ctx, argument) => {
  const bytes = (argument & 0xff) / 8
  const release = argument >>> 8
  if (!readStack(p, ctx, 2, bytes)) return EXIT_FAULT_EXACT
  const selector = slotLo(ctx, 1) & 0xffff
  const ripLo = bytes === 2 ? slotLo(ctx, 0) & 0xffff : slotLo(ctx, 0)
  const ripHi = bytes === 8 ? slotHi(ctx, 0) : 0
  if ((ctx.ctlLo(CTL.CR0) & 1) === 0) {
    ctx.setSelector(SEGMENT.CS, selector)
    ctx.setSegmentBase(SEGMENT.CS, selector << 4, 0)
    popped(ctx, 2 * bytes + release)
  } else {
    if (!checkReturnCode(p, ctx, selector)) return EXIT_FAULT_EXACT
    const d = { ...p.descriptors.d }
    const to64 = (d.attributes & ATTR_L) !== 0
    const cpl = selector & 3
    const toOuter = cpl > ctx.cpl
    if (toOuter) {
      if (!readStack(p, ctx, 2, bytes, 2 * bytes + release)) return EXIT_FAULT_EXACT
      if (!checkReturnStack(p, ctx, slotLo(ctx, 1) & 0xffff, cpl, to64)) return EXIT_FAULT_EXACT
    }
    const linear = to64 ? ripLo : (ripLo + d.baseLo) | 0
    if (!p.shadow.planReturn(ctx, selector, linear, ripHi, cpl, to64, false)) return EXIT_FAULT_EXACT
    p.shadow.commit(ctx)
    if (toOuter) {
      loadReturnStack(ctx)
      ctx.set(REG.RSP, slotLo(ctx, 0), bytes === 8 ? slotHi(ctx, 0) : 0)
    }
    ctx.setSegment(SEGMENT.CS, selector, d.attributes | 1, d.limit, d.baseLo, 0)
    if (toOuter) dropInnerSegments(ctx, cpl)
    popped(ctx, toOuter ? release : 2 * bytes + release)
  }
  ctx.setRip(ripLo, ripHi)
  return EXIT_RESYNC
})

/** Far JMP and CALL: selector u16 at SPILL + 8, offset at SPILL; argument: operand size in bits, instruction is CALL << 8. */
registerCallOut('far-branch', (p, ctx, argument, info) => {
  const bytes = (argument & 0xff) / 8
  const isCall = argument >> 8 !== 0
  const w = (ctx.base + SPILL) >> 2
  const [lo, hi, selector] = [ctx.mem.i32[w], ctx.mem.i32[w + 1], ctx.mem.i32[w + 2] & 0xffff]
  let d: { attributes: number; limit: number; baseLo: number } | null = null
  const real = (ctx.ctlLo(CTL.CR0) & 1) === 0
  if (!real) {
    const reader = p.descriptors
    if ((selector & 0xfffc) === 0) return generalProtection(p, 'far branch to a null selector')
    if (!reader.inTable(ctx, selector)) return generalProtection(p, 'selector outside its table', selector & 0xfffc)
    if (!reader.read(ctx, selector)) return EXIT_FAULT_EXACT
    d = { ...reader.d }
    if ((d.attributes & (ATTR_S | ATTR_CODE)) !== (ATTR_S | ATTR_CODE))
      return generalProtection(p, 'far branch through a gate or to data is not modelled', selector & 0xfffc)
    const dpl = (d.attributes >> 5) & 3
    if (d.attributes & ATTR_CONFORMING ? dpl > ctx.cpl : dpl !== ctx.cpl || (selector & 3) > ctx.cpl)
      return generalProtection(p, 'far branch: privilege', selector & 0xfffc)
    if ((d.attributes & ATTR_P) === 0) {
      p.raise(11, selector & 0xfffc, 'code segment not present')
      return EXIT_FAULT_EXACT
    }
  }
  const to64 = d !== null && (d.attributes & ATTR_L) !== 0 && (ctx.ctlLo(CTL.EFER) & EFER_LMA) !== 0
  if (isCall) {
    const next = (ctx.ripLo >>> 0) + (info & 0x7f)
    if (!p.shadow.planCall(ctx, to64, next | 0, carryInto(ctx.ripHi, next))) return EXIT_FAULT_EXACT
    if (!pushReturn(p, ctx, bytes, info)) return EXIT_FAULT_EXACT
  } else if (!p.shadow.planJump(ctx, to64)) return EXIT_FAULT_EXACT
  p.shadow.commit(ctx)
  if (d === null) {
    ctx.setSelector(SEGMENT.CS, selector)
    ctx.setSegmentBase(SEGMENT.CS, selector << 4, 0)
  } else ctx.setSegment(SEGMENT.CS, (selector & 0xfffc) | ctx.cpl, d.attributes | 1, d.limit, d.baseLo, 0)
  ctx.setRip(bytes === 2 ? lo & 0xffff : lo, bytes === 8 ? hi : 0)
  trackFarBranch(p, ctx, ctx.cpl)
  return EXIT_RESYNC
})

function pushReturn(p: Processor, ctx: ExecutionContext, bytes: number, info: number): boolean {
  const { mem } = ctx
  const next = (ctx.ripLo >>> 0) + (info & 0x7f)
  mem.i32[FRAME >> 2] = next | 0
  mem.i32[(FRAME >> 2) + 1] = ctx.ripHi + (next >= 0x100000000 ? 1 : 0)
  // Return address below the selector.
  mem.view.setBigUint64(FRAME + bytes, BigInt(ctx.selector(SEGMENT.CS)), true)
  const sp = (ctx.lo(REG.RSP) >>> 0) - 2 * bytes
  const lo = in64(ctx) ? sp | 0 : ((ctx.attributes(SEGMENT.SS) & ATTR_DB ? sp : sp & 0xffff) + ctx.segmentBaseLo(SEGMENT.SS)) | 0
  const hi = in64(ctx) ? ctx.hi(REG.RSP) - (sp < 0 ? 1 : 0) : 0
  if (!p.machine.slow.writeLinear(lo, hi, FRAME, 2 * bytes)) return false
  popped(ctx, -2 * bytes)
  return true
}
