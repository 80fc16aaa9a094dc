import { type Accesses, conflict, copyAccesses, newAccesses } from './accesses.ts'
import type { System, Transition, Violation } from './system.ts'

export interface SearchOptions {
  /** Preemptions a run may have at most. */
  readonly bound: number
  /** Stops after so many executions; then the search is not exhaustive. Default: no limit. */
  readonly maxExecutions?: number
  /** A longer run ends the search, which is then not exhaustive: it may have no end. Default: no limit. */
  readonly maxSteps?: number
  /** Runs are not followed further than so many steps. Default: no limit. */
  readonly within?: number
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
  /** What ended a search that is neither exhaustive nor found something. */
  readonly stopped: 'max-executions' | 'max-steps' | null
  /** Runs that ended because everything left was explored elsewhere. */
  readonly pruned: number
  readonly violation: Violation | null
  /** The steps that lead to the violation. */
  readonly schedule: readonly Transition[]
}

/** What need not be tried in a state: it was, and nothing since depends on it. Slots are used again. */
class SleepSet {
  private readonly transitions: Transition[] = []
  private readonly accesses: Accesses[] = []
  private size = 0

  /** Entries that it has held at once. */
  get room(): number {
    return this.transitions.length
  }
  clear(): void {
    this.size = 0
  }
  has({ key }: Transition): boolean {
    for (let i = 0; i < this.size; i++) if (this.transitions[i].key === key) return true
    return false
  }
  add(transition: Transition, accesses: Accesses): void {
    if (this.has(transition)) return
    this.transitions[this.size] = transition
    this.accesses[this.size] = copyAccesses(accesses, this.accesses[this.size])
    this.size++
  }
  /** Becomes what is left of `before` after a step of `process` with these accesses. */
  inherit(before: SleepSet, process: number, accesses: Accesses): void {
    for (let i = 0; i < before.size; i++) {
      const transition = before.transitions[i]
      if (transition.process !== process && !conflict(before.accesses[i], accesses)) this.add(transition, before.accesses[i])
    }
  }
}

const NONE: Transition = { process: 0, choice: '', key: -1, preempts: false }

/** One step of the run under way, and what is still to be tried in its place. Used again for every run. */
class Frame {
  readonly enabled: Transition[] = []
  /** Processes to be tried here (bit set). */
  backtrack = 0
  readonly sleep = new SleepSet()
  /** Processes of which something was tried here (bit set). */
  tried = 0
  preemptions = 0
  chosen = NONE
  readonly accesses = newAccesses()
  /** For each process how many of its steps happened before the end of this one. */
  readonly clock: Int32Array

  constructor(processes: number) {
    this.clock = new Int32Array(processes)
  }

  /** Processes that can do something here (bit set). */
  get able(): number {
    let mask = 0
    for (const { process } of this.enabled) mask |= 1 << process
    return mask
  }
}

/** What a frame with its access sets, and a place in a sleep set, take in V8: in bytes, about. */
const FRAME_BYTES = 1000
const SLEEP_BYTES = 400
/** Steps at the start of a run that say which shard it belongs to. */
const SHARD_DEPTH = 8

/**
 * Enumerates the runs of a system up to a preemption bound: depth first, each run executed from the start. Of runs that differ
 * only in the order of independent steps one is executed: dynamic partial-order reduction (Flanagan and Godefroid 2005) over
 * vector clocks, with sleep sets. Choices that one processor makes by itself, preemptions among them, are all tried.
 */
export class Search {
  private readonly system: System
  private readonly options: SearchOptions
  private readonly reduces: boolean
  /** Of the run under way the first `length`; the others wait to be used again. */
  private readonly frames: Frame[] = []
  private length = 0
  private executions = 0
  private steps = 0
  private pruned = 0
  private depth = 0
  private isTooLong = false

  constructor(system: System, options: SearchOptions) {
    this.system = system
    this.options = options
    this.reduces = options.reduce !== false
  }

  /**
   * Goes on with the search for `executions` runs.
   * @returns null when there is more to do: call it again
   */
  run(executions = Number.POSITIVE_INFINITY): SearchResult | null {
    const { maxExecutions = Number.POSITIVE_INFINITY } = this.options
    for (let done = 0; done < executions; done++) {
      if (this.executions >= maxExecutions) return this.result('max-executions', null)
      this.executions++
      const violation = this.execute()
      if (violation !== null) return this.result(null, violation)
      if (this.isTooLong) return this.result('max-steps', null)
      if (!this.next()) return this.result(null, null)
    }
    return null
  }

  get progress(): SearchProgress {
    return { executions: this.executions, steps: this.steps, depth: this.depth }
  }

  /** Bytes of the frames there are, about. */
  get memory(): number {
    return this.frames.reduce((sum, { sleep }) => sum + FRAME_BYTES + sleep.room * SLEEP_BYTES, 0)
  }

  private result(stopped: SearchResult['stopped'], violation: Violation | null): SearchResult {
    const schedule = violation === null ? [] : this.frames.slice(0, this.length).map(({ chosen }) => chosen)
    const exhaustive = stopped === null && violation === null
    return { ...this.progress, exhaustive, stopped, pruned: this.pruned, violation, schedule }
  }

