import { counterexample } from './counterexample.ts'
import { HostSystem } from './host-system.ts'
import { buildScenario, defaultBound, defaultKernel, type Scenario } from './scenarios/index.ts'
import { MAX_STEPS, type Moment, type Schedule } from './schedule.ts'
import { Search } from './search.ts'
import type { Violation } from './system.ts'

/** Memory of the process, in bytes. */
export interface MemoryUse {
  readonly used: number
  readonly limit: number
}

export interface ExploreOptions {
  readonly decoder: WebAssembly.Module
  readonly kernel?: string
  readonly variant?: string
  /** Names of the invariants to be checked; default all. */
  readonly invariants?: readonly string[] | null
  /** Preemptions up to which is searched; default the scenario's. */
  readonly bound?: number
  readonly maxExecutions?: number
  /** A run of more steps ends the search: it may have no end. Default and most: what a schedule file can hold. */
  readonly maxSteps?: number
  /** Looked at now and then: a search that needs more ends. Without it only what its own frames take is known, and no limit. */
  readonly memory?: () => MemoryUse
  readonly reduce?: boolean
  readonly shard?: { readonly index: number; readonly count: number }
  /** Looked at now and then: more preemptions than this are of no interest any more, another shard found something. */
  readonly atMost?: () => number
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
  /** Runs with the search's preemptions limited to 0, 1, … `bound`. */
  readonly executionsAtBound: readonly number[]
  /** Steps of a counterexample; without one those of the longest run. */
  readonly steps: number
  /** Most memory seen in use, in bytes. */
  readonly memory: number
  /** Why it is undecided. */
  readonly stopped: string | null
  readonly violation: Violation | null
  readonly schedule: Schedule | null
  readonly moments: readonly Moment[]
}

/** How far a search is. */
export interface ExploreProgress {
  readonly bound: number
  readonly executions: number
  /** Steps of the longest run. */
  readonly depth: number
  /** Most memory seen in use, in bytes. */
  readonly memory: number
}

/** Between two looks at the world outside: runs, and steps. */
const SLICE_RUNS = 200
const SLICE_STEPS = 20_000

/**
 * Searches a scenario with no preemption first, then one, two, … up to the bound: a counterexample has the fewest preemptions there
 * can be, and is cut to the steps it needs. Yields its progress; who wants to stop it does not go on.
 *
 * @throws UserError for names that are not known
 */
export function* exploreInSlices(scenario: Scenario, options: ExploreOptions): Generator<ExploreProgress, Exploration, void> {
  const { kernel, variant, decoder, invariants = null, atMost = () => Number.POSITIVE_INFINITY } = options
  const names = { invariants, ...(kernel === undefined ? {} : { kernel }), ...(variant === undefined ? {} : { variant }) }
  const system = new HostSystem(buildScenario(scenario, { decoder, ...names }))
  const about = {
    scenario: scenario.name,
    variant: variant ?? null,
    kernel: kernel ?? defaultKernel(scenario, variant),
    invariants,
  }
  const nothing = { ...about, exhaustive: false, stopped: null, violation: null, schedule: null, moments: [] }
  const tally = new Tally(options)
  const last = options.bound ?? defaultBound(scenario, variant)
  for (let bound = 0; bound <= Math.min(last, atMost()); bound++) {
    const search = new Search(system, searchOptions(options, bound, tally.executions))
    let result = search.run(SLICE_RUNS)
    for (; result === null; result = search.run(tally.slice)) {
      const progress = tally.see(search, bound)
      const stopped = tally.tooMuch
      if (stopped !== null) return { ...nothing, ...tally.figures, verdict: 'undecided', bound, stopped }
      yield progress
      if (bound > atMost()) break
    }
    if (result === null) break
    tally.see(search, bound)
    if (result.violation !== null) {
      const making = counterexample(system, result, bound, about)
      let made = making.next()
      for (; made.done !== true; made = making.next()) yield tally.see(search, bound)
      return { ...nothing, ...tally.figures, ...made.value, verdict: 'violated', bound }
    }
    if (result.stopped !== null)
      return { ...nothing, ...tally.figures, verdict: 'undecided', bound, stopped: STOPPED[result.stopped](options) }
  }
  return { ...nothing, ...tally.upTo(Math.min(last, atMost())), verdict: 'holds', exhaustive: true }
}

function searchOptions(options: ExploreOptions, bound: number, executed: number) {
  const { maxExecutions = Number.POSITIVE_INFINITY, maxSteps = MAX_STEPS, reduce = true, shard } = options
  return { bound, reduce, maxExecutions: maxExecutions - executed, maxSteps, ...(shard === undefined ? {} : { shard }) }
}

/** What a search took so far. */
class Tally {
  private readonly options: ExploreOptions
  private readonly executionsAtBound: number[] = []
  private steps = 0
  private memory = 0
  /** What ended the search: more memory than there may be. */
  tooMuch: string | null = null

  constructor(options: ExploreOptions) {
    this.options = options
  }

  get executions(): number {
    return this.executionsAtBound.reduce((sum, n) => sum + n, 0)
  }
  get figures() {
    const { executions, executionsAtBound, steps, memory } = this
    return { executions, executionsAtBound, steps, memory }
  }
  /** Figures of the part up to `bound`. */
  upTo(bound: number) {
    this.executionsAtBound.length = bound + 1
    return { ...this.figures, bound }
  }

  /** Runs until the next look: fewer where they are long. */
  get slice(): number {
    return Math.max(1, Math.min(SLICE_RUNS, Math.floor(SLICE_STEPS / this.steps)))
  }

  see(search: Search, bound: number): ExploreProgress {
    const { executions, depth } = search.progress
    const { used, limit } = this.options.memory?.() ?? { used: search.memory, limit: Number.POSITIVE_INFINITY }
    this.executionsAtBound[bound] = executions
    this.steps = Math.max(this.steps, depth)
    this.memory = Math.max(this.memory, used)
    if (used > limit) this.tooMuch = `${mebibytes(used)} MiB of memory are in use, and ${mebibytes(limit)} may be`
    return { bound, executions: this.executions, depth: this.steps, memory: this.memory }
  }
}

const mebibytes = (bytes: number): number => Math.round(bytes / 2 ** 20)

const STOPPED = {
  'max-executions': ({ maxExecutions }: ExploreOptions) => `${maxExecutions} runs were made, the most there may be`,
  'max-steps': ({ maxSteps = MAX_STEPS }: ExploreOptions) => `a run has more than ${maxSteps} steps, and may have no end`,
}

/** `exploreInSlices` to its end. */
export function explore(scenario: Scenario, options: ExploreOptions): Exploration {
  const search = exploreInSlices(scenario, options)
  for (;;) {
    const step = search.next()
    if (step.done === true) return step.value
  }
}
