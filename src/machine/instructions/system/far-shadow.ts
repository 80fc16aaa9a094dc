import { CTL, type ExecutionContext } from '../../execution-context.ts'
import { MODE, SEGMENT } from '../../memory-map.ts'
import { MODE_SHADOW_STACK } from '../../mode.ts'
import type { Processor } from '../../processor.ts'
import { fault } from './outcome.ts'

/**
 * Shadow stack of far transfers at one privilege level (SDM Vol. 2 "CALL", "RET", "IRET"): CALL leaves three words, the old SSP,
 * the linear return address and CS; a return compares them.
 */

/** #CP error code of far returns and IRET. */
const CP_FAR_RET_IRET = 2
const VECTOR_CP = 21

export const shadowStackIsOn = (ctx: ExecutionContext): boolean => (ctx.mem.u32[(ctx.base + MODE) >> 2] & MODE_SHADOW_STACK) !== 0

/** Wasm offset of the word at SSP + delta, or 0 after a fault. */
function wordAt(p: Processor, ctx: ExecutionContext, delta: number, write: boolean): number {
  const sum = (ctx.ctlLo(CTL.SSP) >>> 0) + delta
  return p.machine.slow.shadowStack(sum | 0, (ctx.ctlHi(CTL.SSP) + Math.floor(sum / 0x100000000)) | 0, write)
}

/** Bytes from SSP down to the first of the three words: a hole of 4 makes SSP a multiple of 8. */
const holeOf = (ctx: ExecutionContext): number => ctx.ctlLo(CTL.SSP) & 4

/** Whether a far CALL can leave its words; false after raising the fault. */
export function probeFarCall(p: Processor, ctx: ExecutionContext): boolean {
  const hole = holeOf(ctx)
  for (const delta of [-8, -16, -24]) if (wordAt(p, ctx, delta - hole, true) === 0) return false
  return true
}

/** Leaves the words of a far CALL whose places were probed. `returnLo`, `returnHi`: RIP behind the instruction. */
export function pushFarCall(p: Processor, ctx: ExecutionContext, selector: number, returnLo: number, returnHi: number): void {
  const { i32 } = ctx.mem
  const hole = holeOf(ctx)
  const [oldLo, oldHi] = [ctx.ctlLo(CTL.SSP), ctx.ctlHi(CTL.SSP)]
  if (hole !== 0) i32[wordAt(p, ctx, -4, true) >>> 2] = 0
  const linear = (returnLo >>> 0) + (ctx.segmentBaseLo(SEGMENT.CS) >>> 0)
  const put = (delta: number, lo: number, hi: number): void => {
    const w = wordAt(p, ctx, delta - hole, true) >>> 2
    i32[w] = lo
    i32[w + 1] = hi
  }
  put(-8, selector, 0)
  put(-16, linear | 0, returnHi)
  put(-24, oldLo, oldHi)
  const sum = (oldLo >>> 0) - 24 - hole
  ctx.setCtl(CTL.SSP, sum | 0, (oldHi + Math.floor(sum / 0x100000000)) | 0)
}

/**
 * Compares a far return with the words at SSP.
 * @returns wasm offset of the word that holds the SSP to go back to; 0 after raising #CP or the page fault
 */
export function checkFarReturn(
  p: Processor,
  ctx: ExecutionContext,
  selector: number,
  linearLo: number,
  linearHi: number,
): number {
  const { i32 } = ctx.mem
  const refused = (why: string): number => {
    fault(p, VECTOR_CP, `far return: ${why}`, CP_FAR_RET_IRET)
    return 0
  }
  if ((ctx.ctlLo(CTL.SSP) & 7) !== 0) return refused('SSP is not aligned to 8 bytes')
  const previous = wordAt(p, ctx, 0, false)
  if (previous === 0) return 0
  const address = wordAt(p, ctx, 8, false)
  if (address === 0) return 0
  const cs = wordAt(p, ctx, 16, false)
  if (cs === 0) return 0
  if (i32[cs >>> 2] !== selector || i32[(cs >>> 2) + 1] !== 0) return refused('the shadow stack holds another CS')
  if (i32[address >>> 2] !== linearLo || i32[(address >>> 2) + 1] !== linearHi) {
    return refused('the shadow stack holds another return address')
  }
  return (i32[previous >>> 2] & 3) !== 0 ? refused('the previous SSP is not aligned to 4 bytes') : previous
}

/** Goes back to the SSP that `checkFarReturn` found. */
export function popFarReturn(ctx: ExecutionContext, previous: number): void {
  ctx.setCtl(CTL.SSP, ctx.mem.i32[previous >>> 2], ctx.mem.i32[(previous >>> 2) + 1])
}
