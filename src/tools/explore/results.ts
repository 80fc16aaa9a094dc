import * as v from 'valibot'
import { UserError } from '../../isa/user-error.ts'
import { readDocument } from '../json-document.ts'
import type { Exploration } from './explore.ts'
import { INVARIANTS, MAX_STEPS, type Schedule, STEPS } from './schedule.ts'

const text = v.pipe(v.string(), v.maxLength(1000))
const count = v.pipe(v.number(), v.integer(), v.minValue(0))
/** More preemptions than this are not looked at: the search would not end. */
export const MOST_PREEMPTIONS = 20
export const MOST_SHARDS = 9999
const preemptions = v.pipe(count, v.maxValue(MOST_PREEMPTIONS))
const MOMENT = v.object({
  process: text,
  choice: text,
  preempts: v.boolean(),
  wrote: v.array(text),
  values: v.record(text, v.record(text, v.union([text, v.number()]))),
})
const SHARD = v.object({ index: v.pipe(count, v.minValue(1)), count: v.pipe(count, v.maxValue(MOST_SHARDS)) })
const RESULT = v.object({
  scenario: text,
  variant: v.nullable(text),
  kernel: text,
  /** Names of those that were checked; null: all. */
  invariants: INVARIANTS,
  verdict: v.picklist(['holds', 'violated', 'undecided']),
  exhaustive: v.boolean(),
  /** Preemptions up to which is sure what `verdict` says; of a violation: that it takes. */
  bound: preemptions,
  /** Runs up to there. */
  executions: count,
  steps: count,
  seconds: v.pipe(v.number(), v.minValue(0)),
  /** Preemptions up to which the search was to look. */
  upTo: preemptions,
  reduction: v.boolean(),
  /** Part of the search that this is of: 1-based, as in --shard. */
  shard: v.nullable(SHARD),
  executionsAtBound: v.pipe(v.array(count), v.maxLength(MOST_PREEMPTIONS + 1)),
  /** Most memory that was in use, in MiB. */
  memory: count,
  /** Why it is undecided. */
  stopped: v.nullable(text),
  /** What was violated: its name, its sentence, and the values. */
  invariantId: v.nullable(text),
  invariant: v.nullable(text),
  because: v.nullable(text),
  /** The steps of the counterexample, and what they led to. */
  schedule: v.nullable(STEPS),
  moments: v.pipe(v.array(MOMENT), v.maxLength(MAX_STEPS)),
})

/** What `explore --json` prints of a search, or of a part of one. */
export type ShardResult = v.InferOutput<typeof RESULT>

/** What was asked for, as far as the search does not say it itself. */
export interface Asked {
  readonly upTo: number
  readonly reduction: boolean
  /** 0-based. */
  readonly shard: { readonly index: number; readonly count: number } | null
  readonly seconds: number
}

export function resultOf(found: Exploration, { upTo, reduction, shard, seconds }: Asked): ShardResult {
  const { id, invariant, because } = found.violation ?? { id: null, invariant: null, because: null }
  return {
    scenario: found.scenario,
    variant: found.variant,
    kernel: found.kernel,
    invariants: found.invariants === null ? null : [...found.invariants],
    verdict: found.verdict,
    exhaustive: found.exhaustive,
    bound: found.bound,
    executions: found.executions,
    steps: found.steps,
    seconds: Math.round(seconds * 1000) / 1000,
    upTo,
    reduction,
    shard: shard === null ? null : { index: shard.index + 1, count: shard.count },
    executionsAtBound: [...found.executionsAtBound],
    memory: Math.round(found.memory / 2 ** 20),
    stopped: found.stopped,
    invariantId: id,
    invariant,
    because,
    schedule: found.schedule === null ? null : [...found.schedule.steps],
    moments: found.moments as ShardResult['moments'],
  }
}

/** The schedule of a result's counterexample. */
export function scheduleOf({ scenario, variant, kernel, invariants, schedule }: ShardResult): Schedule | null {
  return schedule === null ? null : { scenario, variant, kernel, invariants, steps: schedule }
}

function refuse(what: string, because: string, fix: string): UserError {
  return new UserError({ code: 'bad-result', what, where: '--merge', because, fix })
}

