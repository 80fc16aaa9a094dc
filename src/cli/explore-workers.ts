import { type ChildProcess, fork } from 'node:child_process'
import { UserError } from '../isa/user-error.ts'
import type { ExploreProgress } from '../tools/explore/explore.ts'
import { mergeResults, type ShardResult } from '../tools/explore/results.ts'
import type { Scenario } from '../tools/explore/scenarios/index.ts'
import type { Outside } from './explore-command.ts'
import type { ExploreCommandOptions } from './explore-options.ts'
import { progressLine, SILENT_MS, tellInterrupted } from './explore-progress.ts'
import { confirmed } from './explore-show.ts'
import { EXIT_FAILURE, EXIT_INTERRUPTED } from './report.ts'

/** What a worker tells its parent. */
type Report = { readonly progress: ExploreProgress } | { readonly result: ShardResult }
/** What a parent tells its workers: preemptions that are of interest still. */
interface Order {
  readonly atMost: number
}

/** How often a worker tells how far it is. */
const REPORT_MS = 250
/** Of what a worker says on stderr the end is kept. */
const LAST_WORDS = 4000

/** A search shared among processes, a shard in each; null when Ctrl-C ended it. @throws UserError when one of them dies */
export async function searchInProcesses(scenario: Scenario, options: ExploreCommandOptions): Promise<ShardResult | null> {
  const workers = new Workers(options.threads)
  const onInterrupt = (): void => workers.stop('interrupted')
  process.once('SIGINT', onInterrupt)
  const telling = setInterval(() => workers.tell(), SILENT_MS)
  try {
    await workers.run((index) => argumentsOf(scenario, options, index))
  } finally {
    clearInterval(telling)
    process.off('SIGINT', onInterrupt)
  }
  if (workers.stopped === 'interrupted') {
    tellInterrupted(workers.line)
    return null
  }
  if (workers.stopped !== null) throw workers.stopped
  return confirmed(mergeResults(workers.results), '--threads')
}

function argumentsOf({ name }: Scenario, options: ExploreCommandOptions, index: number): string[] {
  const { threads, kernel, variant, invariant, bound, maxExecutions, maxSteps, memory, reduction } = options
  const share = (whole: number): string => String(Math.max(1, Math.floor(whole / threads)))
  return [
    ...['explore', name, '--worker', '--shard', `${index + 1}/${threads}`, '--memory', String(memory)],
    ...(kernel === undefined ? [] : ['--kernel', kernel]),
    ...(variant === undefined ? [] : ['--variant', variant]),
    ...invariant.flatMap((each) => ['--invariant', each]),
    ...(bound === undefined ? [] : ['--bound', String(bound)]),
    ...(maxExecutions === undefined ? [] : ['--max-executions', share(maxExecutions)]),
    ...(maxSteps === undefined ? [] : ['--max-steps', String(maxSteps)]),
    ...(reduction ? [] : ['--no-reduction']),
  ]
}

class Workers {
  readonly results: ShardResult[] = []
  /** Why they were stopped before their end. */
  stopped: 'interrupted' | UserError | null = null
  private readonly count: number
  private readonly children: ChildProcess[] = []
  private readonly progress: ExploreProgress[] = []
  private readonly started = performance.now()
  /** Fewest preemptions with which one of them found a violation: they all look that far, so that the outcome is the same each time. */
  private atMost = Number.POSITIVE_INFINITY

  constructor(count: number) {
    this.count = count
  }

  /** How far they are together. */
  get line(): string {
    const known = this.progress.filter((progress) => progress !== undefined)
    const done = this.results.filter((result) => result !== undefined).length
    const sum = (of: (progress: ExploreProgress) => number) => known.reduce((total, progress) => total + of(progress), 0)
    const all = {
      bound: known.length === 0 ? 0 : Math.min(...known.map(({ bound }) => bound)),
      executions: sum(({ executions }) => executions),
      depth: Math.max(0, ...known.map(({ depth }) => depth)),
      memory: sum(({ memory }) => memory),
    }
    return `${progressLine(all, performance.now() - this.started)}, ${done} of ${this.count} shards done`
  }

