import type { ExecutionContext } from '../../execution-context.ts'
import type { Processor } from '../../processor.ts'
import { EXIT_FAULT_EXACT, EXIT_RESYNC } from '../../translate/emitter.ts'

/** What call-outs of system instructions return. */

export function fault(p: Processor, vector: number, reason: string, errorCode = 0): number {
  p.raise(vector, errorCode, reason)
  return EXIT_FAULT_EXACT
}
export const generalProtection = (p: Processor, reason: string, errorCode = 0): number => fault(p, 13, reason, errorCode)
export const undefinedOpcode = (p: Processor, reason: string): number => fault(p, 6, reason)

/** The instruction is done; mode, translations or interruptibility may have changed. */
export function resync(ctx: ExecutionContext, info: number): number {
  ctx.advanceRip(info & 0x7f)
  return EXIT_RESYNC
}
