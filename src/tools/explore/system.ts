import type { Accesses } from './accesses.ts'

/** Something that can happen next: one choice of one process (a processor, or the clock). */
export interface Transition {
  /** Small number; processes of a search are 0 to 7. */
  readonly process: number
  /** Names the transition among those of its process at this point; the same name means the same step after a replay. */
  readonly choice: string
  /** Stands for process and choice: same key, same step. 0 to 255. */
  readonly key: number
  /** Takes a processor from a task that could have gone on: what a preemption bound counts. */
  readonly preempts: boolean
}

/** An invariant that did not hold, in words with the values. */
export interface Violation {
  /** The invariant's short name. */
  readonly id: string
  readonly invariant: string
  readonly because: string
}

/** Values worth showing beside a step, by what has them: `{ cpu0: { task: 'vcpu0', flag: 0 }, cpu1: … }`. The same names at every step. */
export type Values = Readonly<Record<string, Readonly<Record<string, string | number>>>>

/**
 * A concurrent system whose every run is a sequence of transitions from one initial state: what the search enumerates. Executing
 * the same transitions again gives the same run.
 */
export interface System {
  readonly processes: readonly string[]
  /** What the bits of access sets stand for. Of data: `cpu0.msr.33`, `vcpu0.loaded`; without a dot: whether a task can run, and the like. */
  readonly cells: readonly string[]
  /** Back to the initial state. */
  reset(): void
  /** What can happen now, appended to `into`; nothing: the run is over. */
  enabled(into: Transition[]): void
  /** Processes that wait for something that did not happen, at the end of a run: what their next step would look at and change. */
  blocked(): readonly { readonly process: number; readonly accesses: Accesses }[]
  /**
   * One step. Gives what it touched, valid until the next step; `violation` says what it broke.
   * @param isKnown it was executed from this state before: what it touches and breaks is known, and need not be looked at again
   */
  execute(transition: Transition, isKnown?: boolean): Accesses
  readonly violation: Violation | null
  /** Goes on as if nothing had been violated. */
  forgive(): void
  describe(): Values
}
