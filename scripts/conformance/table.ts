import type { Result } from './run-program.ts'

const WIDTHS = { program: 26, result: 6, seconds: 9, count: 15 }
const LAST_WIDTH = 60

const row = (program: string, result: string, seconds: string, guest: string, host: string, last: string) =>
  `${program.padEnd(WIDTHS.program)} ${result.padEnd(WIDTHS.result)} ${seconds.padStart(WIDTHS.seconds)} ` +
  `${guest.padStart(WIDTHS.count)} ${host.padStart(WIDTHS.count)}  ${last}`.trimEnd()

/** Columns: the make target's name, result, wall time, instructions retired in guests and by the host's programs, last line. */
export const tableHead = () => row('program', 'result', 'seconds', 'guest instr.', 'host instr.', 'last line')

export function tableRow({ program, result, seconds, instructions, last }: Result): string {
  const count = (n: number | undefined) => (n === undefined ? '-' : n.toLocaleString('en-US'))
  const shown = last.length > LAST_WIDTH ? `${last.slice(0, LAST_WIDTH - 1)}…` : last
  return row(program, result, seconds.toFixed(2), count(instructions?.guest), count(instructions?.host), shown)
}
