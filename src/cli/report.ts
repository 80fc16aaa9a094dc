import { UserError } from '../isa/user-error.ts'
import { ProgramError } from '../linux/exec/program-error.ts'

/** Exit codes of ours, as `env` and container runtimes have them. */
export const EXIT_USAGE = 2
export const EXIT_FAILURE = 125
export const EXIT_NOT_RUNNABLE = 126
export const EXIT_NOT_FOUND = 127

/** One line on stderr about an error, and the exit code for it. */
export function report(error: unknown): number {
  const say = (text: string) => process.stderr.write(`worldswitch: ${text.replaceAll('\n', ' ')}\n`)
  if (error instanceof ProgramError) {
    say(error.message)
    return error.code === 'not-found' ? EXIT_NOT_FOUND : EXIT_NOT_RUNNABLE
  }
  if (error instanceof UserError) {
    say(error.message)
    return EXIT_USAGE
  }
  if (process.env['WORLDSWITCH_DEBUG'] !== undefined && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  say(`internal error: ${error instanceof Error ? error.message : String(error)} (WORLDSWITCH_DEBUG=1 shows where)`)
  return EXIT_FAILURE
}
