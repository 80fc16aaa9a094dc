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

function oopsOf(text: string): Record<string, unknown> {
  const lines = [...text.matchAll(LOG_LINE)].map(([, line]) => line)
  const oopsAt = lines.findIndex((line) => line.startsWith('Oops: '))
  const before = lines.slice(0, Math.max(oopsAt, 0))
  const after = oopsAt < 0 ? [] : lines.slice(oopsAt)
  const find = (from: string[], pattern: RegExp) =>
    from.map((line) => pattern.exec(line)?.[1]).find((found) => found !== undefined)
  return {
    call: 'oops',
    // The file's line number is the source's, not the behaviour's.
    warning: find(before, /^WARNING: .* at \S+:\d+ (\w+)\+/),
    oops: find(after, /^Oops: (.*?\])/),
    comm: find(after, /Comm: (\S+)/),
    in: find(after, /^RIP: 0010:(\w+)\+/),
    // EDX:EAX is the instruction mask of XRSTORS, and RDI its buffer's owner; the rest is the compiler's.
    eax: find(after, /^RAX: (\w+)/),
    edx: find(after, /^RDX: (\w+)/),
    pkru: find(after, /^PKRU: (\w+)/),
    trace: called(after),
    user: userFrame(before),
  }
}

/** Functions of the call trace, innermost first. The recording's second trace ends early, where its log was cut. */
function called(lines: string[]): string[] {
  const start = lines.indexOf('Call Trace:')
  const trace = start < 0 ? [] : lines.slice(start + 1)
  return trace.map((line) => /^ {1,2}(\w+)\+0x/.exec(line)?.[1]).filter((name) => name !== undefined)
}

/** The system call the task was in: number and the arguments that are no addresses. */
function userFrame(lines: string[]): Record<string, string | undefined> {
  const start = lines.findIndex((line) => line.startsWith('RIP: 0033:'))
  const frame = start < 0 ? '' : lines.slice(start).join('\n')
  const register = (name: string) => new RegExp(`\\b${name}: +(\\w+)`).exec(frame)?.[1]
  return { origRax: register('ORIG_RAX'), rdi: register('RDI'), rsi: register('RSI'), rdx: register('RDX') }
}
