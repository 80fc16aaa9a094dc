import { spawnSync } from 'node:child_process'

/** Something the machine lacks or refuses, told to the person in one line. */
export class CannotPrepare extends Error {}

/**
 * Runs one command to its end and returns what it printed on stdout.
 *
 * @throws CannotPrepare with the last lines the command printed, when it cannot be started or does not exit 0
 */
export function command(
  program: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd: options.cwd ?? process.cwd(),
    env: { ...process.env, LC_ALL: 'C', ...options.env },
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  })
  if (error)
    throw new CannotPrepare(`${program}: ${(error as NodeJS.ErrnoException).code === 'ENOENT' ? 'not installed' : error.message}`)
  if (status !== 0) {
    const last = `${stdout}\n${stderr}`.trim().split('\n').slice(-5).join('\n  ')
    throw new CannotPrepare(`${program} ${args.slice(0, 3).join(' ')} … exited ${status}:\n  ${last}`)
  }
  return stdout
}
