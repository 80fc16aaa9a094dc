import { spawn } from 'node:child_process'
import type { Recording } from './recordings.ts'

/** What one run of a driver under `worldswitch exec` left. */
export interface Ran {
  readonly stdout: string
  readonly stderr: string
  /** How it ended, where that is worth telling. */
  readonly trouble: string | null
}

const LIMIT_MS = 300_000

/** Runs a recording's driver on its modelled host, for the scenarios that begin with one of `prefixes`. */
export function runDriver(program: string, { cpu, kernel, cpus, params }: Recording, prefixes: readonly string[]): Promise<Ran> {
  const host = [
    'exec',
    '--cpu',
    cpu,
    '--kernel',
    kernel,
    '--cpus',
    String(cpus),
    ...params.flatMap((param) => ['--param', param]),
  ]
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['dist/cli/worldswitch.js', ...host, '--', program, ...prefixes], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const printed = { stdout: '', stderr: '' }
    child.stdout.setEncoding('utf8').on('data', (text) => (printed.stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text) => (printed.stderr += text))
    const limit = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS)
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(limit)
      const last = printed.stderr.trimEnd().split('\n').at(-1) ?? ''
      const trouble = code === 0 ? null : `${signal ?? `exit ${code}`}: ${last}`
      resolve({ ...printed, trouble })
    })
  })
}

/**
 * Scenario names as prefixes for the driver, in `batches` lists of about the same number of scenarios: a process of the modelled
 * host runs many, because starting one costs more than a scenario does.
 */
export function batchesOf(names: readonly string[], batches: number): string[][] {
  const groups = new Map<string, number>()
  for (const name of names) {
    const group = groupOf(name)
    groups.set(group, (groups.get(group) ?? 0) + 1)
  }
  const filled = Array.from({ length: Math.min(batches, groups.size) }, () => ({ size: 0, prefixes: [] as string[] }))
  for (const [group, size] of [...groups].sort((a, b) => b[1] - a[1])) {
    const smallest = filled.reduce((least, batch) => (batch.size < least.size ? batch : least))
    smallest.prefixes.push(group)
    smallest.size += size
  }
  return filled.map(({ prefixes }) => prefixes)
}

/** `kvm.msr.PC.0x10a` -> `kvm.msr.`; `perm.initial` stays. */
function groupOf(name: string): string {
  const parts = name.split('.')
  return parts.length > 2 ? `${parts[0]}.${parts[1]}.` : name
}
