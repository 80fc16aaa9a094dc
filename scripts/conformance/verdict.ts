export type Verdict = 'pass' | 'fail' | 'skip'

/** Exit status by which a kernel selftest says that it did not run (KSFT_SKIP in tools/testing/selftests/kselftest.h). */
const KSFT_SKIP = 4

/** How the kernel's tests report a part they left out: a TAP directive, a TAP total, or the x86 suite's tag. */
const SKIPPED_PART = /^(?:not )?ok \d+.*# SKIP|^1\.\.0 # SKIP|^# Totals:.* skip:[1-9]|^\[SKIP\]/m

/** The same for a part that failed although the exit status is 0. */
const FAILED_PART = /^not ok \d+|^# Totals:.* (?:fail|error):[1-9]|^\[FAIL\]/m

/**
 * What a test program's exit status and output say. One that passed but left parts out counts as skipped.
 *
 * @param status undefined when it did not end by itself
 * @param leavesOut lines about parts that are known to be left out
 */
export function verdictOf(status: number | undefined, output: string, leavesOut: readonly string[] = []): Verdict {
  if (status === KSFT_SKIP) return 'skip'
  if (status !== 0 || FAILED_PART.test(output)) return 'fail'
  const lines = output.split('\n').filter((line) => !leavesOut.includes(line))
  return SKIPPED_PART.test(lines.join('\n')) ? 'skip' : 'pass'
}

/** Our command's own messages begin so; every other line is the program's. */
const OURS = /^worldswitch: /

/**
 * The line that tells most about a run: the program's last one on stderr, where the tests report their steps and their assertions,
 * or else on stdout. When the program itself said nothing, our command's last line.
 */
export function lastLine(stdout: string, stderr: string): string {
  const lines = (text: string) =>
    text
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '')
  const program = (text: string) => lines(text).filter((line) => !OURS.test(line))
  return [program(stderr), program(stdout), lines(stderr)].find((place) => place.length > 0)?.at(-1) ?? ''
}
