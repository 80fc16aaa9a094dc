import { describe, expect, test } from 'vitest'
import { explore } from '../../../src/tools/explore/explore.ts'
import { mergeResults, parseResult, resultOf, type ShardResult, scheduleOf } from '../../../src/tools/explore/results.ts'
import { scenarioByName } from '../../../src/tools/explore/scenarios/index.ts'
import { icedModule } from '../../machine/bare-host.ts'

const decoder = icedModule()
const SHARDS = 3

/** A search in parts, as --shard does it. */
function parts(name: string, upTo: number, variant?: string): ShardResult[] {
  return Array.from({ length: SHARDS }, (_, index) => {
    const shard = { index, count: SHARDS }
    const found = explore(scenarioByName(name), { decoder, bound: upTo, shard, ...(variant === undefined ? {} : { variant }) })
    return resultOf(found, { upTo, reduction: true, shard, seconds: index })
  })
}
const whole = (name: string, upTo: number, variant: string) =>
  resultOf(explore(scenarioByName(name), { decoder, bound: upTo, variant }), {
    upTo,
    reduction: true,
    shard: null,
    seconds: 1,
  })

const good = parts('split-lock', 1)

describe('merging the parts of a search', () => {
  test('all hold: the whole holds, with the sums', () => {
    const merged = mergeResults(good)
    expect(merged).toMatchObject({ verdict: 'holds', exhaustive: true, bound: 1, upTo: 1, shard: null, seconds: 2 })
    expect(merged.executions).toBe(good.reduce((sum, { executions }) => sum + executions, 0))
  })

  // Also one that needs a preemption, so that parts end at different bounds.
  test.each([
    ['split-lock', 'preemptible-update'],
    ['split-lock', 'restore-on-old-processor'],
    ['split-lock', 'shared-register'],
    ['permission', 'checked-before-lock'],
    ['xstate', 'xfd-err-read-late'],
  ])('%s with %s: violated with as few preemptions as in one piece, and with a counterexample', (name, variant) => {
    const merged = mergeResults(parts(name, 1, variant))
    const one = whole(name, 1, variant)
    expect(merged).toMatchObject({ verdict: 'violated', bound: one.bound, invariantId: one.invariantId })
    expect(merged.moments).toHaveLength(merged.steps)
    expect(scheduleOf(merged)).toMatchObject({ scenario: name, variant, invariants: null })
  })

  test('the order in which they are given and how far they looked beyond the counterexample change nothing', () => {
    const found = parts('split-lock', 1, 'restore-on-old-processor')
    const merged = mergeResults(found)
    expect(mergeResults([...found].reverse())).toEqual(merged)
    const further = found.map((part) =>
      part.verdict === 'violated' ? part : { ...part, executionsAtBound: [...part.executionsAtBound, 1000] },
    )
    expect(mergeResults(further)).toEqual(merged)
  })

  test('of several violations the one with the fewest preemptions counts, then the shortest, then the first', () => {
    const [base] = parts('split-lock', 1, 'preemptible-update').filter(({ verdict }) => verdict === 'violated')
    const part = (index: number, bound: number, steps: number) => ({ ...base, bound, steps, shard: { index, count: 4 } })
    const four = [part(1, 1, 3), part(2, 0, 9), part(3, 0, 7), part(4, 0, 7)]
    expect(mergeResults(four)).toMatchObject({ bound: 0, steps: 7 })
    expect(mergeResults([...four].reverse())).toEqual(mergeResults(four))
  })

  test('one that is undecided leaves the whole undecided', () => {
    const stopped = { ...good[1], verdict: 'undecided' as const, exhaustive: false, bound: 0, stopped: 'memory' }
    expect(mergeResults([good[0], stopped, good[2]])).toMatchObject({
      verdict: 'undecided',
      exhaustive: false,
      stopped: 'memory',
    })
  })

  test.each<[string, readonly ShardResult[], RegExp]>([
    ['a missing part', good.slice(0, 2), /parts of the search are missing.*shard 3 of 3/],
    ['missing parts', good.slice(1, 2), /parts of the search are missing.*shards 1, 3 of 3/],
    ['a part twice', [good[0], good[1], good[2], good[1]], /there twice.*shard 2 of 3/],
    ['a search divided otherwise', [good[0], { ...good[1], shard: { index: 2, count: 2 } }], /divided by 3 and 2/],
    ['a part beside the whole', [{ ...good[0], shard: null }, good[1]], /divided by 1 and 3/],
    ['another scenario', [good[0], good[1], { ...good[2], scenario: 'xstate' }], /scenario is "split-lock" and "xstate"/],
    ['another bound', [good[0], good[1], { ...good[2], upTo: 2 }], /upTo is 1 and 2/],
    ['other invariants', [good[0], good[1], { ...good[2], invariants: ['own-xfd'] }], /invariants is null and \["own-xfd"\]/],
    ['nothing', [], /there is no result/],
  ])('%s is refused by name: the whole is not said to hold', (_name, results, because) => {
    expect(() => mergeResults(results)).toThrow(because)
  })
})

describe('a result as JSON', () => {
  test('comes back as it was, counterexample and all', () => {
    const result = parts('split-lock', 0, 'preemptible-update')[0]
    expect(parseResult(JSON.stringify(result), 'file')).toEqual(result)
  })

  test.each<[string, (result: ShardResult) => unknown, RegExp]>([
    ['not JSON', () => undefined, /not JSON/],
    ['a list', (result) => [result], /is no result/],
    ['without a verdict', ({ verdict: _, ...rest }) => rest, /verdict/],
    ['a part that there is not', (result) => ({ ...result, shard: { index: 4, count: 3 } }), /no part 4 of 3/],
    ['violated without a counterexample', (result) => ({ ...result, verdict: 'violated', exhaustive: false }), /has no schedule/],
    ['holds and was not exhaustive', (result) => ({ ...result, exhaustive: false }), /not exhaustive/],
    ['a bound out of reach', (result) => ({ ...result, bound: 1e9 }), /bound/],
  ])('%s is refused', (_name, change, because) => {
    const text = JSON.stringify(change(good[0])) ?? '{'
    expect(() => parseResult(text, 'file')).toThrow(because)
  })
})
