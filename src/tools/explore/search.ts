import { type Accesses, conflict, copyAccesses, newAccesses } from './accesses.ts'
import type { System, Transition, Violation } from './system.ts'

export interface SearchOptions {
  /** Preemptions a run may have at most. */
  readonly bound: number
  /** Stops after so many executions; then the search is not exhaustive. Default: no limit. */
  readonly maxExecutions?: number
  /** Without reduction every order of every step is tried: for checking the reduction. Default true. */
  readonly reduce?: boolean
  /** Gets every violation, and the search goes on: for comparing searches. Without it the first one ends the search. */
  readonly onViolation?: (violation: Violation) => void
  /** Of n parts of the search this is the i-th, 0-based: they differ in the first steps. */
  readonly shard?: { readonly index: number; readonly count: number }
}

export interface SearchProgress {
  readonly executions: number
  readonly steps: number
  readonly depth: number
}

export interface SearchResult extends SearchProgress {
  /** Nothing within the bound was left out. */
  readonly exhaustive: boolean
  /** Runs that ended because everything left was explored elsewhere. */
  readonly pruned: number
  readonly violation: Violation | null
  /** The steps that lead to the violation. */
  readonly schedule: readonly Transition[]
}

/** One step of the run under way, and what is still to be tried in its place. */
interface Frame {
  readonly enabled: readonly Transition[]
  /** Processes to be tried here (bit set). */
  backtrack: number
  /** What need not be tried: it was, and nothing since depends on it. */
  readonly sleep: Map<string, Accesses>
  /** Processes of which something was tried here (bit set). */
  tried: number
  readonly preemptions: number
  chosen: Transition
  accesses: Accesses
  /** For each process how many of its steps happened before the end of this one. */
  clock: Int32Array
}

const keyOf = ({ process, choice }: Transition): string => `${process}:${choice}`
/** Steps at the start of a run that say which shard it belongs to. */
const SHARD_DEPTH = 6

/**
 * Enumerates the runs of a system up to a preemption bound: depth first, each run executed from the start. Of runs that differ
 * only in the order of independent steps one is executed: dynamic partial-order reduction (Flanagan and Godefroid 2005) over
 * vector clocks, with sleep sets. Choices that one processor makes by itself, preemptions among them, are all tried.
 */
export class Search {
  private readonly system: System
  private readonly options: SearchOptions
  private readonly frames: Frame[] = []
  private executions = 0
  private steps = 0
  private pruned = 0
  private depth = 0

  constructor(system: System, options: SearchOptions) {
    this.system = system
    this.options = options
  }

  /**
   * Goes on with the search for `executions` runs.
   * @returns null when there is more to do: call it again
   */
  run(executions = Number.POSITIVE_INFINITY): SearchResult | null {
    const { maxExecutions = Number.POSITIVE_INFINITY } = this.options
    for (let done = 0; done < executions; done++) {
      if (this.executions >= maxExecutions) return this.result(false, null)
      this.executions++
      const violation = this.execute()
      if (violation !== null) return this.result(false, violation)
      if (!this.next()) return this.result(true, null)
    }
    return null
  }

  get progress(): SearchProgress {
    return { executions: this.executions, steps: this.steps, depth: this.depth }
  }

  private result(exhaustive: boolean, violation: Violation | null): SearchResult {
    const schedule = violation === null ? [] : this.frames.map(({ chosen }) => chosen)
    return { ...this.progress, exhaustive, pruned: this.pruned, violation, schedule }
  }

  /** Runs the frames there are, then new ones to the end of the run. */
  private execute(): Violation | null {
    const { system, frames } = this
    system.reset()
    for (let i = 0; i < frames.length; i++) {
      const frame = frames[i]
      const isNew = i === frames.length - 1
      const accesses = system.execute(frame.chosen, !isNew)
      this.steps++
      if (isNew) {
        frame.accesses = copyAccesses(accesses)
        this.relate(i)
      }
      if (this.broke()) return system.violation
    }
    for (;;) {
      const frame = this.open()
      if (frame === null) return null
      frames.push(frame)
      if (frames.length > this.depth) this.depth = frames.length
      frame.accesses = copyAccesses(system.execute(frame.chosen))
      this.steps++
      this.relate(frames.length - 1)
      if (this.broke()) return system.violation
    }
  }

  /** Something is violated, and that ends the search. */
  private broke(): boolean {
    const { system, options } = this
    if (system.violation === null) return false
    if (options.onViolation === undefined) return true
    options.onViolation(system.violation)
    system.forgive()
    return false
  }

