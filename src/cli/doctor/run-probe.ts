import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { spawn } from '../../linux/exec/spawn.ts'
import { InputSource } from '../../linux/fs/host-stream.ts'
import { drive } from '../drive.ts'
import { HostDirectory } from '../host-directory.ts'
import { type HostOptions, programHost } from '../program-host.ts'
import type { Surroundings } from './check.ts'

/** The probe's output, and what is known beside it. */
export interface Probed {
  readonly output: string
  readonly around: Surroundings
}

const LIMIT_MS = 10_000
/** A run of the probe takes about 100,000 instructions. */
const MAX_INSTRUCTIONS = 50_000_000

/** It lies beside the bundle (scripts/build.mjs). */
const probePath = (): string => fileURLToPath(new URL('doctor-probe.elf', import.meta.url))

/** Asks this machine. Where the probe cannot run, the reason is part of the answer. */
export function probeThisMachine(): Probed {
  const { platform, arch, version } = process
  const around = {
    where: 'this machine',
    modelled: false,
    node: { platform, arch, version },
    kvmNode: platform === 'linux' ? existsSync('/dev/kvm') : null,
    cpuinfoFlags: cpuinfoFlags(),
  }
  if (platform !== 'linux' || arch !== 'x64') {
    return { output: '', around: { ...around, probeFailure: `it is a program for Linux on x86-64, this is ${platform} ${arch}` } }
  }
  const { output, failure } = runNatively(probePath())
  return { output, around: { ...around, probeFailure: failure } }
}

function runNatively(path: string): { output: string; failure: string | null } {
  let ran = spawnSync(path, { encoding: 'latin1', timeout: LIMIT_MS, killSignal: 'SIGKILL' })
  // Packages may lose the permission to execute on their way.
  if ((ran.error as NodeJS.ErrnoException | undefined)?.code === 'EACCES') ran = runCopy(path)
  const failure =
    ran.error !== undefined
      ? `it cannot be started: ${(ran.error as NodeJS.ErrnoException).code ?? ran.error.message}`
      : ran.signal !== null
        ? `it was killed by ${ran.signal}`
        : ran.status !== 0
          ? `it ended with status ${ran.status}`
          : null
  return { output: ran.stdout ?? '', failure }
}

function runCopy(path: string): SpawnSyncReturns<string> {
  const folder = mkdtempSync(join(tmpdir(), 'worldswitch-doctor-'))
  try {
    const copy = join(folder, 'probe')
    copyFileSync(path, copy)
    chmodSync(copy, 0o700)
    return spawnSync(copy, { encoding: 'latin1', timeout: LIMIT_MS, killSignal: 'SIGKILL' })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function cpuinfoFlags(): string[] | null {
  try {
    const line = /^flags\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1'))
    return line === null ? null : line[1].split(/\s+/)
  } catch {
    return null
  }
}

/** Asks a modelled host: the same program, run as `exec` runs one. */
export async function probeModelledHost(options: HostOptions): Promise<Probed> {
  const host = programHost(options)
  const { kernel } = host
  kernel.bind('/doctor-probe', new HostDirectory(probePath(), true))
  let output = ''
  const sink = { write: (bytes: Uint8Array) => void (output += Buffer.from(bytes).toString('latin1')) }
  const stdin = new InputSource()
  stdin.end()
  spawn(kernel, { path: '/doctor-probe', argv: ['doctor-probe'], envp: [], cwd: '/', stdin, stdout: sink, stderr: sink })
  const end = await drive(host, { stdin, outputs: [], maxInstructions: MAX_INSTRUCTIONS })
  const failure = end.kind === 'stopped' ? end.because : end.status === 0 ? null : `it ended with wait status ${end.status}`
  const { name } = kernel.profile
  const around = { where: `modelled ${options.cpu}, ${name}`, modelled: true, node: null, kvmNode: null, cpuinfoFlags: null }
  return { output, around: { ...around, probeFailure: failure } }
}
