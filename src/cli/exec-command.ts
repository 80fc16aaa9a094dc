import { openSync, writeSync } from 'node:fs'
import { isatty } from 'node:tty'
import { UserError } from '../isa/user-error.ts'
import { spawn } from '../linux/exec/spawn.ts'
import { InputSource } from '../linux/fs/host-stream.ts'
import { Deaths } from './deaths.ts'
import { drive } from './drive.ts'
import { Output } from './output.ts'
import { bindPlace, bindProgram, findProgram, latin1, workingDirectory } from './places.ts'
import { type HostOptions, programHost } from './program-host.ts'
import { EXIT_INTERRUPTED, report } from './report.ts'
import { printStats, statistics, statisticsJson } from './statistics.ts'
import { attachTraces, type TraceOptions } from './traces.ts'

export interface ExecOptions extends HostOptions, TraceOptions {
  readonly bind: string[]
  readonly env: string[]
  readonly stats: boolean
  readonly statsJson?: string
  readonly maxInstructions?: number
}

/** How long the reader of our output has after Ctrl-C. */
const LAST_WORDS_MS = 200

/** Runs a program; resolves to the exit status of the command. */
export async function execCommand(path: string, args: string[], options: ExecOptions): Promise<number> {
  try {
    return await run(path, args, options)
  } catch (error) {
    return report(error)
  }
}

async function run(path: string, args: string[], options: ExecOptions): Promise<number> {
  const host = programHost(options)
  const { kernel } = host
  const file = findProgram(path)
  bindProgram(kernel, file)
  for (const bind of options.bind) bindPlace(kernel, bind)
  kernel.log.onEmergency = (line) => process.stderr.write(`${line}\n`)
  attachTraces(host, options)
  const deaths = new Deaths(kernel)
  const stdin = new InputSource(isatty(0))
  const outputs = [new Output(1), new Output(2)]
  spawn(kernel, {
    path: latin1(file),
    argv: [path, ...args].map(latin1),
    envp: ['PATH=/usr/bin:/bin', 'HOME=/', ...options.env.map(latin1)],
    cwd: latin1(workingDirectory()),
    stdin,
    stdout: outputs[0],
    stderr: outputs[1],
  })
  const statsFile = options.statsJson === undefined ? null : openStatistics(options.statsJson)
  const end = await drive(host, { stdin, outputs, maxInstructions: options.maxInstructions ?? Number.POSITIVE_INFINITY })
  const stats = statistics(host)
  if (statsFile !== null) writeSync(statsFile, statisticsJson(host, stats))
  if (options.stats) printStats(stats)
  for (const line of stats.unmodelled) process.stderr.write(`worldswitch: not modelled: ${line}\n`)
  deaths.report()
  if (end.kind === 'exited') return exitStatus(end.status)
  process.stderr.write(`worldswitch: ${end.because}\n${end.state}`)
  // Whoever reads our output may have stopped reading.
  if (end.code === EXIT_INTERRUPTED) setTimeout(() => process.exit(end.code), LAST_WORDS_MS).unref()
  return end.code
}

/** The program's own status, or 128 + the signal that killed it. */
const exitStatus = (status: number): number => ((status & 0x7f) === 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f))

/** Before the run, so that a long one is not lost for a misspelt path. */
function openStatistics(path: string): number {
  try {
    return openSync(path, 'w')
  } catch (error) {
    const because = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new UserError({ code: 'cannot-write', what: `cannot write '${path}'`, where: '--stats-json', because, fix: '' })
  }
}