  /** A frame for the state reached; null at the end of the run. */
  private open(): Frame | null {
    const { system, frames, options } = this
    if (frames.length === SHARD_DEPTH && this.isElsewhere()) return null
    const parent = frames.at(-1)
    const preemptions = parent === undefined ? 0 : parent.preemptions + (parent.chosen.preempts ? 1 : 0)
    const enabled = system.enabled().filter(({ preempts }) => !preempts || preemptions < options.bound)
    if (parent !== undefined) demandDisabled(parent, enabled)
    if (enabled.length === 0) {
      this.relateBlocked()
      return null
    }
    const sleep = new Map<string, Accesses>()
    if (parent !== undefined && options.reduce !== false) {
      for (const [key, accesses] of parent.sleep) {
        if (Number(key[0]) !== parent.chosen.process && !conflict(accesses, parent.accesses)) sleep.set(key, accesses)
      }
    }
    const chosen = enabled.find((transition) => !sleep.has(keyOf(transition)))
    if (chosen === undefined) {
      this.pruned++
      return null
    }
    const all = enabled.reduce((mask, { process }) => mask | (1 << process), 0)
    return {
      enabled,
      backtrack: options.reduce === false || this.isShared(frames.length) ? all : 1 << chosen.process,
      sleep,
      tried: 1 << chosen.process,
      preemptions,
      chosen,
      accesses: NOTHING,
      clock: new Int32Array(system.processes.length),
    }
  }

  /** The first steps of a sharded search are all tried, in every shard: what comes after them is what is divided. */
  private isShared(depth: number): boolean {
    return this.options.shard !== undefined && depth < SHARD_DEPTH
  }

  /** Another shard goes on from here. */
  private isElsewhere(): boolean {
    const { shard } = this.options
    if (shard === undefined) return false
    let hash = 0
    for (const { chosen } of this.frames)
      for (const letter of keyOf(chosen)) hash = (Math.imul(hash, 31) + letter.charCodeAt(0)) | 0
    return (hash >>> 0) % shard.count !== shard.index
  }

  /** The last step's place in the order of the run; where it races with an earlier one, the other order is to be tried too. */
  private relate(index: number): void {
    const { frames } = this
    const frame = frames[index]
    const { process } = frame.chosen
    const clock = new Int32Array(frame.clock.length)
    for (let i = index - 1; i >= 0; i--) {
      if (frames[i].chosen.process !== process) continue
      clock.set(frames[i].clock)
      break
    }
    const before = clock.slice()
    for (let i = index - 1; i >= 0; i--) {
      const earlier = frames[i]
      const other = earlier.chosen.process
      if (other === process || !conflict(earlier.accesses, frame.accesses)) continue
      const count = earlier.clock[other]
      if (before[other] < count && this.options.reduce !== false) this.demand(i, process)
      join(clock, earlier.clock)
    }
    clock[process]++
    frame.clock = clock
  }

  /** At the end of a run: who waits for ever might not, had it come before the step that it waits because of. */
  private relateBlocked(): void {
    if (this.options.reduce === false) return
    const { frames, system } = this
    for (const { process, accesses } of system.blocked()) {
      const clock = frames.findLast(({ chosen }) => chosen.process === process)?.clock
      for (let i = frames.length - 1; i >= 0; i--) {
        const { chosen, accesses: earlier, clock: reached } = frames[i]
        const known = clock === undefined ? 0 : clock[chosen.process]
        if (chosen.process !== process && conflict(earlier, accesses) && known < reached[chosen.process]) this.demand(i, process)
      }
    }
  }

  /**
   * `process` is to be tried in the state before step `at`. Everybody, if it could do nothing there or sleeps there: then others may
   * have to come first, and only its own runs would have shown that.
   */
  private demand(at: number, process: number): void {
    const frame = this.frames[at]
    const wasTried = (frame.tried & (1 << process)) !== 0
    const could = wasTried || frame.enabled.some((t) => t.process === process && !frame.sleep.has(keyOf(t)))
    frame.backtrack |= could ? 1 << process : frame.enabled.reduce((mask, t) => mask | (1 << t.process), 0)
  }

  /** Prepares the next run: the deepest frame where something is left to be tried. False: none. */
  private next(): boolean {
    const { frames } = this
    while (frames.length > 0) {
      const frame = frames[frames.length - 1]
      frame.sleep.set(keyOf(frame.chosen), frame.accesses)
      const found = this.untried(frame)
      if (found !== undefined) {
        frame.chosen = found
        frame.tried |= 1 << found.process
        return true
      }
      frames.pop()
    }
    return false
  }

  private untried(frame: Frame): Transition | undefined {
    const isLeft = (t: Transition) => (frame.backtrack & (1 << t.process)) !== 0 && !frame.sleep.has(keyOf(t))
    // All choices of one processor before the next one, so that its entry in the sleep set is complete.
    return frame.enabled.find((t) => t.process === frame.chosen.process && isLeft(t)) ?? frame.enabled.find(isLeft)
  }
}

const NOTHING: Accesses = newAccesses()

/** What the last step took from another process is to be tried in its place: nothing later would show that they race. */
function demandDisabled(parent: Frame, enabled: readonly Transition[]): void {
  for (const transition of parent.enabled) {
    if (transition.process === parent.chosen.process) continue
    const key = keyOf(transition)
    if (!enabled.some((now) => keyOf(now) === key)) parent.backtrack |= 1 << transition.process
  }
}

function join(into: Int32Array, from: Int32Array): void {
  for (let i = 0; i < into.length; i++) if (from[i] > into[i]) into[i] = from[i]
}