  tell(): void {
    if (this.progress.length > 0) process.stderr.write(`${this.line}\n`)
  }

  /** Starts them, and waits until each has ended. */
  async run(argumentsFor: (index: number) => string[]): Promise<void> {
    await Promise.all(Array.from({ length: this.count }, (_, index) => this.start(index, argumentsFor(index))))
  }

  stop(why: 'interrupted' | UserError): void {
    this.stopped ??= why
    for (const child of this.children) child.kill()
  }

  private start(index: number, args: readonly string[]): Promise<void> {
    const child = fork(process.argv[1], args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    this.children.push(child)
    let said = ''
    child.stderr!.setEncoding('utf8').on('data', (text) => {
      said = (said + text).slice(-LAST_WORDS)
    })
    child.on('message', (report: Report) => this.hear(index, report))
    return new Promise((resolve) => {
      child.on('error', (error) => {
        this.stop(failed(index, this.count, error.message))
        resolve()
      })
      child.on('close', (code, signal) => {
        // The terminal's Ctrl-C goes to all.
        if (signal === 'SIGINT' || code === EXIT_INTERRUPTED) this.stop('interrupted')
        else if (this.results[index] === undefined) this.stop(failed(index, this.count, lastWords(said, code, signal)))
        resolve()
      })
    })
  }

  private hear(index: number, report: Report): void {
    if ('progress' in report) {
      this.progress[index] = report.progress
      return
    }
    const { result } = report
    this.results[index] = result
    const { bound, executions, steps: depth } = result
    this.progress[index] = { bound, executions, depth, memory: 0 }
    if (result.verdict !== 'violated' || bound >= this.atMost) return
    this.atMost = bound
    for (const child of this.children) if (child.connected) child.send({ atMost: bound } satisfies Order, () => {})
  }
}

function failed(index: number, count: number, because: string): UserError {
  return new UserError({
    code: 'shard-failed',
    what: `the process of shard ${index + 1} of ${count} ended without a result`,
    where: '--threads',
    because,
    fix: 'the others were stopped; try fewer threads',
  })
}

/** The most telling line of what a process said, or how it ended. */
function lastWords(said: string, code: number | null, signal: string | null): string {
  const lines = said.split('\n').filter((line) => line.trim() !== '')
  const own = lines.find((line) => /^worldswitch: |^FATAL ERROR|Error: /.test(line)) ?? lines.at(-1)
  return own?.replace('worldswitch: ', '') ?? (signal === null ? `exit status ${code}` : `ended by ${signal}`)
}

/** The worker's side: searches as its parent wants, tells how far it is, and ends with its parent. */
export async function answerParent(search: (outside: Outside) => Promise<ShardResult | null>): Promise<number> {
  if (process.send === undefined) {
    throw new UserError({
      code: 'bad-arguments',
      what: 'nobody to answer',
      where: '--worker',
      because: 'it is for processes that explore starts itself',
      fix: 'use --threads',
    })
  }
  let atMost = Number.POSITIVE_INFINITY
  let told = performance.now()
  const tell = (report: Report): void => void process.send?.(report, undefined, undefined, () => {})
  process.on('SIGINT', () => {}) // the parent's to act on
  process.on('message', (order: Order) => {
    atMost = order.atMost
  })
  process.on('disconnect', () => process.exit(EXIT_FAILURE))
  const result = await search({
    tell: (progress) => {
      const now = performance.now()
      if (now - told < REPORT_MS) return
      told = now
      tell({ progress })
    },
    isOver: () => false,
    atMost: () => atMost,
  })
  if (result === null) return EXIT_INTERRUPTED
  return new Promise((resolve) => {
    process.send!({ result } satisfies Report, undefined, undefined, () => {
      process.removeAllListeners('disconnect')
      process.disconnect()
      resolve(0)
    })
  })
}
