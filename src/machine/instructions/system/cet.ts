import { trackNearBranch } from '../../branch-tracker.ts'
import { CET_WR_SHSTK_EN, CP_NEAR_RET, CP_RSTORSSP, VECTOR_CP } from '../../cet.ts'
import { CTL, type ExecutionContext, REG } from '../../execution-context.ts'
import { RFLAGS_ARITHMETIC, RFLAGS_CF } from '../../flags.ts'
import { CONTROL, SPILL, U_CET } from '../../memory-map.ts'
import { MODE_CODE_64, MODE_CODE_MASK, MODE_SHADOW_STACK } from '../../mode.ts'
import type { Processor } from '../../processor.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { CONTINUE, EXIT_FAULT_EXACT } from '../../translate/emitter.ts'
import { i32, wrap, zeroExtend } from '../../translate/expr.ts'
import { gprNumber, type InstructionSite } from '../../translate/instruction.ts'
import { fault, generalProtection, undefinedOpcode } from './outcome.ts'

/**
 * Shadow stacks (SDM Vol. 1 chapter 17, Vol. 2 per instruction): the instructions, and CALL and RET while they are on. SSP is
 * in the context; 4-byte entries of 32-bit code are not modelled.
 */

const sspLo = (ctx: ExecutionContext): number => ctx.ctlLo(CTL.SSP)
const sspHi = (ctx: ExecutionContext): number => ctx.ctlHi(CTL.SSP)
/** hi of lo:hi + delta, when `sum` is lo + delta as an unsigned sum. */
const carryInto = (hi: number, sum: number): number => (hi + Math.floor(sum / 0x100000000)) | 0
function setSsp(ctx: ExecutionContext, delta: number): void {
  const sum = (sspLo(ctx) >>> 0) + delta
  ctx.setCtl(CTL.SSP, sum | 0, carryInto(sspHi(ctx), sum))
}
/** Wasm offset of the 8 bytes at SSP + delta, or 0 after a fault. */
function entryAt(p: Processor, ctx: ExecutionContext, delta: number, write: boolean): number {
  const sum = (sspLo(ctx) >>> 0) + delta
  return p.machine.slow.shadowStack(sum | 0, carryInto(sspHi(ctx), sum), write)
}

/** Arguments of 'shadow-call': the displacement is 0 (nothing is pushed on the shadow stack then); the target is not a displacement. */
export const CALL_NO_PUSH = 1
export const CALL_INDIRECT = 2
export const CALL_NOTRACK = 4

/** CALL with a shadow stack: target RIP at SPILL. */
registerCallOut('shadow-call', (p, ctx, argument, info) => {
  const noPush = (argument & CALL_NO_PUSH) !== 0
  const { i32: words } = ctx.mem
  const sum = (ctx.ripLo >>> 0) + (info & 0x7f)
  const returnLo = sum | 0
  const returnHi = carryInto(ctx.ripHi, sum)
  const shadow = noPush ? 0 : entryAt(p, ctx, -8, true)
  if (shadow === 0 && !noPush) return EXIT_FAULT_EXACT
  const stack = (ctx.lo(REG.RSP) >>> 0) - 8
  const w = (ctx.base + SPILL) >> 2
  words[w + 2] = returnLo
  words[w + 3] = returnHi
  if (!p.machine.slow.probeWrite(stack | 0, carryInto(ctx.hi(REG.RSP), stack), 8)) return EXIT_FAULT_EXACT
  p.machine.slow.writeLinear(stack | 0, carryInto(ctx.hi(REG.RSP), stack), ctx.base + SPILL + 8, 8)
  if (!noPush) {
    words[shadow >>> 2] = returnLo
    words[(shadow >>> 2) + 1] = returnHi
    setSsp(ctx, -8)
  }
  ctx.set(REG.RSP, stack | 0, carryInto(ctx.hi(REG.RSP), stack))
  ctx.setRip(words[w], words[w + 1])
  if (argument & CALL_INDIRECT) trackNearBranch(p, ctx, (argument & CALL_NOTRACK) !== 0)
  return CONTINUE
})
/** RET with a shadow stack; argument: bytes to release. */
registerCallOut('shadow-return', (p, ctx, released) => {
  const { i32: words } = ctx.mem
  const at = ctx.base + SPILL
  if (!p.machine.slow.readLinear(ctx.lo(REG.RSP), ctx.hi(REG.RSP), at, 8)) return EXIT_FAULT_EXACT
  const shadow = entryAt(p, ctx, 0, false)
  if (shadow === 0) return EXIT_FAULT_EXACT
  if (words[shadow >>> 2] !== words[at >> 2] || words[(shadow >>> 2) + 1] !== words[(at >> 2) + 1]) {
    return fault(p, VECTOR_CP, 'RET: the shadow stack holds another return address', CP_NEAR_RET)
  }
  setSsp(ctx, 8)
  const sum = (ctx.lo(REG.RSP) >>> 0) + 8 + released
  ctx.set(REG.RSP, sum | 0, carryInto(ctx.hi(REG.RSP), sum))
  ctx.setRip(words[at >> 2], words[(at >> 2) + 1])
  return CONTINUE
})

