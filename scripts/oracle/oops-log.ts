import { parseScenarios, type Scenario } from './recordings.ts'
import type { Ran } from './run-driver.ts'

/**
 * The kernel's log of an oops, as far as a model of the kernel can say the same: what happened in which function, for whom, with
 * which values of the registers that an instruction of the processor, not the compiler, chose. Addresses, offsets and lines
 * marked `?` (found on the stack, not called) are left out.
 */

/** Sections `== SCENARIO (what it does)` of the recorded log. */
export function recordedOopses(text: string): Map<string, Scenario> {
  const scenarios = new Map<string, Scenario>()
  for (const section of text.split(/^== /m).slice(1)) {
    const name = section.slice(0, section.indexOf(' '))
    // The driver's process dies of the oops: SIGSEGV, make_task_dead's choice.
    scenarios.set(name, { name, calls: [oopsOf(section)], end: { killed_by: 11 } })
  }
  return scenarios
}

/** What a modelled host logged on stderr while it ran one scenario. */
export function oopsScenarios({ stdout, stderr }: Ran): Map<string, Scenario> {
  return new Map(
    [...parseScenarios(stdout)].map(([name, scenario]) => [name, { name, calls: [oopsOf(stderr)], end: scenario.end }]),
  )
}

const LOG_LINE = /^\[ *\d+\.\d+\] (.*)$/gm

/** What a kernel log says of its first oops. */
export function oopsOf(text: string): Record<string, unknown> {
  const lines = [...text.matchAll(LOG_LINE)].map(([, line]) => line)
  const oopsAt = lines.findIndex((line) => line.startsWith('Oops: '))
  if (oopsAt < 0) return { call: 'oops' }
  const after = lines.slice(oopsAt)
  const find = (pattern: RegExp) => after.map((line) => pattern.exec(line)?.[1]).find((found) => found !== undefined)
  return {
    call: 'oops',
    warning: /^WARNING: .* (\w+)(\+|$)/.exec(lines.slice(0, oopsAt).find((line) => line.startsWith('WARNING: ')) ?? '')?.[1],
    oops: find(/^Oops: (.*?\])/),
    comm: find(/Comm: (\S+)/),
    in: find(/^RIP: 0010:(\w+)/),
    // EDX:EAX is the instruction mask of XRSTORS; what is in the other registers the compiler chose.
    eax: find(/^RAX: (\w+)/),
    edx: find(/\bRDX: (\w+)/),
    pkru: find(/^PKRU: (\w+)/),
    trace: called(lines),
    user: userFrame(lines),
  }
}

/** Functions of the first call trace, innermost first. */
function called(lines: string[]): string[] {
  const start = lines.indexOf('Call Trace:')
  const end = lines.indexOf(' </TASK>', start)
  const names = lines.slice(start + 1, end).map((line) => /^ {1,2}(\w+)(\+0x|$)/.exec(line)?.[1])
  return names.filter((name) => name !== undefined && !name.startsWith('asm_exc_')) as string[]
}

/** The system call the task was in: its number and the arguments that are no addresses. */
function userFrame(lines: string[]): Record<string, string | undefined> {
  const frame = lines.slice(lines.findIndex((line) => line.startsWith('RIP: 0033:'))).join('\n')
  const register = (name: string) => new RegExp(`\\b${name}: +(\\w+)`).exec(frame)?.[1]
  return { origRax: register('ORIG_RAX'), rdi: register('RDI'), rsi: register('RSI'), rdx: register('RDX') }
}
