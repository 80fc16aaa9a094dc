import type { Command } from 'commander'

/** `worldswitch compare` on the command line. */
export interface CompareCommandOptions {
  readonly scenario?: string
  readonly profiles?: string
  readonly cpu?: string
  readonly list: boolean
  readonly allRows: boolean
  readonly json: boolean
}

const EXAMPLE = 'Example: worldswitch compare --scenario feature-the-guest-never-had --profiles linux-5.17,linux-6.12\n'

export function addCompareCommand(program: Command): void {
  program
    .command('compare')
    .summary('run one scenario under several kernels or designs, and show what differs and what it costs')
    .usage('[options] --scenario NAME|FILE | --list')
    .addHelpText('beforeAll', EXAMPLE)
    .option('--scenario <name>', 'a scenario that ships, or a file (docs/compare.md)')
    .option('--profiles <a,b>', "kernel profiles, separated by commas; default the scenario's own")
    .option('--cpu <model>', "CPU model of the hosts; default the scenario's own")
    .option('--list', 'list the scenarios', false)
    .option('--all-rows', 'show also what does not differ', false)
    .option('--json', 'print the comparison as one JSON object', false)
    .action(async (options: CompareCommandOptions) => {
      const { compareCommand } = await import('./compare-command.ts')
      process.exitCode = await compareCommand(options)
    })
}