/** INCSSP: argument: register | width << 8. Touches the first and the last entry it skips. */
registerCallOut('incssp', (p, ctx, argument) => {
  const size = argument >> 8 === 64 ? 8 : 4
  const count = ctx.lo(argument & 0xff) & 0xff
  if (count !== 0 && (entryAt(p, ctx, 0, false) === 0 || entryAt(p, ctx, (count - 1) * size, false) === 0))
    return EXIT_FAULT_EXACT
  setSsp(ctx, count * size)
  return CONTINUE
})
registerCallOut('saveprevssp', (p, ctx) => {
  const { i32: words } = ctx.mem
  if ((sspLo(ctx) & 7) !== 0) return generalProtection(p, 'SAVEPREVSSP: SSP is not aligned to 8 bytes')
  const token = entryAt(p, ctx, 0, false)
  if (token === 0) return EXIT_FAULT_EXACT
  const lo = words[token >>> 2]
  const hi = words[(token >>> 2) + 1]
  const hole = (ctx.rflags & RFLAGS_CF) !== 0
  if (hole) {
    const at = entryAt(p, ctx, 8, false)
    if (at === 0) return EXIT_FAULT_EXACT
    if (words[at >>> 2] !== 0) return generalProtection(p, 'SAVEPREVSSP: the alignment hole is not zero')
  }
  if ((lo & 2) === 0) return generalProtection(p, 'SAVEPREVSSP: no previous-SSP token')
  const old = lo & ~3
  const base = old & ~7
  const zero = (old >>> 0) - 4
  const store = (base >>> 0) - 8
  const slow = p.machine.slow
  const zeroAt = slow.shadowStack(zero | 0, carryInto(hi, zero), true)
  if (zeroAt === 0) return EXIT_FAULT_EXACT
  const storeAt = slow.shadowStack(store | 0, carryInto(hi, store), true)
  if (storeAt === 0) return EXIT_FAULT_EXACT
  words[zeroAt >>> 2] = 0
  words[storeAt >>> 2] = old | 1
  words[(storeAt >>> 2) + 1] = hi
  setSsp(ctx, hole ? 12 : 8)
  return CONTINUE
})
/** RSTORSSP: linear address at SPILL. */
registerCallOut('rstorssp', (p, ctx) => {
  const { i32: words } = ctx.mem
  const w = (ctx.base + SPILL) >> 2
  const [lo, hi] = [words[w], words[w + 1]]
  if ((lo & 7) !== 0) return generalProtection(p, 'RSTORSSP: the address is not aligned to 8 bytes')
  // A locked load first: a page that is none of a shadow stack faults as a read.
  const at = p.machine.slow.shadowStack(lo, hi, false)
  if (at === 0) return EXIT_FAULT_EXACT
  const tokenLo = words[at >>> 2]
  const tokenHi = words[(at >>> 2) + 1]
  // Bit 0: made in 64-bit mode; bit 1 clear: a restore token. Its address, 8 lower and aligned, is where it lies.
  const below = ((tokenLo & ~1) >>> 0) - 8
  if ((tokenLo & 3) !== 1 || (below & ~7) !== lo || carryInto(tokenHi, below) !== hi) {
    return fault(p, VECTOR_CP, 'RSTORSSP: no restore token for this address', CP_RSTORSSP)
  }
  if (p.machine.slow.shadowStack(lo, hi, true) === 0) return EXIT_FAULT_EXACT
  words[at >>> 2] = sspLo(ctx) | 3
  words[(at >>> 2) + 1] = sspHi(ctx)
  ctx.setCtl(CTL.SSP, lo, hi)
  ctx.rflags = (ctx.rflags & ~RFLAGS_ARITHMETIC) | (tokenLo & 4 ? RFLAGS_CF : 0)
  return CONTINUE
})
/** WRSS: linear address at SPILL, value at SPILL + 8; argument: width. */
registerCallOut('wrss', (p, ctx, bits) => {
  const { i32: words } = ctx.mem
  const enabled = p.user ? p.registerFile32(U_CET) : ctx.ctlLo(CTL.S_CET)
  if ((enabled & CET_WR_SHSTK_EN) === 0) return undefinedOpcode(p, 'WRSS: WR_SHSTK_EN is clear')
  const w = (ctx.base + SPILL) >> 2
  if ((words[w] & (bits / 8 - 1)) !== 0) return generalProtection(p, 'WRSS: the address is not aligned')
  const at = p.machine.slow.shadowStack(words[w], words[w + 1], true)
  if (at === 0) return EXIT_FAULT_EXACT
  words[at >>> 2] = words[w + 2]
  if (bits === 64) words[(at >>> 2) + 1] = words[w + 3]
  return CONTINUE
})
/** WRUSS: a user shadow stack, written at CPL 0. */
registerCallOut('wruss', (p, ctx, bits) => {
  const { i32: words } = ctx.mem
  if (ctx.cpl !== 0) return generalProtection(p, 'WRUSS at CPL above 0')
  const w = (ctx.base + SPILL) >> 2
  if ((words[w] & (bits / 8 - 1)) !== 0) return generalProtection(p, 'WRUSS: the address is not aligned')
  const at = p.machine.slow.shadowStack(words[w], words[w + 1], true, true)
  if (at === 0) return EXIT_FAULT_EXACT
  words[at >>> 2] = words[w + 2]
  if (bits === 64) words[(at >>> 2) + 1] = words[w + 3]
  return CONTINUE
})

