import type { ExecutionContext } from '../execution-context.ts'
import type { Processor } from '../processor.ts'

/**
 * An instruction, or part of one, that runs in TypeScript.
 *
 * Called out (`Emitter.callOut`): registers and RIP are in the context; returns CONTINUE, or an exit code after setting
 * RIP. As an assist (`Emitter.assist`): only memory operands; returns 0, or non-zero after raising a fault.
 * `info` is accessInfo: low 7 bits the instruction's length for call-outs.
 */
export type CallOut = (processor: Processor, ctx: ExecutionContext, argument: number, info: number) => number

const ids = new Map<string, number>()
export const callOuts: CallOut[] = []
export const callOutNames: string[] = []

export function registerCallOut(name: string, run: CallOut): void {
  if (ids.has(name)) {
    const id = ids.get(name)!
    if (callOuts[id] !== unregistered) throw new Error(`call-out ${name} is registered twice`)
    callOuts[id] = run
    return
  }
  ids.set(name, callOuts.length)
  callOuts.push(run)
  callOutNames.push(name)
}

const unregistered: CallOut = () => {
  throw new Error('a call-out was used that nothing registers')
}

/** The number of a call-out; may be asked before it is registered. */
export function callOutId(name: string): number {
  let id = ids.get(name)
  if (id === undefined) {
    id = callOuts.length
    ids.set(name, id)
    callOuts.push(unregistered)
    callOutNames.push(name)
  }
  return id
}
