import { describe, expect, test } from 'vitest'
import { explore } from '../../../src/tools/explore/explore.ts'
import { HostSystem } from '../../../src/tools/explore/host-system.ts'
import { buildScenario, scenarioByName, scenarios } from '../../../src/tools/explore/scenarios/index.ts'
import { decodeSchedule, encodeSchedule, replay } from '../../../src/tools/explore/schedule.ts'
import { Search } from '../../../src/tools/explore/search.ts'
import { icedModule } from '../../machine/bare-host.ts'

const decoder = icedModule()
const MOST_STEPS = 25

describe('mistakes put back are found', () => {
  // Needs two preemptions, and tens of thousands of runs: `npm run explore:all` finds it.
  const quick = ({ bound = 0 }: { bound?: number }) => bound < 2
  const all = scenarios.flatMap((scenario) => scenario.variants.filter(quick).map((variant) => ({ scenario, variant })))
  test.each(all.map(({ scenario, variant }) => [`${scenario.name}: ${variant.mistake}`, scenario, variant.name] as const))(
    '%s [SLD-T13, SLD-58]',
    (_name, scenario, variant) => {
      const found = explore(scenario, { decoder, variant, bound: 1 })
      expect(found).toMatchObject({ verdict: 'violated', variant })
      expect(found.moments.filter(({ preempts }) => preempts)).toHaveLength(found.bound)
      expect(found.steps).toBeLessThanOrEqual(MOST_STEPS)
    },
  )
})

