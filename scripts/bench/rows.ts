import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fastestOf, type Measured, measure } from './measure.ts'

export type Unit = 's' | '1/s' | 'ns'

/** One row of the table. A peer that cannot run it, or is not there, has null. */
export interface Row {
  row: string
  native: number | null
  qemu: number | null
  worldswitch: number | null
  unit: Unit
  /** Only of rows that move bytes: how many times as long as Uint8Array.set of as many bytes in the same run. */
  ratioToCopy?: number | null
}

/** A way of running a static x86-64 Linux program: the command before its name, or null where this machine has no such way. */
type Runner = readonly string[] | null

export interface Runners {
  native: Runner
  qemu: Runner
  worldswitch: Runner
}

const QEMU = ['qemu-x86_64-static', 'qemu-x86_64']
const isInstalled = (program: string) => spawnSync(program, ['--version']).error === undefined

export function runnersHere(cpu: string, kernel: string): Runners {
  const qemu = QEMU.find(isInstalled)
  return {
    native: process.arch === 'x64' && process.platform === 'linux' ? [] : null,
    qemu: qemu ? [qemu] : null,
    worldswitch: [process.execPath, 'dist/cli/worldswitch.js', 'exec', '--cpu', cpu, '--kernel', kernel, '--'],
  }
}

const PROGRAMS = 'bench/programs'

function run(runner: readonly string[], program: string, args: readonly string[] = []): Measured {
  const [first, ...rest] = [...runner, resolve(program), ...args]
  return measure(first, rest)
}

/** Runs what can be run and reports the rest: a peer that failed has null, as one that is not there. */
function attempt<T>(runner: Runner, figure: (runner: readonly string[]) => T, say: (line: string) => void): T | null {
  if (runner === null) return null
  try {
    return figure(runner)
  } catch (error) {
    say(String(error))
    return null
  }
}

const STARTS = 5

/** Start-up of a static hello world, whole process: wall time, which is what a person waits for. */
export function startUp(runners: Runners, say: (line: string) => void): Row {
  const hello = glibcHello() ?? join(PROGRAMS, 'hello')
  const wall = (runner: Runner) =>
    attempt(runner, (r) => fastestOf(Array.from({ length: STARTS }, () => run(r, hello))).wallSeconds, say)
  const row = hello.startsWith(PROGRAMS)
    ? 'start-up of a static hello world (no C library: no gcc here)'
    : 'start-up of a static hello world'
  return { row, native: wall(runners.native), qemu: wall(runners.qemu), worldswitch: wall(runners.worldswitch), unit: 's' }
}

/** A hello world with glibc in it, built where there is a gcc; undefined elsewhere. */
function glibcHello(): string | undefined {
  const folder = '.cache/bench'
  const program = join(folder, 'hello')
  if (existsSync(program)) return program
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'hello.c'), '#include <stdio.h>\nint main(void) { return puts("hello, world") < 0; }\n')
  const { status } = spawnSync('gcc', ['-O2', '-static', join(folder, 'hello.c'), '-o', program])
  return status === 0 ? program : undefined
}

/** A guest program's loop: CPU seconds of the whole process. Every runner has to print the same checksum. */
export function loop(name: string, program: string, runners: Runners, say: (line: string) => void): Row {
  const printed = new Set<string>()
  const seconds = (runner: Runner) =>
    attempt(
      runner,
      (r) => {
        const { cpuSeconds, stdout } = run(r, join(PROGRAMS, program))
        printed.add(stdout)
        return cpuSeconds
      },
      say,
    )
  const row = {
    row: name,
    native: seconds(runners.native),
    qemu: seconds(runners.qemu),
    worldswitch: seconds(runners.worldswitch),
  }
  if (printed.size > 1) throw new Error(`${program} prints different results: ${[...printed].join(' / ').replaceAll('\n', '')}`)
  return { ...row, unit: 's' }
}

const EXITS_RUNS = 3

