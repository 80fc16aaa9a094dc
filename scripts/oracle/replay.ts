import { CannotPrepare } from '../conformance/command.ts'
import type { Difference } from './compare.ts'
import { driverProgram } from './driver.ts'
import type { Explanation } from './explained.ts'
import { oopsScenarios } from './oops-log.ts'
import { parseScenarios, type Recording, type Scenario } from './recordings.ts'
import { batchesOf, type Ran, runDriver } from './run-driver.ts'
import { differing, type Replayed, recordedScenarios, type Verdict, verdictOf } from './verdicts.ts'

/** Runs a recording's scenarios on the modelled host and compares each with what was recorded. */
export async function replay(recording: Recording, only: string, workers: number, used: Set<Explanation>): Promise<Replayed> {
  const recorded = new Map([...recordedScenarios(recording)].filter(([name]) => name.startsWith(only)))
  const empty = { recording, through: 'driver', leftOut: 0, said: [] } as const
  if (recording.notReached !== undefined) return { ...empty, verdicts: notReached(recorded, recording.notReached) }
  if (recorded.size === 0) return { ...empty, verdicts: [] }
  const { ran, scenarios } = await runAll(recording, [...recorded.keys()], only, workers)
  const verdicts = [...recorded.values()].map((scenario) => {
    const modelled = scenarios.get(scenario.name)
    if (modelled !== undefined) return verdictOf(recording, scenario, modelled, used)
    return differing(recording, scenario.name, [missing(ran.find(({ trouble }) => trouble !== null)?.trouble)], used)
  })
  return { ...empty, verdicts, said: ran.flatMap(({ stderr }) => stderr.split('\n').filter((line) => line !== '')) }
}

/** A host that stops in more scenarios than this has one cause. */
const MOST_SINGLE_RUNS = 20

async function runAll(recording: Recording, names: string[], only: string, workers: number) {
  const program = driverProgram(recording.driver)
  // An oops ends up in the log of its host: each of those scenarios gets a host of its own.
  const parse = recording.name.startsWith('oops-') ? oopsScenarios : (run: Ran) => parseScenarios(run.stdout)
  const batches = recording.name.startsWith('oops-') ? names.map((name) => [name]) : batchesOf(names, workers)
  const scenarios = new Map<string, Scenario>()
  const ran: Ran[] = []
  const runInto = async (prefixes: string[]) => {
    const run = await runDriver(program, recording, prefixes)
    ran.push(run)
    for (const [name, scenario] of parse(run)) scenarios.set(name, scenario)
  }
  await Promise.all((only === '' ? batches : [[only]]).map(runInto))
  const trouble = ran.find((run) => run.trouble !== null)?.trouble
  if (scenarios.size === 0)
    throw new CannotPrepare(`${recording.name}: no scenario ran: ${trouble ?? 'the driver printed nothing'}`)
  // Where a host stopped half way, the rest is run one by one, so that only what stops it is missing.
  for (const name of names.filter((name) => !scenarios.has(name)).slice(0, MOST_SINGLE_RUNS)) await runInto([name])
  return { ran, scenarios }
}

const missing = (trouble: string | null | undefined): Difference => ({
  at: -1,
  where: 'scenario',
  recorded: '"ran"',
  modelled: JSON.stringify(trouble ?? 'no line'),
})

const notReached = (recorded: Map<string, Scenario>, reason: string): Verdict[] =>
  [...recorded.keys()].map((scenario) => ({ scenario, differences: [{ difference: missing(reason), explanation: null }] }))
