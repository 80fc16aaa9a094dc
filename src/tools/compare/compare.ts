import { kernelProfile } from '../../profiles/index.ts'
import { Lab } from './lab.ts'
import type { CompareScenario } from './scenario.ts'

/** One line of a comparison: the same observation under each profile; null where a run did not come to it. */
export interface ComparedRow {
  readonly what: string
  readonly results: readonly (string | null)[]
  readonly differs: boolean
  readonly isCost: boolean
}

export interface Comparison {
  readonly scenario: string
  readonly cpu: string
  readonly profiles: readonly string[]
  readonly rows: readonly ComparedRow[]
}

export interface CompareOptions {
  readonly profiles: readonly string[]
  readonly cpu: string
  readonly decoder: WebAssembly.Module
}

/**
 * Runs a scenario under each profile, on hosts of its own each time, and puts the observations side by side. Yields before each run.
 *
 * @throws UserError for a profile, CPU model or step that is not known
 */
export function* compareInRuns(scenario: CompareScenario, options: CompareOptions): Generator<string, Comparison, void> {
  const { profiles, cpu, decoder } = options
  // A name that is not known is told before anything runs.
  for (const profile of profiles) kernelProfile(profile)
  const labs: Lab[] = []
  for (const profile of profiles) {
    yield profile
    const lab = new Lab({ profile, cpu, decoder })
    scenario.run(lab)
    labs.push(lab)
  }
  return { scenario: scenario.name, cpu, profiles, rows: sideBySide(labs) }
}

export function compare(scenario: CompareScenario, options: CompareOptions): Comparison {
  const runs = compareInRuns(scenario, options)
  for (;;) {
    const step = runs.next()
    if (step.done === true) return step.value
  }
}

/** Observations with the same text and the same occurrence of it are one row. */
function sideBySide(labs: readonly Lab[]): ComparedRow[] {
  const rows = new Map<string, { what: string; results: (string | null)[]; isCost: boolean }>()
  labs.forEach((lab, column) => {
    const seen = new Map<string, number>()
    for (const { what, result, isCost } of lab.observations) {
      const occurrence = seen.get(what) ?? 0
      seen.set(what, occurrence + 1)
      const key = `${what}\n${occurrence}`
      let row = rows.get(key)
      if (row === undefined) rows.set(key, (row = { what, results: labs.map(() => null), isCost }))
      row.results[column] = result
    }
  })
  return [...rows.values()].map((row) => ({ ...row, differs: row.results.some((result) => result !== row.results[0]) }))
}
