import { UserError } from '../isa/user-error.ts'
import { ProgramError } from '../linux/exec/program-error.ts'

/** Exit codes of ours, as `env` and container runtimes have them. */
export const EXIT_USAGE = 2
export const EXIT_FAILURE = 125
export const EXIT_NOT_RUNNABLE = 126
export const EXIT_NOT_FOUND = 127
/** As a shell reports a program that SIGINT ended. */
export const EXIT_INTERRUPTED = 130
/** ... and one that SIGPIPE ended. */
export const EXIT_BROKEN_PIPE = 141

/** What somebody typed may hold line breaks and terminal commands: none of them in a message. */
export const oneLine = (text: string): string =>
  Array.from(text.trim(), (c) => (c < ' ' || (c >= '\x7f' && c < '\xa0') ? ' ' : c)).join('')

/** V8's words when a WebAssembly.Memory or a buffer cannot be had. */
const NO_MEMORY = /allocate (Wasm )?memory|allocation failed/

/** One line on stderr about an error, and the exit code for it. */
export function report(error: unknown): number {
  const say = (text: string) => process.stderr.write(`worldswitch: ${oneLine(text)}\n`)
  if (error instanceof ProgramError) {
    say(error.message)
    return error.code === 'not-found' ? EXIT_NOT_FOUND : EXIT_NOT_RUNNABLE
  }
  if (error instanceof UserError) {
    say(error.message)
    return EXIT_USAGE
  }
  if (error instanceof Error && NO_MEMORY.test(error.message)) {
    say(`this machine does not give the memory that the modelled one needs: ${error.message}; try a smaller --memory`)
    return EXIT_FAILURE
  }
  if (process.env['WORLDSWITCH_DEBUG'] !== undefined && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  say(`internal error: ${error instanceof Error ? error.message : String(error)} (WORLDSWITCH_DEBUG=1 shows where)`)
  return EXIT_FAILURE
}

/** A mistake on the command line that `commander` found, in its words. */
export function usageLine(text: string): string {
  return `worldswitch: ${oneLine(text.replace(/^error: /, '').replaceAll(/\n+/g, ' '))}\n`
}