/** KVM_RUN with a port write, each an exit to a VMM that is itself a program. Per second of wall time, start-up taken off. */
export function exitsUnderExec(runners: Runners, say: (line: string) => void): Row {
  const rounds = 300_000
  const program = join(PROGRAMS, 'exits')
  const fastest = (runner: readonly string[], count: number) =>
    fastestOf(Array.from({ length: EXITS_RUNS }, () => run(runner, program, [String(count)]))).wallSeconds
  const rate = (runner: Runner) => attempt(runner, (r) => rounds / (fastest(r, rounds) - fastest(r, 1)), say)
  // The native figure is of this machine's own /dev/kvm. qemu's user mode passes no KVM on.
  const native = existsSync('/dev/kvm') ? runners.native : null
  return {
    row: 'KVM_RUN port-I/O exits under exec',
    native: rate(native),
    qemu: null,
    worldswitch: rate(runners.worldswitch),
    unit: '1/s',
  }
}

/** Figures of one program of ours, so that nothing else warms or burdens its process; none where it failed. */
function figuresOf<T>(program: string, say: (line: string) => void): Partial<T> {
  const ended = spawnSync(process.execPath, ['scripts/ts.mjs', `scripts/bench/${program}`], {
    encoding: 'utf8',
    timeout: 300_000,
  })
  if (ended.status === 0) return JSON.parse(ended.stdout)
  say(`${program}: exit ${ended.status}: ${ended.stderr.trimEnd().split('\n').at(-1)}`)
  return {}
}

const EXPLORE_RUNS = 3

/** Runs of the split-lock scenario a second of wall time, the whole command: one process, and one for each of two processors. */
export function explore(say: (line: string) => void): Row[] {
  const rate = (threads: number): number | null => {
    const args = ['dist/cli/worldswitch.js', 'explore', 'split-lock', '--threads', String(threads), '--json']
    const rates = Array.from({ length: EXPLORE_RUNS }, () => {
      const { stdout, wallSeconds } = measure(process.execPath, args)
      return (JSON.parse(stdout) as { executions: number }).executions / wallSeconds
    })
    return Math.max(...rates)
  }
  const figure = (threads: number) => attempt([], () => rate(threads), say)
  return [
    ours('explore split-lock, executions', figure(1), '1/s'),
    ours('explore split-lock --threads 2, executions', figure(2), '1/s'),
  ]
}
/** What only we have: neither the machine itself nor qemu is asked. */
const ours = (row: string, worldswitch: number | null, unit: Unit): Row => ({ row, native: null, qemu: null, worldswitch, unit })

/** The typed API, per second. */
export function api(say: (line: string) => void): Row[] {
  const rates = figuresOf<Record<string, number>>('api-rates.ts', say)
  return [
    ours('KVM_RUN port-I/O exits through the API', rates.exits ?? null, '1/s'),
    ours('KVM_GET_XSAVE2 through the API', rates.getXsave2 ?? null, '1/s'),
    ours('KVM_SET_XSAVE through the API', rates.setXsave ?? null, '1/s'),
  ]
}

/** Extended state: ioctls that move it, permission checks, and world switches that do not reach user space. */
export function xstate(say: (line: string) => void): Row[] {
  const figures = figuresOf<Record<string, { rate: number; copy?: number }>>('xstate-rates.ts', say)
  const nanoseconds = (key: string) => (figures[key] === undefined ? null : 1e9 / figures[key].rate)
  const moves = (row: string, key: string): Row => {
    const { rate, copy } = figures[key] ?? {}
    const ratioToCopy = rate === undefined || copy === undefined ? null : Number((copy / rate).toPrecision(3))
    return { ...ours(row, rate ?? null, '1/s'), ratioToCopy }
  }
  return [
    moves('KVM_GET_XSAVE2, no AMX, 4096 bytes', 'getPlain'),
    moves('KVM_GET_XSAVE2, AMX data, 11008 bytes', 'getAmx'),
    moves('KVM_SET_XSAVE, no AMX, 4096 bytes', 'setPlain'),
    moves('KVM_SET_XSAVE, AMX data, 11008 bytes', 'setAmx'),
    ours('arch_prctl(ARCH_GET_XCOMP_GUEST_PERM)', figures.permission?.rate ?? null, '1/s'),
    ours('permission request, already granted', figures.ask?.rate ?? null, '1/s'),
    ours('VM exit and entry, KVM emulates RDMSR', nanoseconds('rdmsr'), 'ns'),
    ours('VM exit and entry, KVM emulates CPUID', nanoseconds('cpuid'), 'ns'),
  ]
}
