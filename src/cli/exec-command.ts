import { existsSync, statSync, writeFileSync } from 'node:fs'
import { basename, isAbsolute, join, resolve } from 'node:path'
import { UserError } from '../isa/user-error.ts'
import { ProgramError } from '../linux/exec/program-error.ts'
import { spawn } from '../linux/exec/spawn.ts'
import { InputSource } from '../linux/fs/host-stream.ts'
import { drive } from './drive.ts'
import { HostDirectory } from './host-directory.ts'
import { type HostOptions, programHost } from './program-host.ts'
import { report } from './report.ts'
import { printStats, statistics } from './statistics.ts'
import { attachTraces, type TraceOptions } from './traces.ts'

export interface ExecOptions extends HostOptions, TraceOptions {
  readonly bind: string[]
  readonly env: string[]
  readonly stats: boolean
  readonly statsJson?: string
  readonly maxInstructions?: number
}

/** Runs a program; resolves to the exit status of the command. */
export async function execCommand(path: string, args: string[], options: ExecOptions): Promise<number> {
  try {
    return await run(path, args, options)
  } catch (error) {
    return report(error)
  }
}

async function run(path: string, args: string[], options: ExecOptions): Promise<number> {
  const file = findProgram(path)
  const host = programHost(options)
  const { kernel } = host
  kernel.bind(file, new HostDirectory(file, true))
  for (const bind of options.bind) bindPlace(bind, (at, files) => kernel.bind(at, files))
  attachTraces(kernel, options)
  const stdin = new InputSource(process.stdin.isTTY ?? false)
  spawn(kernel, {
    path: file,
    argv: [latin1(path), ...args.map(latin1)],
    envp: ['PATH=/usr/bin:/bin', 'HOME=/', ...options.env.map(latin1)],
    cwd: process.cwd(),
    stdin,
    stdout: sink(process.stdout),
    stderr: sink(process.stderr),
  })
  const end = await drive(host, stdin, { maxInstructions: options.maxInstructions ?? Number.POSITIVE_INFINITY })
  const stats = statistics(host)
  if (options.statsJson !== undefined) writeFileSync(options.statsJson, `${JSON.stringify(stats)}\n`)
  if (options.stats) printStats(stats)
  listUnmodelled(stats)
  if (end.kind === 'stopped') {
    process.stderr.write(`worldswitch: ${end.because}\n${end.state}`)
    return end.code
  }
  return exitStatus(end.status)
}

/** The program's own status, or 128 + the signal that killed it. */
const exitStatus = (status: number): number => ((status & 0x7f) === 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f))

/** Absolute path of the program: as given, or found in PATH when it has no slash. */
function findProgram(name: string): string {
  if (name.includes('/')) {
    const path = isAbsolute(name) ? name : resolve(name)
    if (!existsSync(path)) throw new ProgramError('not-found', name, 'no such file', -2)
    return path
  }
  for (const directory of (process.env['PATH'] ?? '').split(':')) {
    const candidate = join(directory === '' ? '.' : directory, name)
    if (existsSync(candidate) && statSync(candidate).isFile()) return resolve(candidate)
  }
  throw new ProgramError('not-found', name, 'no such program in PATH', -2)
}

/** `DIR[:AT][:ro]` */
function bindPlace(text: string, bind: (at: string, files: HostDirectory) => void): void {
  const parts = text.split(':')
  const readOnly = parts.length > 1 && parts[parts.length - 1] === 'ro'
  if (readOnly) parts.pop()
  const [from, at = from] = parts
  const wrong = (because: string) =>
    new UserError({ code: 'bad-bind', what: `cannot bind '${text}'`, where: '--bind', because, fix: 'write DIR[:AT][:ro]' })
  if (parts.length > 2 || from === '') throw wrong('the form is not DIR[:AT][:ro]')
  const path = resolve(from)
  if (!existsSync(path)) throw wrong(`${basename(from)} does not exist`)
  bind(resolve(at), new HostDirectory(path, readOnly))
}

const latin1 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')

function sink(stream: NodeJS.WriteStream) {
  return {
    terminal: stream.isTTY ?? false,
    write: (bytes: Uint8Array) => {
      stream.write(bytes.slice())
    },
  }
}

/** Names what the program asked for that the model does not have. */
function listUnmodelled(stats: ReturnType<typeof statistics>): void {
  for (const line of stats.unmodelled) process.stderr.write(`worldswitch: not modelled: ${line}\n`)
}