const isOn = (s: InstructionSite): boolean => (s.mode & MODE_SHADOW_STACK) !== 0
const requireOn = (s: InstructionSite): boolean => {
  if (isOn(s)) return true
  s.raise(6)
  return false
}
/** Near CALL and RET in 64-bit code while the shadow stack is on. */
export const usesShadowStack = (s: InstructionSite): boolean => isOn(s) && (s.mode & MODE_CODE_MASK) === MODE_CODE_64

const readSsp = (bits: 32 | 64) => (s: InstructionSite) => {
  if (!isOn(s)) return
  const ssp = s.e.let(s.e.ctx64(CONTROL + CTL.SSP * 8))
  s.writeGpr(s.d.opRegister[0], bits === 64 ? ssp : wrap(ssp))
}
define('RDSSPD', readSsp(32))
define('RDSSPQ', readSsp(64))
for (const [name, bits] of [
  ['INCSSPD', 32],
  ['INCSSPQ', 64],
] as const) {
  define(name, (s) => {
    if (requireOn(s)) s.callOut('incssp', i32(gprNumber(s.d.opRegister[0]) | (bits << 8)))
  })
}
define('SAVEPREVSSP', (s) => {
  if (requireOn(s)) s.callOut('saveprevssp')
})
define('RSTORSSP', (s) => {
  if (!requireOn(s)) return
  s.e.setCtx64(SPILL, s.memoryAddress())
  s.callOut('rstorssp')
})
for (const [name, bits] of [
  ['WRSSD', 32],
  ['WRSSQ', 64],
  ['WRUSSD', 32],
  ['WRUSSQ', 64],
] as const) {
  define(name, (s) => {
    const user = name.startsWith('WRU')
    if (!user && !requireOn(s)) return
    s.e.setCtx64(SPILL, s.memoryAddress())
    s.e.setCtx64(SPILL + 8, zeroExtend(bits, 64, s.read(1)))
    s.callOut(user ? 'wruss' : 'wrss', i32(bits))
  })
}