  /** Runs the frames there are, then new ones to the end of the run. */
  private execute(): Violation | null {
    const { system, frames } = this
    system.reset()
    const last = this.length - 1
    for (let i = 0; i <= last; i++) {
      const accesses = system.execute(frames[i].chosen, i < last)
      this.steps++
      if (i === last) this.relate(i, accesses)
      if (this.broke()) return system.violation
    }
    const { maxSteps = Number.POSITIVE_INFINITY, within = Number.POSITIVE_INFINITY } = this.options
    while (this.length < within && this.open()) {
      if (this.length >= maxSteps) {
        this.isTooLong = true
        return null
      }
      const index = this.length++
      if (this.length > this.depth) this.depth = this.length
      const accesses = system.execute(frames[index].chosen)
      this.steps++
      this.relate(index, accesses)
      if (this.broke()) return system.violation
    }
    return null
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

  /** Prepares the next frame for the state reached; false at the end of the run. */
  private open(): boolean {
    const { system, frames, length } = this
    if (length === SHARD_DEPTH && this.isElsewhere()) return false
    const parent = length === 0 ? null : frames[length - 1]
    if (length === frames.length) frames.push(new Frame(system.processes.length))
    const frame = frames[length]
    const { enabled, sleep } = frame
    frame.preemptions = parent === null ? 0 : parent.preemptions + (parent.chosen.preempts ? 1 : 0)
    enabled.length = 0
    system.enabled(enabled)
    if (frame.preemptions >= this.options.bound) dropPreemptions(enabled)
    if (parent !== null) demandDisabled(parent, enabled)
    if (enabled.length === 0) {
      this.relateBlocked()
      return false
    }
    sleep.clear()
    if (parent !== null && this.reduces) sleep.inherit(parent.sleep, parent.chosen.process, parent.accesses)
    const chosen = enabled.find((transition) => !sleep.has(transition))
    if (chosen === undefined) {
      this.pruned++
      return false
    }
    frame.chosen = chosen
    frame.tried = 1 << chosen.process
    frame.backtrack = !this.reduces || this.isShared(length) ? frame.able : frame.tried
    return true
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
    for (let i = 0; i < this.length; i++) hash = (Math.imul(hash, 31) + this.frames[i].chosen.key) | 0
    // Its low bits alone would be those of the last step.
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
    return ((hash ^ (hash >>> 12)) >>> 0) % shard.count !== shard.index
  }

  /** The last step's place in the order of the run; where it races with an earlier one, the other order is to be tried too. */
  private relate(index: number, accesses: Accesses): void {
    const { frames } = this
    const frame = frames[index]
    const { clock } = frame
    const { process } = frame.chosen
    copyAccesses(accesses, frame.accesses)
    clock.fill(0)
    for (let i = index - 1; i >= 0; i--) {
      if (frames[i].chosen.process !== process) continue
      clock.set(frames[i].clock)
      break
    }
    for (let i = index - 1; i >= 0; i--) {
      const earlier = frames[i]
      const other = earlier.chosen.process
      // What happened before something that happened before this is no race: the steps between would have to be turned round first.
      if (other === process || clock[other] >= earlier.clock[other] || !conflict(earlier.accesses, frame.accesses)) continue
      if (this.reduces) this.demand(i, process)
      join(clock, earlier.clock)
    }
    clock[process]++
  }

  /** At the end of a run: who waits for ever might not, had it come before the step that it waits because of. */
  private relateBlocked(): void {
    if (!this.reduces) return
    const { frames, system } = this
    for (const { process, accesses } of system.blocked()) {
      let clock: Int32Array | null = null
      for (let i = this.length - 1; i >= 0 && clock === null; i--)
        if (frames[i].chosen.process === process) clock = frames[i].clock
      for (let i = this.length - 1; i >= 0; i--) {
        const { chosen, accesses: earlier, clock: reached } = frames[i]
        const known = clock === null ? 0 : clock[chosen.process]
        if (chosen.process !== process && known < reached[chosen.process] && conflict(earlier, accesses)) this.demand(i, process)
      }
    }
  }

  /**
   * `process` is to be tried in the state before step `at`. Everybody, if it could do nothing there or sleeps there: then others may
   * have to come first, and only its own runs would have shown that.
   */
  private demand(at: number, process: number): void {
    const frame = this.frames[at]
    const bit = 1 << process
    if ((frame.backtrack & bit) !== 0 && (frame.tried & bit) !== 0) return
    const could = (frame.tried & bit) !== 0 || frame.enabled.some((t) => t.process === process && !frame.sleep.has(t))
    frame.backtrack |= could ? bit : frame.able
  }

  /** Prepares the next run: the deepest frame where something is left to be tried. False: none. */
  private next(): boolean {
    const { frames } = this
    while (this.length > 0) {
      const frame = frames[this.length - 1]
      frame.sleep.add(frame.chosen, frame.accesses)
      const found = untried(frame)
      if (found !== undefined) {
        frame.chosen = found
        frame.tried |= 1 << found.process
        return true
      }
      this.length--
    }
    return false
  }
}

function untried({ enabled, backtrack, sleep, chosen }: Frame): Transition | undefined {
  const isLeft = (t: Transition) => (backtrack & (1 << t.process)) !== 0 && !sleep.has(t)
  // All choices of one processor before the next one, so that its entry in the sleep set is complete.
  return enabled.find((t) => t.process === chosen.process && isLeft(t)) ?? enabled.find(isLeft)
}

function dropPreemptions(enabled: Transition[]): void {
  let kept = 0
  for (const transition of enabled) if (!transition.preempts) enabled[kept++] = transition
  enabled.length = kept
}

/** What the last step took from another process is to be tried in its place: nothing later would show that they race. */
function demandDisabled(parent: Frame, enabled: readonly Transition[]): void {
  for (const { process, key } of parent.enabled) {
    if (process === parent.chosen.process) continue
    if (!enabled.some((now) => now.key === key)) parent.backtrack |= 1 << process
  }
}

function join(into: Int32Array, from: Int32Array): void {
  for (let i = 0; i < into.length; i++) if (from[i] > into[i]) into[i] = from[i]
}
