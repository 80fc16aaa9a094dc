import * as v from 'valibot'
import { UserError } from '../../isa/user-error.ts'
import type { Exploration } from './explore.ts'

const text = v.pipe(v.string(), v.maxLength(1000))
const count = v.pipe(v.number(), v.integer(), v.minValue(0))
const RESULT = v.object({
  scenario: text,
  variant: v.nullable(text),
  kernel: text,
  invariants: v.nullable(v.array(text)),
  verdict: v.picklist(['holds', 'violated', 'undecided']),
  exhaustive: v.boolean(),
  bound: count,
  executions: count,
  steps: count,
  seconds: v.pipe(v.number(), v.minValue(0)),
  /** What was violated: its name, its sentence, and the values. */
  invariantId: v.nullable(text),
  invariant: v.nullable(text),
  because: v.nullable(text),
})

/** What `explore --json` prints of a search, or of a part of one. */
export type ShardResult = v.InferOutput<typeof RESULT>

export function resultOf(found: Exploration, seconds: number): ShardResult {
  const { scenario, variant, kernel, invariants, verdict, exhaustive, bound, executions, steps, violation } = found
  const { id, invariant, because } = violation ?? { id: null, invariant: null, because: null }
  return {
    scenario,
    variant,
    kernel,
    invariants: invariants === null ? null : [...invariants],
    verdict,
    exhaustive,
    bound,
    executions,
    steps,
    seconds: Math.round(seconds * 1000) / 1000,
    invariantId: id,
    invariant,
    because,
  }
}

/** @throws UserError for what `--json` did not print */
export function parseResult(json: string, path: string): ShardResult {
  let value: unknown = null
  try {
    value = JSON.parse(json)
  } catch {
    // reported below
  }
  const parsed = v.safeParse(RESULT, value)
  if (parsed.success) return parsed.output
  throw new UserError({
    code: 'bad-result',
    what: `${path} is no result`,
    where: '--merge',
    because: parsed.issues[0].message,
    fix: 'give what explore --json printed',
  })
}

/**
 * The result of a search from those of its shards. A violation in one is one of the whole; it holds if it does in all.
 * @throws UserError when they are of different searches
 */
export function mergeResults(results: readonly ShardResult[]): ShardResult {
  const [first] = results
  const same = (a: ShardResult, b: ShardResult) => a.scenario === b.scenario && a.variant === b.variant && a.kernel === b.kernel
  if (!results.every((result) => same(result, first))) {
    throw new UserError({
      code: 'bad-result',
      what: 'the results are of different searches',
      where: '--merge',
      because: 'scenario, variant or kernel differ',
      fix: 'give the shards of one search',
    })
  }
  const violated = results.filter(({ verdict }) => verdict === 'violated').sort((a, b) => a.bound - b.bound || a.steps - b.steps)
  const worst = violated[0] ?? results.find(({ verdict }) => verdict === 'undecided') ?? first
  return {
    ...worst,
    exhaustive: results.every(({ exhaustive }) => exhaustive),
    executions: results.reduce((sum, { executions }) => sum + executions, 0),
    steps: violated.length > 0 ? worst.steps : Math.max(...results.map(({ steps }) => steps)),
    seconds: Math.max(...results.map(({ seconds }) => seconds)),
  }
}
