import { CET_WR_SHSTK_EN, CP_RSTORSSP, CP_SETSSBSY, cetSettings, isCetOn, shadowStackEnabled, VECTOR_CP } from '../../cet.ts'
import { CTL, type ExecutionContext } from '../../execution-context.ts'
import { RFLAGS_ARITHMETIC, RFLAGS_CF } from '../../flags.ts'
import { CONTROL, MODE, PL0_SSP, SPILL } from '../../memory-map.ts'
import { MODE_CODE_64, MODE_CODE_MASK, MODE_SHADOW_STACK } from '../../mode.ts'
import type { Processor } from '../../processor.ts'
import { carryInto, TOKEN_BUSY } from '../../shadow-transfer.ts'
import { registerCallOut } from '../../translate/call-outs.ts'
import { define } from '../../translate/definitions.ts'
import { CONTINUE, EXIT_FAULT_EXACT } from '../../translate/emitter.ts'
import { i32, wrap, zeroExtend } from '../../translate/expr.ts'
import { gprNumber, type InstructionSite } from '../../translate/instruction.ts'
import { fault, generalProtection, undefinedOpcode } from './outcome.ts'

/** The instructions of shadow stacks (SDM Vol. 1 chapter 17, Vol. 2 per instruction; CET-54). SSP is in the context. */

const sspLo = (ctx: ExecutionContext): number => ctx.ctlLo(CTL.SSP)
const sspHi = (ctx: ExecutionContext): number => ctx.ctlHi(CTL.SSP)
function setSsp(ctx: ExecutionContext, delta: number): void {
  const sum = (sspLo(ctx) >>> 0) + delta
  ctx.setCtl(CTL.SSP, sum | 0, carryInto(sspHi(ctx), sum))
}
/** Wasm offset of the `bytes` to be read at SSP + delta, or 0 after a fault. */
function entryAt(p: Processor, ctx: ExecutionContext, delta: number, bytes: number): number {
  const sum = (sspLo(ctx) >>> 0) + delta
  return p.machine.slow.shadowStack(sum | 0, carryInto(sspHi(ctx), sum), bytes, false)
}
const in64 = (ctx: ExecutionContext): boolean => (ctx.mem.u32[(ctx.base + MODE) >> 2] & MODE_CODE_MASK) === MODE_CODE_64

/** INCSSP: argument: register | width << 8. Reads the first and the last entry it skips; one though it skips none. */
registerCallOut('incssp', (p, ctx, argument) => {
  const size = argument >> 8 === 64 ? 8 : 4
  const count = ctx.lo(argument & 0xff) & 0xff
  if (entryAt(p, ctx, 0, size) === 0) return EXIT_FAULT_EXACT
  if (count > 1 && entryAt(p, ctx, (count - 1) * size, size) === 0) return EXIT_FAULT_EXACT
  setSsp(ctx, count * size)
  return CONTINUE
})
registerCallOut('saveprevssp', (p, ctx) => {
  const { i32: words } = ctx.mem
  const long = in64(ctx)
  if ((sspLo(ctx) & 7) !== 0) return generalProtection(p, 'SAVEPREVSSP: SSP is not aligned to 8 bytes')
  const token = entryAt(p, ctx, 0, 8)
  if (token === 0) return EXIT_FAULT_EXACT
  const lo = words[token >>> 2]
  const hi = words[(token >>> 2) + 1]
  const hole = (ctx.rflags & RFLAGS_CF) !== 0
  if (hole) {
    if (long) return generalProtection(p, 'SAVEPREVSSP: CF says there is an alignment hole, in 64-bit code')
    const at = entryAt(p, ctx, 8, 4)
    if (at === 0) return EXIT_FAULT_EXACT
    if (words[at >>> 2] !== 0) return generalProtection(p, 'SAVEPREVSSP: the alignment hole is not zero')
  }
  if ((lo & 2) === 0) return generalProtection(p, 'SAVEPREVSSP: no previous-SSP token')
  if (!long && hi !== 0) return generalProtection(p, 'SAVEPREVSSP: the previous SSP is above 4 GiB')
  const old = lo & ~3
  const zero = (old >>> 0) - 4
  const store = ((old & ~7) >>> 0) - 8
  const { slow } = p.machine
  const zeroAt = slow.shadowStack(zero | 0, carryInto(hi, zero), 4, true)
  if (zeroAt === 0) return EXIT_FAULT_EXACT
  const storeAt = slow.shadowStack(store | 0, carryInto(hi, store), 8, true)
  if (storeAt === 0) return EXIT_FAULT_EXACT
  words[zeroAt >>> 2] = 0
  words[storeAt >>> 2] = long ? old | 1 : old
  words[(storeAt >>> 2) + 1] = hi
  setSsp(ctx, hole ? 12 : 8)
  return CONTINUE
})
/** RSTORSSP: linear address at SPILL. */
registerCallOut('rstorssp', (p, ctx) => {
  const { i32: words } = ctx.mem
  const long = in64(ctx)
  const w = (ctx.base + SPILL) >> 2
  const [lo, hi] = [words[w], words[w + 1]]
  if ((lo & 7) !== 0) return generalProtection(p, 'RSTORSSP: the address is not aligned to 8 bytes')
  // A locked load first: a page that is none of a shadow stack faults as a read.
  const at = p.machine.slow.shadowStack(lo, hi, 8, false)
  if (at === 0) return EXIT_FAULT_EXACT
  const tokenLo = words[at >>> 2]
  const tokenHi = words[(at >>> 2) + 1]
  // Bit 0: made in 64-bit mode; bit 1 clear: a restore token. Its address, 8 lower and aligned, is where it lies.
  const below = ((tokenLo & ~1) >>> 0) - 8
  if ((tokenLo & 3) !== (long ? 1 : 0) || (below & ~7) !== lo || carryInto(tokenHi, below) !== hi) {
    return fault(p, VECTOR_CP, 'RSTORSSP: no restore token for this address', CP_RSTORSSP)
  }
  if (p.machine.slow.shadowStack(lo, hi, 8, true) === 0) return EXIT_FAULT_EXACT
  words[at >>> 2] = sspLo(ctx) | (long ? 3 : 2)
  words[(at >>> 2) + 1] = sspHi(ctx)
  ctx.setCtl(CTL.SSP, lo, hi)
  ctx.rflags = (ctx.rflags & ~RFLAGS_ARITHMETIC) | (tokenLo & 4 ? RFLAGS_CF : 0)
  return CONTINUE
})