/** @throws UserError for what `--json` did not print */
export function parseResult(json: string, path: string): ShardResult {
  const refuseIt = (because: string) => refuse(`${path} is no result`, because, 'give what explore --json printed')
  const result = readDocument(RESULT, json, refuseIt)
  const { verdict, exhaustive, schedule, because, shard } = result
  if ((verdict === 'holds') !== exhaustive)
    throw refuseIt(`it says '${verdict}', and that it is ${exhaustive ? '' : 'not '}exhaustive`)
  if ((verdict === 'violated') !== (schedule !== null && because !== null))
    throw refuseIt(`it says '${verdict}', and ${schedule === null ? 'has no' : 'has a'} schedule`)
  if (shard !== null && shard.index > shard.count) throw refuseIt(`there is no part ${shard.index} of ${shard.count}`)
  return result
}

/**
 * The result of a search from those of its shards. A violation in one is one of the whole, and the one with the fewest preemptions
 * counts, then the shortest, then that of the first shard; it holds if it does in all.
 * @throws UserError when they are of different searches, or not the parts of one
 */
export function mergeResults(results: readonly ShardResult[]): ShardResult {
  ofOneSearch(results)
  allParts(results)
  const inOrder = [...results].sort((a, b) => (a.shard?.index ?? 0) - (b.shard?.index ?? 0))
  const least = (verdict: ShardResult['verdict']) =>
    inOrder.filter((r) => r.verdict === verdict).sort((a, b) => a.bound - b.bound || a.steps - b.steps)[0]
  const worst = least('violated') ?? least('undecided') ?? inOrder[0]
  // What a shard did beyond the bound of the counterexample depends on when it heard of it.
  const depth = worst.verdict === 'violated' ? worst.bound : worst.upTo
  const executionsAtBound = Array.from({ length: depth + 1 }, (_, bound) =>
    results.reduce((sum, result) => sum + (result.executionsAtBound[bound] ?? 0), 0),
  )
  return {
    ...worst,
    bound: worst.verdict === 'holds' ? Math.min(...results.map(({ bound }) => bound)) : worst.bound,
    executions: executionsAtBound.reduce((sum, n) => sum + n, 0),
    executionsAtBound,
    steps: worst.verdict === 'violated' ? worst.steps : Math.max(...results.map(({ steps }) => steps)),
    seconds: Math.max(...results.map(({ seconds }) => seconds)),
    memory: Math.max(...results.map(({ memory }) => memory)),
    shard: null,
  }
}

function ofOneSearch(results: readonly ShardResult[]): void {
  const [first] = results
  for (const name of ['scenario', 'variant', 'kernel', 'invariants', 'upTo', 'reduction'] as const) {
    const values = new Set(results.map((result) => JSON.stringify(result[name])))
    if (values.size < 2) continue
    const [one, other] = values
    throw refuse('the results are of different searches', `${name} is ${one} and ${other}`, 'give the shards of one search')
  }
  if (first === undefined) throw refuse('there is no result', 'none was given', 'give the shards of one search')
}

/** Every part of the search is there once: what is missing might hold a violation. */
function allParts(results: readonly ShardResult[]): void {
  const parts = results[0].shard?.count ?? 1
  if (results.some(({ shard }) => (shard?.count ?? 1) !== parts)) {
    const counts = [...new Set(results.map(({ shard }) => shard?.count ?? 1))].join(' and ')
    throw refuse('the results are not the parts of one search', `it was divided by ${counts}`, 'divide it once')
  }
  const seen = results.map(({ shard }) => shard?.index ?? 1)
  const twice = [...new Set(seen.filter((index, i) => seen.indexOf(index) !== i))]
  if (twice.length > 0) throw refuse('a part is there twice', `${shards(twice)} of ${parts}`, 'give each result once')
  const missing = Array.from({ length: parts }, (_, i) => i + 1).filter((index) => !seen.includes(index))
  if (missing.length > 0) throw refuse('parts of the search are missing', `${shards(missing)} of ${parts}`, 'give them all')
}

const SHOWN = 10
function shards(indexes: readonly number[]): string {
  const some = indexes.slice(0, SHOWN).join(', ')
  return `shard${indexes.length > 1 ? 's' : ''} ${some}${indexes.length > SHOWN ? ', …' : ''}`
}
