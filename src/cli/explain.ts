import { errnoName } from '../linux/errno.ts'
import type { Refusal } from '../linux/refusal.ts'
import { explainRefusal } from '../tools/explain.ts'
import { oneLine } from './report.ts'

/** Refusals on standard error: `--explain`, and the end report of a run. */

/** `refused: CALL = -1 EPERM: SENTENCE (RULE)`, then the chain, indented. `what` is a call or `vcpu 0`. */
export function refusalLines(what: string, result: number | null, reason: Refusal): string[] {
  const outcome = result === null ? reason.outcome : result < 0 ? `-1 ${errnoName(-result)}` : String(result)
  return [`refused: ${oneLine(what)} = ${outcome}: ${oneLine(reason.sentence)} (${reason.rule})`, ...chainLines(reason)]
}

/** What is below a refusal's line. */
export const chainLines = (reason: Refusal): string[] => explainRefusal(reason).map((line) => `    ${oneLine(line)}`)
