import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const PROGRAMS = join(root, 'test/fixtures/programs')
const COMMAND = join(root, 'dist/cli/worldswitch.js')
/** scripts/build.mjs takes it away before it builds and makes it when all went well. */
const BUILT = join(root, 'dist/.built')

/** The real command did this. */
export interface Ran {
  /** Exit status; null when a signal ended it. */
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
  readonly milliseconds: number
}

export interface RunOptions {
  /** Standard input; default empty. `NEVER`: it stays open, and nothing comes. */
  readonly input?: string | Uint8Array | typeof NEVER
  readonly cwd?: string
  readonly env?: Record<string, string>
  /** Options of node's own. */
  readonly node?: readonly string[]
  /** Sees the process while it runs. */
  readonly watch?: (child: ChildProcess) => void
}

export const NEVER = Symbol('input that never comes')

/** Longer than any run here may take; then it is killed, and the test sees status null. */
const LIMIT_MS = 20_000

/** Starts `worldswitch` with these arguments, as a person would. */
export function worldswitch(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return start(process.execPath, [...(options.node ?? []), COMMAND, ...args], options)
}

/** Runs a line of bash, in which `$WORLDSWITCH` is the command. A pipe's status is that of the first part that failed. */
export function shell(line: string): Promise<Ran> {
  return start('bash', ['--norc', '-o', 'pipefail', '-c', line], {
    env: { WORLDSWITCH: `${process.execPath} ${COMMAND}`, PROGRAMS },
  })
}

function start(file: string, args: readonly string[], options: RunOptions): Promise<Ran> {
  if (!existsSync(BUILT)) throw new Error('the command does not build: node scripts/build.mjs')
  return new Promise((resolve, reject) => {
    const started = performance.now()
    const child = spawn(file, args, {
      cwd: options.cwd ?? root,
      env: { PATH: process.env['PATH'] ?? '', ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    const printed = { stdout: '', stderr: '' }
    child.stdout.setEncoding('utf8').on('data', (text) => (printed.stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text) => (printed.stderr += text))
    child.stdin.on('error', () => {})
    if (options.input !== NEVER) child.stdin.end(options.input ?? '')
    const kill = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS)
    child.on('error', reject)
    child.on('close', (status) => {
      clearTimeout(kill)
      resolve({ status, ...printed, milliseconds: performance.now() - started })
    })
    options.watch?.(child)
  })
}

/** `worldswitch exec ... -- program args`, the program being one of test/fixtures/programs or a path. */
export function exec(
  options: readonly string[],
  program: string,
  args: readonly string[] = [],
  run: RunOptions = {},
): Promise<Ran> {
  return worldswitch(['exec', ...options, '--', program.includes('/') ? program : fixture(program), ...args], run)
}

export const fixture = (name: string): string => join(PROGRAMS, name)

/** A folder that is there until `remove`. */
export class Scratch {
  readonly path = mkdtempSync(join(tmpdir(), 'worldswitch-test-'))

  at(name: string): string {
    return join(this.path, name)
  }
  write(name: string, content: string | Uint8Array, mode = 0o755): string {
    writeFileSync(this.at(name), content)
    chmodSync(this.at(name), mode)
    return this.at(name)
  }
  read(name: string, encoding: BufferEncoding = 'utf8'): string {
    return readFileSync(this.at(name), encoding)
  }
  remove(): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}
