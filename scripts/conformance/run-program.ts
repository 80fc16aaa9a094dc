import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lastLine, type Verdict, verdictOf } from './verdict.ts'

/** One row of the table; `--json` prints it as it is. */
export interface Result {
  suite: string
  program: string
  result: Verdict
  last: string
  /** Wall time. */
  seconds: number
  /** Instructions retired; null when the command did not live to write its statistics. */
  instructions: { guest: number; host: number } | null
}

export interface RunOptions {
  cpu: string
  kernel: string
  timeoutSeconds: number
  /** Program.leavesOut. */
  leavesOut?: readonly string[]
}

/** How long the command has after Ctrl-C to print its state before it is killed. */
const GRACE_MS = 5000

/** Runs one program on the modelled host and says how it went. */
export async function runProgram(suite: string, program: string, path: string, options: RunOptions): Promise<Result> {
  const scratch = mkdtempSync(join(tmpdir(), 'worldswitch-'))
  const statistics = join(scratch, 'stats.json')
  const started = performance.now()
  try {
    const { status, stdout, stderr, timedOut } = await execute(
      ['exec', '--cpu', options.cpu, '--kernel', options.kernel, '--stats-json', statistics, '--', path],
      options.timeoutSeconds,
    )
    const result = timedOut ? 'fail' : verdictOf(status, `${stdout}\n${stderr}`, options.leavesOut)
    const last = lastLine(stdout, stderr)
    return {
      suite,
      program,
      result,
      last: timedOut
        ? `no end after ${options.timeoutSeconds} s; ${last}`
        : last || (status === 0 ? '' : `exit status ${status}`),
      seconds: Math.round(performance.now() - started) / 1000,
      instructions: readInstructions(statistics),
    }
  } finally {
    rmSync(scratch, { recursive: true })
  }
}

interface Ended {
  status: number | undefined
  stdout: string
  stderr: string
  timedOut: boolean
}

function execute(args: string[], timeoutSeconds: number): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['dist/cli/worldswitch.js', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    const printed = { stdout: '', stderr: '' }
    child.stdout.setEncoding('utf8').on('data', (text) => (printed.stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text) => (printed.stderr += text))
    let timedOut = false
    const interrupt = setTimeout(() => {
      timedOut = true
      child.kill('SIGINT')
    }, timeoutSeconds * 1000)
    const kill = setTimeout(() => child.kill('SIGKILL'), timeoutSeconds * 1000 + GRACE_MS)
    child.on('error', reject)
    child.on('close', (code) => {
      clearTimeout(interrupt)
      clearTimeout(kill)
      resolve({ status: code ?? undefined, ...printed, timedOut })
    })
  })
}

/** What `exec --stats-json` wrote; null when it wrote nothing that can be read. */
function readInstructions(path: string): Result['instructions'] {
  try {
    const { guest, host } = JSON.parse(readFileSync(path, 'utf8')).instructions
    return { guest, host }
  } catch {
    return null
  }
}