/** WRSS: linear address at SPILL, value at SPILL + 8; argument: width. */
registerCallOut('wrss', (p, ctx, bits) => {
  if ((cetSettings(p, ctx, ctx.cpl) & CET_WR_SHSTK_EN) === 0) return undefinedOpcode(p, 'WRSS: WR_SHSTK_EN is clear')
  return writeShadow(p, ctx, bits, p.user)
})
/** WRUSS: a user shadow stack, written at CPL 0. */
registerCallOut('wruss', (p, ctx, bits) => {
  if (!isCetOn(ctx)) return undefinedOpcode(p, 'WRUSS: CR4.CET is clear')
  if (ctx.cpl !== 0) return generalProtection(p, 'WRUSS at CPL above 0')
  return writeShadow(p, ctx, bits, true)
})
function writeShadow(p: Processor, ctx: ExecutionContext, bits: number, user: boolean): number {
  const { i32: words } = ctx.mem
  const w = (ctx.base + SPILL) >> 2
  if ((words[w] & (bits / 8 - 1)) !== 0) return generalProtection(p, 'WRSS or WRUSS: the address is not aligned')
  const at = p.machine.slow.shadowStack(words[w], words[w + 1], bits / 8, true, user)
  if (at === 0) return EXIT_FAULT_EXACT
  words[at >>> 2] = words[w + 2]
  if (bits === 64) words[(at >>> 2) + 1] = words[w + 3]
  return CONTINUE
}

/** SETSSBSY and CLRSSBSY: supervisor shadow stacks must be on, at CPL 0. CONTINUE, or the fault's exit. */
function checkSupervisor(p: Processor, ctx: ExecutionContext): number {
  if (!shadowStackEnabled(p, ctx, 0)) return undefinedOpcode(p, 'supervisor shadow stacks are off')
  return ctx.cpl !== 0 ? generalProtection(p, 'SETSSBSY or CLRSSBSY at CPL above 0') : CONTINUE
}
/** SETSSBSY: the token at IA32_PL0_SSP must be free; it is made busy and its stack taken. */
registerCallOut('setssbsy', (p, ctx) => {
  const { i32: words } = ctx.mem
  const refused = checkSupervisor(p, ctx)
  if (refused !== CONTINUE) return refused
  const w = (p.registerFile + PL0_SSP) >> 2
  const [lo, hi] = [words[w], words[w + 1]]
  if ((lo & 7) !== 0) return generalProtection(p, 'SETSSBSY: IA32_PL0_SSP is not aligned to 8 bytes')
  const at = p.machine.slow.shadowStack(lo, hi, 8, true, false)
  if (at === 0) return EXIT_FAULT_EXACT
  const free = words[at >>> 2] === lo && words[(at >>> 2) + 1] === hi
  if (!free || (hi !== 0 && !in64(ctx)))
    return fault(p, VECTOR_CP, 'SETSSBSY: no token at IA32_PL0_SSP, or it is busy', CP_SETSSBSY)
  words[at >>> 2] = lo | TOKEN_BUSY
  ctx.setCtl(CTL.SSP, lo, hi)
  return CONTINUE
})
/** CLRSSBSY: linear address at SPILL. A busy token there is made free; CF says that it was none. SSP becomes 0. */
registerCallOut('clrssbsy', (p, ctx) => {
  const { i32: words } = ctx.mem
  const refused = checkSupervisor(p, ctx)
  if (refused !== CONTINUE) return refused
  const w = (ctx.base + SPILL) >> 2
  const [lo, hi] = [words[w], words[w + 1]]
  if ((lo & 7) !== 0) return generalProtection(p, 'CLRSSBSY: the address is not aligned to 8 bytes')
  const at = p.machine.slow.shadowStack(lo, hi, 8, true, false)
  if (at === 0) return EXIT_FAULT_EXACT
  const busy = words[at >>> 2] === (lo | TOKEN_BUSY) && words[(at >>> 2) + 1] === hi
  if (busy) words[at >>> 2] = lo
  ctx.rflags = (ctx.rflags & ~RFLAGS_ARITHMETIC) | (busy ? 0 : RFLAGS_CF)
  ctx.setCtl(CTL.SSP, 0, 0)
  return CONTINUE
})

const isOn = (s: InstructionSite): boolean => (s.mode & MODE_SHADOW_STACK) !== 0
const requireOn = (s: InstructionSite): boolean => {
  if (isOn(s)) return true
  s.raise(6)
  return false
}
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
define('SETSSBSY', (s) => s.callOut('setssbsy'))
define('CLRSSBSY', (s) => {
  s.e.setCtx64(SPILL, s.memoryAddress())
  s.callOut('clrssbsy')
})
