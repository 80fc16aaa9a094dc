import { describe, expect, test } from 'vitest'
import { explore } from '../../../src/tools/explore/explore.ts'
import { HostSystem } from '../../../src/tools/explore/host-system.ts'
import { buildScenario, scenarioByName } from '../../../src/tools/explore/scenarios/index.ts'
import { minimize } from '../../../src/tools/explore/schedule.ts'
import { Search } from '../../../src/tools/explore/search.ts'
import { icedModule } from '../../machine/bare-host.ts'

const decoder = icedModule()

describe('a counterexample', () => {
  const scenario = scenarioByName('kernel-fpu')
  const variant = 'no-reload-before-entry'
  const found = explore(scenario, { decoder, variant })

  test('is not longer than one that is found first and cut', () => {
    const system = new HostSystem(buildScenario(scenario, { decoder, variant }))
    const first = new Search(system, { bound: found.bound }).run()!
    const cut = minimize(system, first.schedule, first.violation!)
    expect(found.steps).toBeLessThan(cut.length)
  })

  test('shorter than it none is found, with as few preemptions', () => {
    const system = new HostSystem(buildScenario(scenario, { decoder, variant }))
    const search = new Search(system, { bound: found.bound, within: found.steps - 1, maxExecutions: 20_000 })
    expect(search.run()).toMatchObject({ violation: null, exhaustive: true, depth: found.steps - 1 })
  })

  test('is the same from a part of the search', () => {
    const part = explore(scenario, { decoder, variant, shard: { index: 0, count: 2 } })
    const other = explore(scenario, { decoder, variant, shard: { index: 1, count: 2 } })
    const steps = [part, other].filter(({ verdict }) => verdict === 'violated').map((one) => one.steps)
    expect(steps.length).toBeGreaterThan(0)
    expect(Math.min(...steps)).toBe(found.steps)
  })
})
