import { type Command, InvalidArgumentError, Option } from 'commander'
import { collect, count, upTo } from './option-values.ts'

/** `worldswitch explore` on the command line. */
export interface ExploreCommandOptions {
  readonly list: boolean
  readonly kernel?: string
  readonly variant?: string
  readonly invariant: readonly string[]
  readonly bound?: number
  readonly threads: number
  readonly shard?: { readonly index: number; readonly count: number }
  readonly merge: readonly string[]
  readonly replay?: string
  readonly save?: string
  readonly html?: string
  readonly maxExecutions?: number
  readonly maxSteps?: number
  /** MiB of each process. */
  readonly memory: number
  readonly reduction: boolean
  readonly json: boolean
  readonly why: boolean
  /** A process that another one started for a shard: it answers that one. */
  readonly worker: boolean
}

const MOST_PREEMPTIONS = 20
const MOST_PROCESSES = 256
const MOST_MEMORY = 2 ** 20
/** As many as a schedule file holds. */
const MOST_STEPS = 10_000

function preemptions(text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!(value <= MOST_PREEMPTIONS)) throw new InvalidArgumentError(`0 to ${MOST_PREEMPTIONS} preemptions are possible.`)
  return value
}

/** `2/8`: the second of eight parts. */
function shard(text: string): { index: number; count: number } {
  const match = /^(\d{1,4})\/(\d{1,4})$/.exec(text)
  const [index, parts] = match === null ? [0, 0] : [Number(match[1]), Number(match[2])]
  if (index < 1 || index > parts) throw new InvalidArgumentError('the form is i/n, with i from 1 to n.')
  return { index: index - 1, count: parts }
}

/** What means nothing without a search. */
const SEARCH_OPTIONS = [
  'list',
  'variant',
  'invariant',
  'bound',
  'threads',
  'shard',
  'merge',
  'replay',
  'save',
  'html',
  'memory',
  'maxExecutions',
  'maxSteps',
  'reduction',
]

const EXAMPLE = 'Example: worldswitch explore split-lock --variant preemptible-update --html why.html\n'

export function addExploreCommand(program: Command): void {
  program
    .command('explore')
    .summary('enumerate the schedules of kernel and KVM code, and find the one that breaks an invariant')
    .usage('[options] SCENARIO | --list | --replay FILE | --merge FILE…')
    .addHelpText('beforeAll', EXAMPLE)
    .addHelpText('after', '\nExit status: 0 the invariants hold, 1 one is violated, 3 undecided, 2 bad usage, 130 interrupted.')
    .option('--list', 'list the scenarios, the invariants of each, and the mistakes that can be put back into it', false)
    .option('--kernel <profile>', "kernel profile; default the scenario's own")
    .option('--variant <name>', 'put a mistake back into the code')
    .option('--invariant <name>', 'check this invariant only; repeatable', collect, [])
    .option('--bound <n>', 'preemptions up to which to look', preemptions)
    .option('--threads <k>', 'share the search among k processes', upTo(MOST_PROCESSES), 1)
    .option('--shard <i/n>', 'do part i of n of the search', shard)
    .option('--merge <file...>', 'merge the --json results of all shards', collect, [])
    .option('--replay <file>', 'make the run of a schedule file again')
    .option('--save <file>', 'write the schedule of a counterexample')
    .option('--html <file>', 'write the counterexample as a page')
    .option('--memory <MiB>', 'stop when a process uses more memory', upTo(MOST_MEMORY), 2048)
    .option('--max-executions <n>', 'stop after so many runs', count)
    .option('--max-steps <n>', `stop at a run of more steps; default and most ${MOST_STEPS}`, upTo(MOST_STEPS))
    .option('--no-reduction', 'try every order of every step, also of independent ones')
    .option('--json', 'print the result as one JSON object', false)
    .addOption(
      new Option('--why', 'why is my guest frozen? what split locks cost it under each split_lock_detect= and kernel')
        .conflicts(SEARCH_OPTIONS)
        .default(false),
    )
    .addOption(new Option('--worker').hideHelp().default(false))
    .argument('[scenario]')
    .action(async (scenario: string | undefined, options: ExploreCommandOptions) => {
      if (options.why) {
        const { exploreWhyCommand } = await import('./explore-why.ts')
        process.exitCode = await exploreWhyCommand(scenario, options)
        return
      }
      const { exploreCommand } = await import('./explore-command.ts')
      process.exitCode = await exploreCommand(scenario, options)
    })
}
