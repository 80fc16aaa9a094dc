import { type Command, InvalidArgumentError, Option } from 'commander'
import { collect, count, seed } from './option-values.ts'

/** `worldswitch run` on the command line. */

const MIB = 2 ** 20
const UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: MIB, g: 2 ** 30 }
const PAGE = 4096

/** `32M`, `1G`, or bytes: memory of a guest (docs/guest-contract.md). */
function guestMemory(text: string): number {
  const match = /^(\d+)([KMG]?)$/i.exec(text)
  if (match === null) throw new InvalidArgumentError('a size such as 32M or 1G is needed.')
  const bytes = Math.floor((Number(match[1]) * UNITS[match[2].toLowerCase()]) / PAGE) * PAGE
  if (bytes < 2 * MIB || bytes > 1024 * MIB) throw new InvalidArgumentError('2M to 1G is possible.')
  return bytes
}

export interface RunOptions {
  readonly cpu: string
  readonly kernel: string
  readonly memory: number
  readonly migrateTo?: string
  readonly save?: string
  readonly restore?: string
  readonly trace: boolean
  readonly traceFormat: 'text' | 'json'
  readonly maxInstructions?: number
  readonly stats: boolean
  readonly explain: boolean
  readonly seed: number
  readonly engine?: string
  readonly boot: readonly string[]
}

const EXAMPLE =
  'Example: worldswitch run examples/amx-migrate/amx-migrate.elf --cpu SapphireRapids --migrate-to GraniteRapids --trace\n'

export function addRunCommand(program: Command): void {
  program
    .command('run')
    .summary('run a small guest (docs/guest-contract.md) in a VM of the modelled host')
    .description('Runs a small guest in a VM of the modelled host. What guests can rely on: docs/guest-contract.md.')
    .usage('[options] GUEST [WORD]... | --restore FILE')
    .addHelpText('beforeAll', EXAMPLE)
    .option('--cpu <model>', "CPU model in QEMU's -cpu grammar: MODEL[,+feature][,-feature][,feature=on|off]", 'SapphireRapids')
    .option('--kernel <profile>', 'kernel whose behaviour the host has', 'linux-6.12')
    .addOption(new Option('--memory <size>', 'memory of the guest').argParser(guestMemory).default(32 * MIB, '32M'))
    .option('--migrate-to <model>', 'at the first checkpoint, go on on another modelled host with this CPU model')
    .option('--save <file>', 'save the guest at its first checkpoint, or when --max-instructions are used up, and stop')
    .option('--restore <file>', 'go on with a saved guest')
    .option('--trace', 'print the events that matter, in order', false)
    .addOption(new Option('--trace-format <form>', 'form of --trace').choices(['text', 'json']).default('text'))
    .option('--max-instructions <n>', 'stop after this many instructions of the guest', count)
    .option('--stats', 'print counts at the end', false)
    .option('--explain', 'print why calls were refused, with the rule', false)
    .option('--seed <n>', 'seed of every random choice of the run', seed, 1)
    .option('--boot <parameter>', 'boot parameter of the host: split_lock_detect=fatal; repeatable', collect, [])
    .option('--engine <switches>', 'turn engine optimizations off: no-tiers,no-jumpCache,... or regionLimit=N')
    .argument('[guest]')
    .argument('[words...]', 'what the guest is told')
    .action(async (guest: string | undefined, words: string[], options: RunOptions) => {
      const { runCommand } = await import('./run-command.ts')
      process.exitCode = await runCommand(guest, words, options)
    })
}
