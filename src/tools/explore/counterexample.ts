import { type Moment, minimize, replay, type Schedule } from './schedule.ts'
import { Search, type SearchResult } from './search.ts'
import type { System, Transition, Violation } from './system.ts'

/** A run that breaks an invariant, as it is shown. */
export interface Counterexample {
  readonly steps: number
  readonly violation: Violation | null
  readonly schedule: Schedule
  readonly moments: readonly Moment[]
}

/** Runs in which a shorter one is looked for: at least so many, and half of those that the search took, but no more than the most. */
const LEAST = 1000
const MOST = 50_000
/** Runs between two yields. */
const SLICE = 200

/** Cuts the run that a search found, looks for shorter ones, and makes the shortest again to show it. Yields now and then. */
export function* counterexample(
  system: System,
  found: SearchResult,
  bound: number,
  about: Omit<Schedule, 'steps'>,
): Generator<void, Counterexample, void> {
  const budget = Math.min(MOST, Math.max(LEAST, found.executions >> 1))
  const steps = yield* shortened(system, minimize(system, found.schedule, found.violation!), bound, budget)
  const named = steps.map(({ process, choice }) => ({ process: system.processes[process], choice }))
  const { moments, violation } = replay(system, named)
  return { steps: steps.length, violation, schedule: { ...about, steps: named }, moments }
}

/**
 * A violation in fewer steps, with no more preemptions: depth first a search meets long runs as soon as short ones, and cutting steps out of one does
 * not lead to every other. What the budget did not reach may be shorter still.
 */
function* shortened(
  system: System,
  steps: readonly Transition[],
  bound: number,
  budget: number,
): Generator<void, readonly Transition[], void> {
  let best = steps
  for (let left = budget; left > 0 && best.length > 1; ) {
    const search = new Search(system, { bound, within: best.length - 1, maxExecutions: left })
    let result = search.run(SLICE)
    for (; result === null; result = search.run(SLICE)) yield
    if (result.violation === null) break
    best = minimize(system, result.schedule, result.violation)
    left -= result.executions
  }
  return best
}
