import { describe, expect, test } from 'vitest'
import { PREEMPTION_POINT, type Preemptible } from '../../../src/linux/preemption.ts'
import { explore, exploreInSlices } from '../../../src/tools/explore/explore.ts'
import { type Scenario, scenarioByName } from '../../../src/tools/explore/scenarios/index.ts'
import { VcpuHost } from '../../../src/tools/explore/vcpu-host.ts'
import { icedModule } from '../../machine/bare-host.ts'

const decoder = icedModule()

/** A guest that never halts: its thread is in KVM_RUN for ever. */
const endless: Scenario = {
  name: 'endless',
  title: 'a guest in a loop',
  kernel: 'linux-6.12',
  needs: 'guest permission',
  bound: 1,
  holds: true,
  variants: [],
  build: ({ kernel }) => {
    const host = new VcpuHost({ kernel, cpu: 'SapphireRapids', decoder, guests: [[]], others: 1 })
    const [{ task }] = host.vcpus
    return {
      kernel: host.host.kernel,
      recorder: host.recorder,
      actors: [
        {
          name: 'vcpu0',
          task,
          *body(): Preemptible<void> {
            for (;;) yield PREEMPTION_POINT
          },
        },
      ],
      invariants: [],
      objects: host.objects,
      memory: host.memory,
      migrations: 0,
      describe: () => ({}),
    }
  },
}

describe('a search that cannot end ends', () => {
  test('a run without an end: undecided, with the length at which it was given up', () => {
    expect(explore(endless, { decoder, maxSteps: 50 })).toMatchObject({
      verdict: 'undecided',
      exhaustive: false,
      executions: 1,
      steps: 50,
      stopped: 'a run has more than 50 steps, and may have no end',
    })
  })

  test('without being told how long a run may be it gives up after 10000 steps', () => {
    expect(explore(endless, { decoder })).toMatchObject({ verdict: 'undecided', steps: 10_000, executions: 1 })
  })

  test('the length of the longest run is enough, and one less is not', () => {
    const scenario = scenarioByName('permission')
    const { steps } = explore(scenario, { decoder })
    expect(explore(scenario, { decoder, maxSteps: steps })).toMatchObject({ verdict: 'holds', exhaustive: true })
    expect(explore(scenario, { decoder, maxSteps: steps - 1 })).toMatchObject({ verdict: 'undecided', exhaustive: false })
  })
})

describe('a search that needs too much ends', () => {
  const scenario = scenarioByName('split-lock')

  test('memory: undecided, with what was used and how far it was', () => {
    let used = 100 * 2 ** 20
    const memory = () => ({ used: (used += 2 ** 20), limit: 102 * 2 ** 20 })
    const found = explore(scenario, { decoder, bound: 2, memory })
    expect(found).toMatchObject({
      verdict: 'undecided',
      exhaustive: false,
      memory: 103 * 2 ** 20,
      stopped: '103 MiB of memory are in use, and 102 may be',
    })
    expect(found.executions).toBeGreaterThan(0)
    expect(found.steps).toBeGreaterThan(0)
  })

  test('runs: undecided after exactly as many', () => {
    const found = explore(scenario, { decoder, bound: 2, maxExecutions: 30 })
    expect(found).toMatchObject({ verdict: 'undecided', exhaustive: false, executions: 30 })
    expect(found.executionsAtBound.reduce((sum, n) => sum + n, 0)).toBe(30)
  })

  test('more preemptions than anybody wants to know of are not looked at, also in the middle', () => {
    const upTo = explore(scenario, { decoder, bound: 0 })
    let atMost = 1
    const search = exploreInSlices(scenario, { decoder, bound: 1, atMost: () => atMost })
    let step = search.next()
    expect(step.value).toMatchObject({ bound: 1 })
    atMost = 0
    while (!step.done) step = search.next()
    const { executions, executionsAtBound, bound, verdict } = step.value
    expect({ executions, executionsAtBound, bound, verdict }).toEqual({
      executions: upTo.executions,
      executionsAtBound: upTo.executionsAtBound,
      bound: 0,
      verdict: 'holds',
    })
  })
})
