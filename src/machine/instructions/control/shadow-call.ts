import { trackNearBranch } from '../../branch-tracker.ts'
import { CP_NEAR_RET, VECTOR_CP } from '../../cet.ts'
import { CTL, type ExecutionContext, REG } from '../../execution-context.ts'
import { SEGMENT, SPILL } from '../../memory-map.ts'
import type { Processor } from '../../processor.ts'
import { carryInto } from '../../shadow-transfer.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { ACCESS_STACK, CONTINUE, EXIT_FAULT_EXACT } from '../../translate/emitter.ts'
import { constant } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { fault } from '../system/outcome.ts'

/** Near CALL and RET out of line, while a shadow stack is on: its entries have 8 bytes in 64-bit code, 4 in other (SDM Vol. 2). */

/** The displacement is 0: nothing is pushed on the shadow stack. */
const NO_PUSH = 1
/** The target is no displacement. */
const INDIRECT = 2
const NOTRACK = 4
/** Where the operand size in bits lies in the arguments; for RET the bytes to release are below. */
const CALL_BITS = 8
const RETURN_BITS = 16

/** Emits a CALL whose target is at SPILL; `displacement` of a direct one, else null. */
export function emitShadowCall(s: InstructionSite, bits: number, displacement: number | null): void {
  const kind = displacement === null ? (s.d.notrack ? INDIRECT | NOTRACK : INDIRECT) : displacement === 0 ? NO_PUSH : 0
  s.callOutAndJump('shadow-call', constant(32, kind | (bits << CALL_BITS)))
}
export function emitShadowReturn(s: InstructionSite, bits: number, released: number): void {
  s.callOutAndJump('shadow-return', constant(32, released | (bits << RETURN_BITS)))
}

/** RSP + delta as a linear address. */
let stackLo = 0
let stackHi = 0
function stackAt(ctx: ExecutionContext, delta: number, bytes: number): void {
  const sum = (ctx.lo(REG.RSP) >>> 0) + delta
  if (bytes === 8) {
    stackLo = sum | 0
    stackHi = carryInto(ctx.hi(REG.RSP), sum)
    return
  }
  const offset = ctx.attributes(SEGMENT.SS) & ATTRIBUTE_DB ? sum : sum & 0xffff
  stackLo = (offset + ctx.segmentBaseLo(SEGMENT.SS)) | 0
  stackHi = 0
}
const ATTRIBUTE_DB = 1 << 14
/** RSP += delta at the stack pointer's width. */
function moveStack(ctx: ExecutionContext, delta: number, bytes: number): void {
  const sum = (ctx.lo(REG.RSP) >>> 0) + delta
  if (bytes === 8) ctx.set(REG.RSP, sum | 0, carryInto(ctx.hi(REG.RSP), sum))
  else if (ctx.attributes(SEGMENT.SS) & ATTRIBUTE_DB) ctx.set(REG.RSP, sum | 0, 0)
  else ctx.set(REG.RSP, (ctx.lo(REG.RSP) & ~0xffff) | (sum & 0xffff), ctx.hi(REG.RSP))
}
function moveSsp(ctx: ExecutionContext, delta: number): void {
  const sum = (ctx.ctlLo(CTL.SSP) >>> 0) + delta
  ctx.setCtl(CTL.SSP, sum | 0, carryInto(ctx.ctlHi(CTL.SSP), sum))
}
/** Wasm offset of the entry at SSP + delta, or 0 after a fault. */
function entryAt(p: Processor, ctx: ExecutionContext, delta: number, bytes: number, write: boolean): number {
  const sum = (ctx.ctlLo(CTL.SSP) >>> 0) + delta
  return p.machine.slow.shadowStack(sum | 0, carryInto(ctx.ctlHi(CTL.SSP), sum), bytes, write)
}

registerCallOut('shadow-call', (p, ctx, argument, info) => {
  const { slow } = p.machine
  const { i32: words } = ctx.mem
  const bytes = (argument >> CALL_BITS) / 8
  const entry = bytes === 8 ? 8 : 4
  const w = (ctx.base + SPILL) >> 2
  const next = (ctx.ripLo >>> 0) + (info & 0x7f)
  words[w + 2] = bytes === 2 ? next & 0xffff : next | 0
  words[w + 3] = bytes === 8 ? carryInto(ctx.ripHi, next) : 0
  stackAt(ctx, -bytes, bytes)
  p.lastInfo = info | ACCESS_STACK
  if (!slow.probeWrite(stackLo, stackHi, bytes)) return EXIT_FAULT_EXACT
  p.lastInfo = info
  if ((argument & NO_PUSH) === 0) {
    const shadow = entryAt(p, ctx, -entry, entry, true)
    if (shadow === 0) return EXIT_FAULT_EXACT
    words[shadow >>> 2] = words[w + 2]
    if (entry === 8) words[slow.shadowUpper >>> 2] = words[w + 3]
    moveSsp(ctx, -entry)
  }
  slow.writeLinear(stackLo, stackHi, ctx.base + SPILL + 8, bytes)
  moveStack(ctx, -bytes, bytes)
  ctx.setRip(words[w], words[w + 1])
  if (argument & INDIRECT) trackNearBranch(p, ctx, (argument & NOTRACK) !== 0)
  return CONTINUE
})

registerCallOut('shadow-return', (p, ctx, argument, info) => {
  const { slow } = p.machine
  const { i32: words, u16 } = ctx.mem
  const bytes = (argument >>> RETURN_BITS) / 8
  const entry = bytes === 8 ? 8 : 4
  const at = ctx.base + SPILL
  stackAt(ctx, 0, bytes)
  words[at >> 2] = words[(at >> 2) + 1] = 0
  p.lastInfo = info | ACCESS_STACK
  if (!slow.readLinear(stackLo, stackHi, at, bytes)) return EXIT_FAULT_EXACT
  p.lastInfo = info
  const shadow = entryAt(p, ctx, 0, entry, false)
  if (shadow === 0) return EXIT_FAULT_EXACT
  const rip = bytes === 2 ? u16[at >> 1] : words[at >> 2]
  if (words[shadow >>> 2] !== rip || (entry === 8 && words[slow.shadowUpper >>> 2] !== words[(at >> 2) + 1])) {
    return fault(p, VECTOR_CP, 'RET: the shadow stack holds another return address', CP_NEAR_RET)
  }
  moveSsp(ctx, entry)
  moveStack(ctx, bytes + (argument & 0xffff), bytes)
  ctx.setRip(rip, words[(at >> 2) + 1])
  return CONTINUE
})
