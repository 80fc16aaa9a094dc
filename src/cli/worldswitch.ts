#!/usr/bin/env node
import { Command, CommanderError, Option } from 'commander'
import packageJson from '../../package.json' with { type: 'json' }
import { MAX_PROCESSORS } from '../machine/memory-map.ts'
import { addCompareCommand } from './compare-options.ts'
import { addExploreCommand } from './explore-options.ts'
import { assignment, collect, count, memorySize, seed, upTo } from './option-values.ts'
import { EXIT_BROKEN_PIPE, EXIT_FAILURE, EXIT_USAGE, report, usageLine } from './report.ts'
import { addRunCommand } from './run-options.ts'

/** The command line. Each command's code is loaded when it is used, so that start-up pays for one only. */

const program = new Command('worldswitch')
  .description("KVM without the hardware: Linux's x86 guest-state virtualization on a modelled host.")
  .version(packageJson.version)
  .configureHelp({ helpWidth: 100 })
  .enablePositionalOptions()
  .exitOverride()
  .configureOutput({ outputError: (text, write) => write(usageLine(text)) })

program
  .command('exec')
  .summary('run a static x86-64 Linux program as a process of the modelled host')
  .usage('[options] -- PROGRAM [ARGUMENTS...]')
  .addHelpText('beforeAll', 'Example: worldswitch exec --cpu SapphireRapids --kernel linux-6.12 -- ./amx_test\n')
  .option('--cpu <model>', "CPU model in QEMU's -cpu grammar: MODEL[,+feature][,-feature][,feature=on|off]", 'SapphireRapids')
  .option('--kernel <profile>', 'kernel whose behaviour the host has', 'linux-6.12')
  .option('--cpus <n>', 'logical processors of the host (1 to 16)', upTo(MAX_PROCESSORS), 2)
  .option('--memory <size>', 'memory of the host', memorySize, 1024 ** 3)
  .option('--bind <dir[:at][:ro]>', 'show a directory or file of this machine to the program; repeatable', collect, [])
  .option('--env <name=value>', 'set an environment variable of the program; repeatable (none is inherited)', assignment, [])
  .option('--root', 'run the program as root, who may write sysctls and take processors offline', false)
  .option('--strace', 'print every system call', false)
  .option('--trace', 'print the events that matter, in order', false)
  .addOption(new Option('--trace-format <format>', 'form of --trace').choices(['text', 'json']).default('text'))
  .option('--explain', 'print why a call was refused, with the rule', false)
  .option('--stats', 'print counts at the end', false)
  .option('--stats-json <file>', 'write the counts to a file as JSON')
  .option('--seed <n>', 'seed of every random choice of the run', seed, 1)
  .option('--max-instructions <n>', 'stop after this many instructions of host and guests together', count)
  .option('--param <module.name=value>', 'set a module parameter of the host: kvm_intel.nested=1; repeatable', collect, [])
  .option('--boot <parameter>', 'boot parameter of the host: split_lock_detect=fatal, strict_sas_size; repeatable', collect, [])
  .option('--engine <switches>', 'turn engine optimizations off: no-tiers,no-jumpCache,... or regionLimit=N')
  .argument('<program>')
  .argument('[arguments...]')
  .passThroughOptions()
  .action(async (path: string, args: string[], options) => {
    const { execCommand } = await import('./exec-command.ts')
    process.exitCode = await execCommand(path, args, options)
  })

addRunCommand(program)
addExploreCommand(program)
addCompareCommand(program)

program
  .command('cpus')
  .summary('list the CPU models and where their facts come from')
  .option('--json', 'one object a line', false)
  .action(async (options: { json: boolean }) => {
    const { listCpuModels } = await import('../isa/cpu-grammar.ts')
    for (const model of listCpuModels()) {
      process.stdout.write(options.json ? `${JSON.stringify(model)}\n` : `${model.name.padEnd(24)}${model.source}\n`)
    }
  })

program
  .command('kernels')
  .summary('list the kernel profiles, or what one of them changes and where that comes from')
  .addHelpText('beforeAll', 'Example: worldswitch kernels proposal:fpu-realloc-inline\n')
  .option('--json', 'one object a line', false)
  .argument('[profile]')
  .action(async (name: string | undefined, options: { json: boolean }) => {
    const { kernelsCommand } = await import('./kernels-command.ts')
    kernelsCommand(name, options.json)
  })

program
  .command('doctor')
  .summary('say what this machine, or a modelled one, can give to guests, and why not')
  .addHelpText('beforeAll', 'Example: worldswitch doctor\n         worldswitch doctor --cpu SapphireRapids --kernel linux-6.12\n')
  .option('--json', 'print one JSON object', false)
  .option('--cpu <model>', 'ask a modelled host with this CPU model instead of this machine')
  .option('--kernel <profile>', 'ask a modelled host with this kernel instead of this machine')
  .action(async (options: { json: boolean; cpu?: string; kernel?: string }) => {
    const { doctorCommand } = await import('./doctor-command.ts')
    process.exitCode = await doctorCommand(options)
  })

async function main(): Promise<void> {
  // Errors of streams and timers. Who reads our output may go away: what SIGPIPE does to others.
  process.on('uncaughtException', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? EXIT_BROKEN_PIPE : report(error))
  })
  try {
    await program.parseAsync()
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE
    else process.exitCode = report(error) ?? EXIT_FAILURE
  }
}
void main()
