import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { UserError } from '../../../src/isa/user-error.ts'
import { explore } from '../../../src/tools/explore/explore.ts'
import { HostSystem } from '../../../src/tools/explore/host-system.ts'
import { mergeResults, parseResult, resultOf } from '../../../src/tools/explore/results.ts'
import { buildScenario, scenarioByName } from '../../../src/tools/explore/scenarios/index.ts'
import { decodeSchedule, encodeSchedule, replay } from '../../../src/tools/explore/schedule.ts'
import type { Transition } from '../../../src/tools/explore/system.ts'
import { icedModule } from '../../machine/bare-host.ts'

const decoder = icedModule()
const scenario = scenarioByName('split-lock')
const variant = 'restore-on-old-processor'
const found = explore(scenario, { decoder, variant, bound: 1 })
const schedule = encodeSchedule(found.schedule!)
const result = JSON.stringify(resultOf(found, { upTo: 1, reduction: true, shard: { index: 0, count: 1 }, seconds: 0 }))

/** A file with a place in it replaced, cut out or doubled. */
const damaged = (text: string) =>
  fc
    .tuple(
      fc.nat(text.length),
      fc.nat(40),
      fc.oneof(fc.string({ maxLength: 8 }), fc.constantFrom('null', '-1', '1e99', '{}', '[', '"')),
    )
    .map(([at, length, instead]) => text.slice(0, at) + instead + text.slice(at + length))
const anyJson = fc.json({ maxDepth: 4 })

/** Works, or says in one line what is wrong. */
function worksOrRefuses(work: () => unknown): void {
  try {
    work()
  } catch (error) {
    expect(error).toBeInstanceOf(UserError)
    expect((error as UserError).message.length).toBeLessThan(2000)
  }
}

describe('files that are damaged or are something else are read or refused in words', () => {
  const system = new HostSystem(buildScenario(scenario, { decoder, variant }))

  test('schedules: what can be read can be replayed, or stops being possible at a step', () => {
    fc.assert(
      fc.property(fc.oneof(damaged(schedule), anyJson), (text) =>
        worksOrRefuses(() => replay(system, decodeSchedule(text, 'file').steps)),
      ),
      { numRuns: 500, seed: 11 },
    )
  })

  test('results of shards', () => {
    fc.assert(
      fc.property(fc.oneof(damaged(result), anyJson), (text) => worksOrRefuses(() => mergeResults([parseResult(text, 'file')]))),
      { numRuns: 1000, seed: 12 },
    )
  })

  test('names of JavaScript objects are no scenarios, variants or invariants', () => {
    for (const name of ['__proto__', 'constructor', 'toString', '']) {
      expect(() => scenarioByName(name)).toThrow(UserError)
      expect(() => buildScenario(scenario, { decoder, variant: name })).toThrow(UserError)
      expect(() => buildScenario(scenario, { decoder, invariants: [name] })).toThrow(UserError)
      expect(() => buildScenario(scenario, { decoder, kernel: name })).toThrow(UserError)
    }
  })

  test('arrays in arrays without end', () => {
    expect(() => decodeSchedule('['.repeat(100_000), 'file')).toThrow(UserError)
    expect(() => parseResult(`${'['.repeat(100_000)}${']'.repeat(100_000)}`, 'file')).toThrow(UserError)
  })
})

describe('any run that is possible can be made again', () => {
  test.each([
    ['split-lock', undefined],
    ['split-lock', variant],
    ['xstate', undefined],
    ['xstate', 'stale-owner'],
    ['kernel-fpu', undefined],
    ['shared-vcpu', undefined],
    ['permission', 'checked-before-lock'],
  ])('%s with %s: random choices, then the same on another model: the same values', (name, mistake) => {
    const build = () =>
      new HostSystem(buildScenario(scenarioByName(name), { decoder, ...(mistake === undefined ? {} : { variant: mistake }) }))
    const [one, other] = [build(), build()]
    fc.assert(
      fc.property(fc.array(fc.nat(1000), { minLength: 40, maxLength: 40 }), (choices) => {
        const steps = randomRun(one, choices)
        const first = replay(one, steps)
        expect(replay(other, steps)).toEqual(first)
        expect(first.moments.length).toBe(steps.length)
      }),
      { numRuns: 20, seed: 13 },
    )
  })
})

function randomRun(system: HostSystem, choices: readonly number[]) {
  const steps: { process: string; choice: string }[] = []
  system.reset()
  for (const choice of choices) {
    const possible: Transition[] = []
    system.enabled(possible)
    if (possible.length === 0) break
    const transition = possible[choice % possible.length]
    steps.push({ process: system.processes[transition.process], choice: transition.choice })
    system.execute(transition)
  }
  return steps
}
