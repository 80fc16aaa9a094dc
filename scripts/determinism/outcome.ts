import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What must be the same however a program is run. */
export interface Outcome {
  status: number | null
  stdout: string
  stderr: string
  host: number
  guest: number
  stateDigest: string
}

/** How a program is run: options of `worldswitch exec`, and of node itself. */
export interface Way {
  exec?: readonly string[]
  node?: readonly string[]
}

/** Runs `worldswitch exec OPTIONS -- PROGRAM`. */
export async function outcomeOf(program: string, options: readonly string[], way: Way, timeoutSeconds: number): Promise<Outcome> {
  const scratch = mkdtempSync(join(tmpdir(), 'worldswitch-'))
  const file = join(scratch, 'stats.json')
  try {
    const command = ['dist/cli/worldswitch.js', 'exec', ...options, ...(way.exec ?? []), '--stats-json', file, '--', program]
    const ended = await execute([...(way.node ?? []), ...command], timeoutSeconds)
    const text = readFileSync(file, 'utf8')
    const { instructions, stateDigest } = JSON.parse(text === '' ? '{"instructions":{},"stateDigest":"none"}' : text)
    return { ...ended, host: instructions.host, guest: instructions.guest, stateDigest }
  } finally {
    rmSync(scratch, { recursive: true })
  }
}

function execute(args: string[], timeoutSeconds: number): Promise<Pick<Outcome, 'status' | 'stdout' | 'stderr'>> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    const printed = { stdout: '', stderr: '' }
    child.stdout.setEncoding('utf8').on('data', (text) => (printed.stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text) => (printed.stderr += text))
    const interrupt = setTimeout(() => child.kill('SIGINT'), timeoutSeconds * 1000)
    child.on('error', reject)
    child.on('close', (status) => {
      clearTimeout(interrupt)
      resolve({ status, ...printed })
    })
  })
}

/** In which respects two outcomes differ, with the values. */
export function differences(a: Outcome, b: Outcome): string[] {
  const found: string[] = []
  for (const key of Object.keys(a) as (keyof Outcome)[]) {
    if (a[key] !== b[key]) found.push(`${key}: ${brief(a[key], b[key])} / ${brief(b[key], a[key])}`)
  }
  return found
}

/** Long texts from where they differ. */
function brief(value: string | number | null, other: string | number | null): string {
  if (typeof value !== 'string' || typeof other !== 'string') return `${value}`
  let at = 0
  while (at < value.length && value[at] === other[at]) at++
  return JSON.stringify(value.slice(Math.max(0, at - 20), at + 60))
}
