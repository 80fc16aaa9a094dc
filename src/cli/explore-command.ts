import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { setImmediate as eventLoopTurn } from 'node:timers/promises'
import { UserError } from '../isa/user-error.ts'
import { type Exploration, type ExploreOptions, exploreInSlices } from '../tools/explore/explore.ts'
import { HostSystem } from '../tools/explore/host-system.ts'
import { mergeResults, parseResult, resultOf, type ShardResult } from '../tools/explore/results.ts'
import { buildScenario, type Scenario, scenarioByName, scenarios } from '../tools/explore/scenarios/index.ts'
import { decodeSchedule, encodeSchedule, type Moment, replay } from '../tools/explore/schedule.ts'
import { timeline, timelinePage } from '../tools/explore/timeline.ts'
import type { ExploreCommandOptions } from './explore-options.ts'
import { decoderModule } from './program-host.ts'
import { EXIT_INTERRUPTED } from './report.ts'

const LANES = ['cpu0', 'cpu1', 'clock']
const EXIT_VIOLATED = 1
const EXIT_UNDECIDED = 3
/** Work that takes longer than this tells how it goes. */
const SILENT_MS = 2000

const print = (line: string): void => void process.stdout.write(`${line}\n`)

/** 0 the invariants hold, 1 one is violated, 3 undecided. */
export async function exploreCommand(name: string | undefined, options: ExploreCommandOptions): Promise<number> {
  if (options.list) return list(options.json)
  if (options.merge.length > 0)
    return show(mergeResults(options.merge.map((path) => parseResult(read(path, '--merge'), path))), options)
  if (options.replay !== undefined) return replayFile(options.replay, options)
  if (name === undefined) {
    throw new UserError({
      code: 'bad-arguments',
      what: 'no scenario',
      where: 'explore',
      because: 'one is needed',
      fix: 'see worldswitch explore --list',
    })
  }
  const scenario = scenarioByName(name)
  if (options.threads > 1) return inProcesses(scenario, options)
  return search(scenario, options)
}

function list(json: boolean): number {
  const decoder = decoderModule()
  for (const scenario of scenarios) {
    const { name, title, kernel, bound, variants } = scenario
    const invariants = buildScenario(scenario, { decoder }).invariants.map(({ id, name: says }) => ({ name: id, says }))
    if (json)
      print(
        JSON.stringify({
          name,
          title,
          kernel,
          bound,
          invariants,
          variants: variants.map(({ name: variant, mistake }) => ({ name: variant, mistake })),
        }),
      )
    else {
      print(`${name.padEnd(16)}${title} (${kernel}, up to ${bound} preemptions)`)
      print('  invariants')
      for (const invariant of invariants) print(`    ${invariant.name.padEnd(28)}${invariant.says}`)
      if (variants.length > 0) print('  variants')
      for (const variant of variants) print(`    ${variant.name.padEnd(28)}${variant.mistake}`)
    }
  }
  return 0
}

async function search(scenario: Scenario, options: ExploreCommandOptions): Promise<number> {
  const { kernel, variant, invariant, bound, maxExecutions, shard, reduction } = options
  const chosen: ExploreOptions = {
    decoder: decoderModule(),
    reduce: reduction,
    invariants: invariant.length === 0 ? null : invariant,
    ...(kernel === undefined ? {} : { kernel }),
    ...(variant === undefined ? {} : { variant }),
    ...(bound === undefined ? {} : { bound }),
    ...(maxExecutions === undefined ? {} : { maxExecutions }),
    ...(shard === undefined ? {} : { shard }),
  }
  const started = performance.now()
  const found = await drive(exploreInSlices(scenario, chosen), started)
  if (found === null) return EXIT_INTERRUPTED
  writeFound(found, options)
  return show(resultOf(found, (performance.now() - started) / 1000), options, found.moments)
}

/** Runs a search between turns of the event loop; null when Ctrl-C ended it. */
async function drive(slices: ReturnType<typeof exploreInSlices>, started: number): Promise<Exploration | null> {
  let interrupted = false
  const onInterrupt = (): void => {
    interrupted = true
  }
  process.once('SIGINT', onInterrupt)
  let told = started
  try {
    for (;;) {
      const step = slices.next()
      if (step.done === true) return step.value
      const now = performance.now()
      const { executions, depth, bound } = step.value
      const rate = Math.round(executions / ((now - started) / 1000))
      const line = `bound ${bound}: ${executions} executions, ${depth} steps deep, ${rate}/s, ${Math.round(process.memoryUsage.rss() / 2 ** 20)} MiB`
      if (now - told > SILENT_MS) {
        told = now
        process.stderr.write(`${line}\n`)
      }
      await eventLoopTurn()
      if (!interrupted) continue
      process.stderr.write(`worldswitch: interrupted, not exhaustive: ${line}\n`)
      return null
    }
  } finally {
    process.off('SIGINT', onInterrupt)
  }
}

