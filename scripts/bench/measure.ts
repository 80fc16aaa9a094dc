import { spawnSync } from 'node:child_process'

/** What one run of a program cost. CPU time is user and system, of the process and all its children. */
export interface Measured {
  wallSeconds: number
  cpuSeconds: number
  stdout: string
}

/** bash's `time` reports user and system time of everything the command waited for; Node has no such figure for a child. */
const TIMED = 'TIMEFORMAT="%3R %3U %3S"; time timeout -s KILL "$0" "$@"'

/** A run that did not end by itself after this long has no figure. */
const LIMIT_SECONDS = 600

/**
 * Runs a program to its end.
 *
 * @throws Error with what the program printed last, when it does not exit 0
 */
export function measure(program: string, args: readonly string[]): Measured {
  const ended = spawnSync('bash', ['-c', TIMED, String(LIMIT_SECONDS), program, ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  })
  const printed = ended.stderr.trimEnd().split('\n')
  const [wall, user, system] = (printed.pop() ?? '').split(' ').map(Number)
  if (ended.status !== 0)
    throw new Error(
      `${[program, ...args].join(' ')}: exit ${ended.status}: ${`${ended.stdout}${printed.join('\n')}`.trimEnd().split('\n').at(-1)}`,
    )
  return { wallSeconds: wall, cpuSeconds: user + system, stdout: ended.stdout }
}

/** The run that took least wall time: other work on the machine only ever slows a run down. */
export function fastestOf(runs: readonly Measured[]): Measured {
  return runs.reduce((best, run) => (run.wallSeconds < best.wallSeconds ? run : best))
}
