import { EXPLANATIONS, type Explanation } from './explained.ts'
import type { Replayed, Through, Verdict } from './verdicts.ts'

/** One line of `--json`. */
export interface Count {
  readonly recording: string
  readonly through: Through
  readonly agreed: number
  readonly explained: number
  readonly total: number
}

export function countOf({ recording, through, verdicts }: Replayed): Count {
  const agreed = verdicts.filter(({ differences }) => differences.length === 0).length
  const explained = verdicts.filter((verdict) => verdict.differences.length > 0 && isExplained(verdict)).length
  return { recording: recording.name, through, agreed, explained, total: verdicts.length }
}

const isExplained = ({ differences }: Verdict): boolean => differences.every(({ explanation }) => explanation !== null)

const NAMES: Readonly<Record<Through, string>> = { driver: 'driver under exec', api: 'typed API' }

/** The table: a line a recording, then the scenarios that differ, then the reasons of those that are explained. */
export function summary(replayed: readonly Replayed[]): string[] {
  const lines: string[] = []
  for (const run of replayed) {
    const { recording, through, agreed, explained, total } = countOf(run)
    const why = run.recording.notReached === undefined ? '' : ` (not reached: ${run.recording.notReached})`
    const also = explained === 0 ? '' : `, ${explained} more explained`
    const left = run.leftOut === 0 ? '' : `; ${run.leftOut} are not made of calls alone`
    lines.push(`${recording}, ${NAMES[through]}: ${agreed} of ${total} scenarios agree${also}${why}${left}`)
    if (run.recording.notReached === undefined) lines.push(...differing(run).map((line) => `  ${line}`))
  }
  return [...lines, ...reasons(replayed)]
}

/** Differing scenarios by what differs in them: one cause, one line. */
function differing({ verdicts }: Replayed): string[] {
  const causes = new Map<string, string[]>()
  for (const verdict of verdicts.filter((v) => !isExplained(v))) {
    const open = verdict.differences.filter(({ explanation }) => explanation === null)
    const kinds = [...new Set(open.map(({ difference }) => difference.where))]
    const cause = kinds.length > 3 ? `${kinds.slice(0, 3).join(', ')} and ${kinds.length - 3} more` : kinds.join(', ')
    causes.set(cause, [...(causes.get(cause) ?? []), verdict.scenario])
  }
  return [...causes]
    .sort((a, b) => b[1].length - a[1].length)
    .map(([cause, names]) => `${names.length} x ${cause}: ${names.slice(0, 4).join(' ')}${names.length > 4 ? ' ...' : ''}`)
}

/** Each reason of the table with the number of scenarios it holds for; some need more than one. */
function reasons(replayed: readonly Replayed[]): string[] {
  const counts = new Map<string, number>()
  for (const { recording, through, verdicts } of replayed)
    for (const { differences } of verdicts)
      for (const because of new Set(differences.map(({ explanation }) => explanation?.because)))
        if (because !== undefined) {
          const reason = `${recording.name}, ${NAMES[through]}: ${because}`
          counts.set(reason, (counts.get(reason) ?? 0) + 1)
        }
  return [...counts].map(([reason, n]) => `explained ${n} x ${reason}`)
}

/** `--show`: every value that differs, `-` as recorded and `+` as modelled. */
export function shown({ recording, through, verdicts, said }: Replayed): string[] {
  const lines = said.map((line) => `${recording.name}: ${line}`)
  if (recording.notReached !== undefined) return lines
  for (const { scenario, differences } of verdicts) {
    if (differences.length === 0) continue
    lines.push(`${recording.name}, ${NAMES[through]}: ${scenario}`)
    for (const { difference, explanation } of differences) {
      const { at, where, recorded, modelled } = difference
      lines.push(
        `  ${at < 0 ? '' : `call ${at + 1} `}${where}${explanation === null ? '' : ` (explained: ${explanation.because})`}`,
      )
      lines.push(`    - ${recorded}`, `    + ${modelled}`)
    }
  }
  return lines
}

/** Rows of the table of explanations that a complete run had no use for; the API alone leaves scenarios out. */
export const unused = (replayed: readonly Replayed[], used: Set<Explanation>): Explanation[] =>
  EXPLANATIONS.filter(
    (row) => !used.has(row) && replayed.some((run) => run.recording.name === row.recording && run.through === 'driver'),
  )