function writeFound({ schedule, violation, moments, scenario, variant }: Exploration, options: ExploreCommandOptions): void {
  if (schedule === null || violation === null) return
  if (options.save !== undefined) write(options.save, encodeSchedule(schedule), '--save')
  if (options.html === undefined) return
  const title = `${scenario}${variant === null ? '' : `, ${variant}`}: ${violation.invariant}`
  write(options.html, timelinePage(title, violation.because, moments, LANES), '--html')
}

function show(result: ShardResult, options: ExploreCommandOptions, moments: readonly Moment[] = []): number {
  if (options.json) print(JSON.stringify(result))
  else {
    const what = `${result.scenario}${result.variant === null ? '' : ` with ${result.variant}`} under ${result.kernel}`
    const how = `${result.executions} executions, ${result.seconds.toFixed(1)} s`
    if (result.verdict === 'holds')
      print(`${what}: holds; exhaustive up to ${result.bound} preemptions, runs of up to ${result.steps} steps; ${how}`)
    else if (result.verdict === 'undecided')
      print(`${what}: undecided, not exhaustive; stopped at ${result.bound} preemptions; ${how}`)
    else {
      print(`${what}: violated in ${result.steps} steps with ${result.bound} preemptions; ${how}`)
      print(`  ${result.invariant}`)
      print(`  ${result.because}`)
      for (const line of timeline(moments, LANES)) print(line)
    }
  }
  return result.verdict === 'holds' ? 0 : result.verdict === 'violated' ? EXIT_VIOLATED : EXIT_UNDECIDED
}

function replayFile(path: string, options: ExploreCommandOptions): number {
  const schedule = decodeSchedule(read(path, '--replay'), path)
  const { kernel, variant, invariants } = schedule
  const scenario = scenarioByName(schedule.scenario)
  const model = buildScenario(scenario, {
    kernel,
    invariants,
    decoder: decoderModule(),
    ...(variant === null ? {} : { variant }),
  })
  const { moments, violation } = replay(new HostSystem(model), schedule.steps)
  if (options.json) print(JSON.stringify({ scenario: scenario.name, variant, kernel, violation, moments }))
  else {
    for (const line of timeline(moments, LANES)) print(line)
    print(violation === null ? 'nothing is violated' : `violated: ${violation.invariant}\n  ${violation.because}`)
  }
  return violation === null ? 0 : EXIT_VIOLATED
}

/** A shard in each of several processes. */
async function inProcesses(scenario: Scenario, options: ExploreCommandOptions): Promise<number> {
  const { threads, kernel, variant, invariant, bound, maxExecutions } = options
  const own = [
    ...(kernel === undefined ? [] : ['--kernel', kernel]),
    ...(variant === undefined ? [] : ['--variant', variant]),
    ...invariant.flatMap((name) => ['--invariant', name]),
    ...(bound === undefined ? [] : ['--bound', String(bound)]),
    ...(maxExecutions === undefined ? [] : ['--max-executions', String(Math.ceil(maxExecutions / threads))]),
  ]
  const shards = Array.from({ length: threads }, (_, i) =>
    output([process.argv[1], 'explore', scenario.name, ...own, '--shard', `${i + 1}/${threads}`, '--json']),
  )
  const results = (await Promise.all(shards)).map((text, i) => parseResult(text, `shard ${i + 1}`))
  return show(mergeResults(results), options)
}

function output(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (part) => (text += part))
    child.on('error', reject)
    child.on('close', () => resolve(text))
  })
}

function read(path: string, where: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw cannot('read', path, where, error)
  }
}
function write(path: string, text: string, where: string): void {
  try {
    writeFileSync(path, text)
  } catch (error) {
    throw cannot('write', path, where, error)
  }
}
function cannot(what: string, path: string, where: string, error: unknown): UserError {
  const code = (error as NodeJS.ErrnoException).code ?? String(error)
  return new UserError({ code: 'file-access', what: `cannot ${what} ${path}`, where, because: code, fix: 'choose another file' })
}
