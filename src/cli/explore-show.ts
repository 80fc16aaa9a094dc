import { isDeepStrictEqual } from 'node:util'
import { UserError } from '../isa/user-error.ts'
import { HostSystem } from '../tools/explore/host-system.ts'
import { runPage } from '../tools/explore/page.ts'
import { type ShardResult, scheduleOf } from '../tools/explore/results.ts'
import { buildScenario, scenarioByName } from '../tools/explore/scenarios/index.ts'
import { encodeSchedule, type Moment, replay, type Schedule } from '../tools/explore/schedule.ts'
import type { Violation } from '../tools/explore/system.ts'
import { timeline } from '../tools/explore/timeline.ts'
import { writeText } from './explore-files.ts'
import type { ExploreCommandOptions } from './explore-options.ts'
import { decoderModule } from './program-host.ts'

const LANES = ['cpu0', 'cpu1', 'clock']
const EXIT_VIOLATED = 1
const EXIT_UNDECIDED = 3

export const print = (line: string): void => void process.stdout.write(`${line}\n`)
export const counted = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`

type Wanted = Pick<ExploreCommandOptions, 'json' | 'save' | 'html'>

/** Prints a result and writes the files that were asked for. @returns the exit code: 0 it holds, 1 violated, 3 undecided */
export function show(result: ShardResult, wanted: Wanted): number {
  const schedule = scheduleOf(result)
  if (schedule !== null) writeFiles(schedule, result.moments, violationOf(result), wanted)
  else for (const file of [wanted.save, wanted.html]) if (file !== undefined) notWritten(file)
  if (wanted.json) print(JSON.stringify(result))
  else for (const line of inWords(result)) print(line)
  return result.verdict === 'holds' ? 0 : result.verdict === 'violated' ? EXIT_VIOLATED : EXIT_UNDECIDED
}

/** Who asked for a file must not take one of an earlier search for it. */
const notWritten = (file: string): void => void process.stderr.write(`no counterexample: ${file} is not written\n`)

function inWords(result: ShardResult): string[] {
  const { scenario, variant, kernel, invariants, bound, steps, memory } = result
  const only = invariants === null ? '' : `, ${invariants.join(' and ')} only`
  const part = result.shard === null ? '' : `, part ${result.shard.index} of ${result.shard.count}`
  const what = `${scenario}${variant === null ? '' : ` with ${variant}`} under ${kernel}${only}${part}`
  const how = `${counted(result.executions, 'execution')}, ${result.seconds.toFixed(1)} s`
  const preemptions = counted(bound, 'preemption')
  if (result.verdict === 'holds')
    return [`${what}: holds; exhaustive up to ${preemptions}, runs of up to ${counted(steps, 'step')}; ${how}`]
  if (result.verdict === 'undecided') {
    const where = `at ${preemptions}, runs of up to ${counted(steps, 'step')}, ${memory} MiB`
    return [`${what}: undecided, not exhaustive: ${result.stopped}; ${where}; ${how}`]
  }
  return [
    `${what}: violated in ${counted(steps, 'step')} with ${preemptions}; ${how}`,
    `  ${result.invariant}`,
    `  ${result.because}`,
    ...timeline(result.moments, LANES),
  ]
}

function violationOf({ invariantId, invariant, because }: ShardResult): Violation | null {
  return invariantId === null || invariant === null || because === null ? null : { id: invariantId, invariant, because }
}

function writeFiles(schedule: Schedule, moments: readonly Moment[], violation: Violation | null, { save, html }: Wanted): void {
  if (save !== undefined) writeText(save, encodeSchedule(schedule), '--save')
  if (html === undefined) return
  const { title, variants } = scenarioByName(schedule.scenario)
  const variant = variants.find(({ name }) => name === schedule.variant) ?? null
  writeText(html, runPage({ schedule, title, variant, violation, moments, processes: LANES }), '--html')
}

/** Makes the run of a schedule on a model built anew. @throws UserError naming the step at which it stops being possible */
function replayed(schedule: Schedule): ReturnType<typeof replay> {
  const { scenario, kernel, variant, invariants, steps } = schedule
  const names = { kernel, invariants, ...(variant === null ? {} : { variant }) }
  return replay(new HostSystem(buildScenario(scenarioByName(scenario), { ...names, decoder: decoderModule() })), steps)
}

/** Makes a file's run again and shows it. @returns exit code: 0 nothing is violated, 1 something is */
export function showReplay(schedule: Schedule, path: string, wanted: Wanted): number {
  const { moments, violation } = inFile(path, () => replayed(schedule))
  writeFiles(schedule, moments, violation, wanted)
  const { scenario, variant, kernel, invariants } = schedule
  if (wanted.json) print(JSON.stringify({ scenario, variant, kernel, invariants, violation, moments }))
  else {
    for (const line of timeline(moments, LANES)) print(line)
    print(violation === null ? 'nothing is violated' : `violated: ${violation.invariant}\n  ${violation.because}`)
  }
  return violation === null ? 0 : EXIT_VIOLATED
}

/** Names in a file are that file's, not those of options. */
function inFile<T>(path: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    const { code, what, because, fix, nearest } = error
    throw new UserError({ code, what, where: `--replay ${path}`, because, fix, nearest: [...nearest] })
  }
}

/**
 * The counterexample that another process found, made again in this one.
 * @throws UserError when it is another run here: then one of the two is not this version
 */
export function confirmed(result: ShardResult, where: string): ShardResult {
  const schedule = scheduleOf(result)
  if (schedule === null) return result
  const { moments, violation } = replayed(schedule)
  if (isDeepStrictEqual(moments, result.moments) && isDeepStrictEqual(violation, violationOf(result))) return result
  throw new UserError({
    code: 'different-run',
    what: "a result's counterexample is another run here",
    where,
    because: `${violation === null ? 'nothing' : violation.id} is violated after ${counted(moments.length, 'step')}, or values differ`,
    fix: 'search with the version that merges',
  })
}
