import { HostSystem } from './host-system.ts'
import { buildScenario, type Scenario } from './scenarios/index.ts'
import { type Moment, minimize, replay, type Schedule } from './schedule.ts'
import { Search, type SearchProgress, type SearchResult } from './search.ts'
import type { Violation } from './system.ts'

export interface ExploreOptions {
  readonly decoder: WebAssembly.Module
  readonly kernel?: string
  readonly variant?: string
  /** Names of the invariants to be checked; default all. */
  readonly invariants?: readonly string[] | null
  /** Preemptions up to which is searched; default the scenario's. */
  readonly bound?: number
  readonly maxExecutions?: number
  readonly reduce?: boolean
  readonly shard?: { readonly index: number; readonly count: number }
}

/** What came of a search. */
export interface Exploration {
  readonly scenario: string
  readonly variant: string | null
  readonly kernel: string
  /** Names of the invariants that were checked; null: all. */
  readonly invariants: readonly string[] | null
  readonly verdict: 'holds' | 'violated' | 'undecided'
  /** Every run with at most `bound` preemptions was covered. */
  readonly exhaustive: boolean
  readonly bound: number
  readonly executions: number
  /** Steps of a counterexample; without one those of the longest run. */
  readonly steps: number
  readonly violation: Violation | null
  readonly schedule: Schedule | null
  readonly moments: readonly Moment[]
}

/** How far a search is. */
export interface ExploreProgress extends SearchProgress {
  readonly bound: number
}

/** Runs of a search between two looks at the world outside. */
const SLICE = 200

/**
 * Searches a scenario with no preemption first, then one, two, … up to the bound: a counterexample has the fewest preemptions there
 * can be, and is cut to the steps it needs. Yields its progress; who wants to stop it does not go on.
 *
 * @throws UserError for names that are not known
 */
export function* exploreInSlices(scenario: Scenario, options: ExploreOptions): Generator<ExploreProgress, Exploration, void> {
  const { kernel, variant, decoder, maxExecutions = Number.POSITIVE_INFINITY, reduce = true, shard, invariants = null } = options
  const names = { invariants, ...(kernel === undefined ? {} : { kernel }), ...(variant === undefined ? {} : { variant }) }
  const system = new HostSystem(buildScenario(scenario, { decoder, ...names }))
  const last = options.bound ?? scenario.bound
  const about = { scenario: scenario.name, variant: variant ?? null, kernel: kernel ?? scenario.kernel, invariants }
  const found = { violation: null, schedule: null, moments: [] }
  let executions = 0
  let depth = 0
  for (let bound = 0; bound <= last; bound++) {
    const left = maxExecutions - executions
    const search = new Search(system, { bound, reduce, maxExecutions: left, ...(shard === undefined ? {} : { shard }) })
    let result = search.run(SLICE)
    for (; result === null; result = search.run(SLICE)) {
      const { progress } = search
      yield { ...progress, executions: executions + progress.executions, bound }
    }
    executions += result.executions
    depth = Math.max(depth, result.depth)
    if (result.violation !== null) return { ...about, ...counterexample(system, result, about), bound, executions }
    if (!result.exhaustive)
      return { ...about, ...found, verdict: 'undecided', exhaustive: false, bound, executions, steps: depth }
  }
  return { ...about, ...found, verdict: 'holds', exhaustive: true, bound: last, executions, steps: depth }
}

/** `exploreInSlices` to its end. */
export function explore(scenario: Scenario, options: ExploreOptions): Exploration {
  const search = exploreInSlices(scenario, options)
  for (;;) {
    const step = search.next()
    if (step.done === true) return step.value
  }
}

type Counterexample = Pick<Exploration, 'verdict' | 'exhaustive' | 'steps' | 'violation' | 'schedule' | 'moments'>

function counterexample(system: HostSystem, result: SearchResult, about: Omit<Schedule, 'steps'>): Counterexample {
  const steps = minimize(system, result.schedule, result.violation!)
  const named = steps.map(({ process, choice }) => ({ process: system.processes[process], choice }))
  const { moments, violation } = replay(system, named)
  return { verdict: 'violated', exhaustive: false, steps: steps.length, violation, schedule: { ...about, steps: named }, moments }
}
