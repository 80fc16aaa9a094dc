import { setImmediate as eventLoopTurn } from 'node:timers/promises'
import { getHeapStatistics } from 'node:v8'
import { UserError } from '../isa/user-error.ts'
import { type Exploration, type ExploreProgress, exploreInSlices, type MemoryUse } from '../tools/explore/explore.ts'
import { mergeResults, parseResult, resultOf, type ShardResult } from '../tools/explore/results.ts'
import {
  buildScenario,
  defaultBound,
  defaultKernel,
  type Scenario,
  scenarioByName,
  scenarios,
} from '../tools/explore/scenarios/index.ts'
import { decodeSchedule } from '../tools/explore/schedule.ts'
import { readText } from './explore-files.ts'
import type { ExploreCommandOptions } from './explore-options.ts'
import { progressLine, SILENT_MS, tellInterrupted } from './explore-progress.ts'
import { confirmed, print, show, showReplay } from './explore-show.ts'
import { answerParent, searchInProcesses } from './explore-workers.ts'
import { decoderModule } from './program-host.ts'
import { EXIT_INTERRUPTED } from './report.ts'

/** 0 the invariants hold, 1 one is violated, 3 undecided, 130 interrupted. */
export async function exploreCommand(name: string | undefined, options: ExploreCommandOptions): Promise<number> {
  oneThing(name, options)
  if (options.list) return list(options.json)
  if (options.merge.length > 0) return merge(options)
  if (options.replay !== undefined)
    return showReplay(decodeSchedule(readText(options.replay, '--replay'), options.replay), options.replay, options)
  const scenario = scenarioByName(name!)
  if (options.worker) return answerParent((outside) => search(scenario, options, outside))
  // Names that are not known are said once, whoever searches.
  buildScenario(scenario, { ...names(options), decoder: decoderModule() })
  const result = options.threads > 1 ? await searchInProcesses(scenario, options) : await watched(scenario, options)
  return result === null ? EXIT_INTERRUPTED : show(result, options)
}

function oneThing(name: string | undefined, { list, merge, replay, shard, threads }: ExploreCommandOptions): void {
  const asked = [name, list ? '--list' : undefined, merge.length > 0 ? '--merge' : undefined, replay && '--replay']
  const things = asked.filter((thing) => thing !== undefined)
  const refuse = (what: string, because: string, fix: string) =>
    new UserError({ code: 'bad-arguments', what, where: 'explore', because, fix })
  if (things.length === 0) throw refuse('no scenario', 'one is needed', 'see worldswitch explore --list')
  if (things.length > 1) throw refuse(`${things.join(' and ')} together`, 'one thing at a time is possible', 'choose one')
  if (shard !== undefined && threads > 1)
    throw refuse('--shard and --threads together', '--threads divides the search itself', 'choose one')
}

function list(json: boolean): number {
  const decoder = decoderModule()
  for (const scenario of scenarios) {
    const { name, title, kernel, bound } = scenario
    const variants = scenario.variants.map(({ name: variant, mistake, source }) => {
      const about = { kernel: defaultKernel(scenario, variant), bound: defaultBound(scenario, variant) }
      return { name: variant, mistake, source, ...about }
    })
    const invariants = buildScenario(scenario, { decoder }).invariants.map(({ id, name: says }) => ({ name: id, says }))
    if (json) {
      print(JSON.stringify({ name, title, kernel, bound, invariants, variants }))
      continue
    }
    print(`${name.padEnd(16)}${title} (${kernel}, up to ${bound} preemptions)`)
    print('  invariants')
    for (const invariant of invariants) print(`    ${invariant.name.padEnd(28)}${invariant.says}`)
    if (variants.length > 0) print('  variants')
    for (const variant of variants) print(`    ${variant.name.padEnd(28)}${variant.mistake}`)
  }
  return 0
}

function merge(options: ExploreCommandOptions): number {
  const results = options.merge.map((path) => parseResult(readText(path, '--merge'), path))
  return show(confirmed(mergeResults(results), '--merge'), options)
}

function names({ kernel, variant, invariant }: ExploreCommandOptions) {
  return {
    invariants: invariant.length === 0 ? null : invariant,
    ...(kernel === undefined ? {} : { kernel }),
    ...(variant === undefined ? {} : { variant }),
  }
}

/** Who looks at a search from outside. */
export interface Outside {
  readonly tell: (progress: ExploreProgress) => void
  /** Nobody wants to know any more. */
  readonly isOver: () => boolean
  /** Preemptions beyond which nobody wants to know. */
  readonly atMost?: () => number
}

/** A search to its end, or null when nobody wants to know any more. */
async function search(scenario: Scenario, options: ExploreCommandOptions, outside: Outside): Promise<ShardResult | null> {
  const { bound, maxExecutions, maxSteps, shard, reduction } = options
  const started = performance.now()
  const slices = exploreInSlices(scenario, {
    ...names(options),
    decoder: decoderModule(),
    reduce: reduction,
    memory: () => memoryUse(options.memory),
    ...(bound === undefined ? {} : { bound }),
    ...(maxExecutions === undefined ? {} : { maxExecutions }),
    ...(maxSteps === undefined ? {} : { maxSteps }),
    ...(shard === undefined ? {} : { shard }),
    ...(outside.atMost === undefined ? {} : { atMost: outside.atMost }),
  })
  const found = await inTurns(slices, outside)
  if (found === null) return null
  const seconds = (performance.now() - started) / 1000
  return resultOf(found, { upTo: bound ?? defaultBound(scenario, options.variant), reduction, shard: shard ?? null, seconds })
}

async function inTurns(slices: ReturnType<typeof exploreInSlices>, { tell, isOver }: Outside): Promise<Exploration | null> {
  for (;;) {
    const step = slices.next()
    if (step.done === true) return step.value
    tell(step.value)
    await eventLoopTurn()
    if (isOver()) return null
  }
}

/** V8 ends a process whose heap is nearly full. */
const FULL_HEAP = 0.85

function memoryUse(mebibytes: number): MemoryUse {
  const heap = getHeapStatistics()
  const limit = heap.heap_size_limit * FULL_HEAP
  if (heap.used_heap_size > limit) return { used: heap.used_heap_size, limit }
  return { used: process.memoryUsage.rss(), limit: mebibytes * 2 ** 20 }
}

/** A search in this process, with its progress on stderr; null when Ctrl-C ended it. */
async function watched(scenario: Scenario, options: ExploreCommandOptions): Promise<ShardResult | null> {
  const started = performance.now()
  let isOver = false
  let told = started
  let line = ''
  const onInterrupt = (): void => {
    isOver = true
  }
  const tell = (progress: ExploreProgress): void => {
    const now = performance.now()
    line = progressLine(progress, now - started)
    if (now - told < SILENT_MS) return
    told = now
    process.stderr.write(`${line}\n`)
  }
  process.once('SIGINT', onInterrupt)
  const result = await search(scenario, options, { tell, isOver: () => isOver })
  process.off('SIGINT', onInterrupt)
  if (result === null) tellInterrupted(line)
  return result
}
