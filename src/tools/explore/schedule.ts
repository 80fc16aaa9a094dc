import * as v from 'valibot'
import { UserError } from '../../isa/user-error.ts'
import { readDocument } from '../json-document.ts'
import { namesIn } from './accesses.ts'
import type { System, Transition, Values, Violation } from './system.ts'

/** A run to be made again: which process did what, in order. */
export interface Schedule {
  readonly scenario: string
  readonly variant: string | null
  readonly kernel: string
  /** Names of the invariants that are checked; null: all. */
  readonly invariants: readonly string[] | null
  readonly steps: readonly { readonly process: string; readonly choice: string }[]
}

/** Most invariants that a file may name. */
const MAX_INVARIANTS = 100
/** Longest run that a file holds. */
export const MAX_STEPS = 10_000
const text = v.pipe(v.string(), v.maxLength(200))
/** Names of invariants in a file. */
export const INVARIANTS = v.nullable(v.pipe(v.array(text), v.maxLength(MAX_INVARIANTS)))
export const STEPS = v.pipe(v.array(v.object({ process: text, choice: text })), v.maxLength(MAX_STEPS))
const FILE = v.object({
  format: v.literal('worldswitch schedule'),
  version: v.literal(1),
  scenario: text,
  variant: v.nullable(text),
  kernel: text,
  invariants: v.optional(INVARIANTS, null),
  steps: STEPS,
})

/** A schedule as a file: JSON, a step a line. */
export function encodeSchedule({ steps, ...about }: Schedule): string {
  const head = JSON.stringify({ format: 'worldswitch schedule', version: 1, ...about }).slice(0, -1)
  return `${head},"steps":[\n${steps.map((step) => JSON.stringify(step)).join(',\n')}\n]}\n`
}

/** @throws UserError for what is no schedule */
export function decodeSchedule(json: string, path: string): Schedule {
  const refuse = (because: string) =>
    new UserError({
      code: 'bad-schedule',
      what: `${path} is no schedule`,
      where: '--replay',
      because,
      fix: 'write one with explore --save FILE',
    })
  const { scenario, variant, kernel, invariants, steps } = readDocument(FILE, json, refuse)
  return { scenario, variant, kernel, invariants, steps }
}

/** One step of a run as it was, with the values after it. */
export interface Moment {
  readonly process: string
  readonly choice: string
  readonly preempts: boolean
  /** Data that it wrote, the same value or another. */
  readonly wrote: readonly string[]
  readonly values: Values
}

/**
 * Makes a run again, step by step.
 * @throws UserError naming the step at which the schedule stops being possible
 */
export function replay(system: System, steps: Schedule['steps']): { moments: Moment[]; violation: Violation | null } {
  system.reset()
  const moments: Moment[] = []
  for (const [index, step] of steps.entries()) {
    const possible = possibleIn(system)
    const transition = find(system, possible, step)
    if (transition === undefined) throw impossible(system, possible, step, index)
    const wrote = namesIn(system.execute(transition).writes, system.cells).filter((name) => name.includes('.'))
    moments.push({ ...step, preempts: transition.preempts, wrote, values: system.describe() })
    if (system.violation !== null) break
  }
  return { moments, violation: system.violation }
}

function possibleIn(system: System): Transition[] {
  const possible: Transition[] = []
  system.enabled(possible)
  return possible
}

function find(system: System, possible: readonly Transition[], step: Schedule['steps'][number]): Transition | undefined {
  return possible.find(({ process, choice }) => system.processes[process] === step.process && choice === step.choice)
}

function impossible(system: System, possible: readonly Transition[], step: Schedule['steps'][number], index: number): UserError {
  const could = possible.map(({ process, choice }) => `${system.processes[process]} '${choice}'`).join(', ')
  return new UserError({
    code: 'impossible-schedule',
    what: `step ${index + 1} of the schedule is impossible`,
    where: '--replay',
    because: `${step.process} cannot '${step.choice}' here`,
    fix: could === '' ? 'the run is over' : `possible: ${could}`,
  })
}

/** Steps that minimizing may take: a long run is left as long as it is by then. */
const MINIMIZING = 2_000_000

/** Leaves out steps as long as the same invariant breaks without them, and without more preemptions than before. */
export function minimize(system: System, schedule: readonly Transition[], violation: Violation): readonly Transition[] {
  const preemptions = preemptionsOf(schedule)
  let best = schedule
  let left = MINIMIZING
  for (let again = true; again; ) {
    again = false
    for (let i = best.length - 1; i >= 0 && left > 0; i--) {
      left -= best.length
      const shorter = tryWithout(system, best, i, violation.invariant)
      // Without a task's last step a change of task may become a preemption.
      if (shorter === null || preemptionsOf(shorter) > preemptions) continue
      best = shorter
      again = true
    }
  }
  return best
}

const preemptionsOf = (steps: readonly Transition[]): number => steps.filter(({ preempts }) => preempts).length

function tryWithout(
  system: System,
  steps: readonly Transition[],
  skipped: number,
  invariant: string,
): readonly Transition[] | null {
  system.reset()
  const done: Transition[] = []
  for (const [i, step] of steps.entries()) {
    if (i === skipped) continue
    const transition = possibleIn(system).find(({ process, choice }) => process === step.process && choice === step.choice)
    if (transition === undefined) return null
    system.execute(transition)
    done.push(transition)
    if (system.violation !== null) return system.violation.invariant === invariant ? done : null
  }
  return null
}