describe('the good code', () => {
  test.each([
    ['split-lock', 1],
    ['xstate', 0],
    ['kernel-fpu', 0],
    ['reallocation', 0],
    ['shared-vcpu', 0],
    ['permission', 1],
  ])(
    '%s holds in every run with up to %d preemptions [SLD-53, SLD-54, SLD-61, PERM-40, GFPU-12, GFPU-13, PERM-23]',
    (name, bound) => {
      expect(explore(scenarioByName(name), { decoder, bound })).toMatchObject({
        verdict: 'holds',
        exhaustive: true,
        violation: null,
      })
    },
  )

  test('the unmodified linux-6.12 is found to oops when IA32_XFD is written over live tile data [GFPU-53]', () => {
    const found = explore(scenarioByName('host-xfd-write'), { decoder })
    expect(found).toMatchObject({ verdict: 'violated', kernel: 'linux-6.12' })
    expect(found.violation!.because).toMatch(/unexpected #NM exception/)
    expect(found.steps).toBeLessThanOrEqual(MOST_STEPS)
  })
})

test('a kernel that clears the image at every write of IA32_XFD does not oops there [GFPU-53, GFPU-32]', () => {
  const found = explore(scenarioByName('host-xfd-write'), { decoder, kernel: 'variant:xfd-write-clears', bound: 0 })
  expect(found).toMatchObject({ verdict: 'holds', exhaustive: true })
})

test('the design with an exit for room warns where the merged one has nothing to warn of [GFPU-35]', () => {
  const reallocation = scenarioByName('reallocation')
  expect(explore(reallocation, { decoder, kernel: 'linux-6.12', bound: 0 }).verdict).toBe('holds')
  const deferred = explore(reallocation, { decoder, variant: 'deferred' })
  expect(deferred).toMatchObject({ verdict: 'violated', kernel: 'proposal:fpu-realloc-exit' })
  expect(deferred.violation!.because).toMatch(/WARNING.*fpu_guest_realloc_fpstate/)
})

test('without the reload before an entry it takes a preemption, or an interrupt that uses the FPU, to show [GFPU-12, GFPU-13]', () => {
  const variant = 'no-reload-before-entry'
  const preempted = explore(scenarioByName('xstate'), { decoder, variant })
  expect(preempted).toMatchObject({ verdict: 'violated', bound: 1, violation: { id: 'state-not-visible' } })
  const interrupted = explore(scenarioByName('kernel-fpu'), { decoder, variant })
  expect(interrupted).toMatchObject({ verdict: 'violated', bound: 0, violation: { id: 'state-not-visible' } })
  expect(interrupted.schedule!.steps.map(({ choice }) => choice)).toContain('interrupt')
})

describe('reduction', () => {
  // Every order of every step of small searches, and the reduced ones: the same violations.
  test.each([
    ['permission', undefined, 0],
    ['permission', 'checked-before-lock', 1],
    ['split-lock', 'register-without-flag', 0],
  ] as const)('%s, variant %s: the same violations as without it', (name, variant, bound) => {
    const violations = (reduce: boolean) => {
      const system = new HostSystem(
        buildScenario(scenarioByName(name), { decoder, ...(variant === undefined ? {} : { variant }) }),
      )
      const seen = new Set<string>()
      const onViolation = ({ invariant, because }: { invariant: string; because: string }) => seen.add(`${invariant}: ${because}`)
      const result = new Search(system, { bound, reduce, onViolation, maxExecutions: 40_000 }).run()!
      return { seen: [...seen].sort(), exhaustive: result.exhaustive, executions: result.executions }
    }
    const [full, reduced] = [violations(false), violations(true)]
    expect(full.exhaustive && reduced.exhaustive).toBe(true)
    expect(reduced.seen).toEqual(full.seen)
    expect(full.seen.length > 0).toBe(variant !== undefined)
    expect(reduced.executions).toBeLessThanOrEqual(full.executions)
  })
})

describe('schedules', () => {
  const scenario = scenarioByName('split-lock')
  const variant = 'loaded-tested-preemptibly'
  const found = explore(scenario, { decoder, variant, bound: 1 })
  const fresh = () => new HostSystem(buildScenario(scenario, { decoder, variant }))

  test('a counterexample makes the same run again, value by value, on a model built anew', () => {
    const schedule = decodeSchedule(encodeSchedule(found.schedule!), 'file')
    expect(schedule).toEqual(found.schedule)
    const again = replay(fresh(), schedule.steps)
    expect(again.violation).toEqual(found.violation)
    expect(again.moments).toEqual(found.moments)
    expect(again.moments[0].wrote).not.toContain('cpu1.msr.33')
    expect(again.moments.flatMap(({ wrote }) => wrote)).toEqual(expect.arrayContaining(['cpu0.msr.33', 'vcpu0.loaded']))
  })

  test('a run can be made again and again from the same state', () => {
    const system = fresh()
    const once = replay(system, found.schedule!.steps)
    expect(replay(system, found.schedule!.steps)).toEqual(once)
  })

  test('a schedule made impossible is refused with the step at which it stops being possible', () => {
    const steps = [...found.schedule!.steps]
    steps[7] = { process: 'cpu1', choice: 'run vcpu1' }
    expect(() => replay(fresh(), steps)).toThrow(/step 8 of the schedule is impossible.*cpu1 cannot 'run vcpu1' here.*possible: /)
  })

  test.each([
    ['{', /not JSON/],
    ['{}', /format/],
    ['{"format":"worldswitch schedule","version":2}', /version/],
  ])('a file that is no schedule is refused: %s', (text, because) => {
    expect(() => decodeSchedule(text, 'f')).toThrow(because)
  })
})

describe('names that are not known', () => {
  test('the nearest are named', () => {
    expect(() => scenarioByName('split-lok')).toThrow(/did you mean split-lock/)
    expect(() => buildScenario(scenarioByName('xstate'), { decoder, variant: 'stale-ownr' })).toThrow(/did you mean stale-owner/)
    expect(() => buildScenario(scenarioByName('split-lock'), { decoder, kernel: 'linux-6.12' })).toThrow(/SLD-36/)
  })
})

describe('invariants can be chosen', () => {
  const scenario = scenarioByName('host-xfd-write')

  test('every one of a scenario has a short name of its own', () => {
    for (const each of scenarios) {
      const ids = buildScenario(each, { decoder }).invariants.map(({ id }) => id)
      expect(new Set(ids).size).toBe(ids.length)
      for (const id of ids) expect(id).toMatch(/^[a-z]+(-[a-z]+)*$/)
      expect(ids.at(-1)).toBe('host-goes-on')
    }
  })

  test('an oops counts when host-goes-on is among them, and ends the run either way [GFPU-53]', () => {
    const all = explore(scenario, { decoder })
    expect(all).toMatchObject({ verdict: 'violated', invariants: null, violation: { id: 'host-goes-on' } })
    expect(explore(scenario, { decoder, invariants: ['host-goes-on'] })).toMatchObject({
      violation: all.violation,
      schedule: { invariants: ['host-goes-on'], steps: all.schedule!.steps },
    })
    const other = explore(scenario, { decoder, invariants: ['own-xfd'] })
    expect(other).toMatchObject({ verdict: 'holds', exhaustive: true, invariants: ['own-xfd'] })
  })

  test('only those chosen are checked: a mistake that breaks two is found through the other one', () => {
    const chosen = (invariants: readonly string[]) =>
      explore(scenarioByName('split-lock'), { decoder, variant: 'register-without-flag', bound: 0, invariants })
    const ids = ['test-ctrl-follows-flag', 'own-split-lock-setting', 'loaded-only-where-current']
    const found = ids.map((id) => chosen([id]).violation?.id ?? null)
    expect(found[0]).toBe('test-ctrl-follows-flag')
    expect(found[2]).toBeNull()
    expect(chosen(ids).violation!.id).toBe('test-ctrl-follows-flag')
  })

  test('an unknown one names the nearest', () => {
    expect(() => explore(scenario, { decoder, invariants: ['own-xfdd'] })).toThrow(
      /unknown invariant 'own-xfdd'.*did you mean own-xfd\?/,
    )
  })
})
