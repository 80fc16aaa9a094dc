import type { ExploreProgress } from '../tools/explore/explore.ts'

/** Work that takes longer than this tells how it goes, as often. */
export const SILENT_MS = 2000

/** `bound 1: 12000 executions, 26 steps deep, 8000/s, 96 MiB` */
export function progressLine({ bound, executions, depth, memory }: ExploreProgress, milliseconds: number): string {
  const rate = Math.round(executions / (Math.max(milliseconds, 1) / 1000))
  return `bound ${bound}: ${executions} executions, ${depth} steps deep, ${rate}/s, ${Math.round(memory / 2 ** 20)} MiB`
}

export function tellInterrupted(line: string): void {
  process.stderr.write(`worldswitch: interrupted, not exhaustive${line === '' ? '' : `: ${line}`}\n`)
}
