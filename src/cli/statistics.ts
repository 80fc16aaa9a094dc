import { syscallTable } from '../linux/syscalls/table.ts'
import { stateDigest } from '../machine/state-digest.ts'
import type { ProgramHost } from './program-host.ts'
import { unmodelled } from './unmodelled.ts'

export interface Statistics {
  readonly instructions: { readonly host: number; readonly guest: number }
  readonly syscalls: Readonly<Record<string, number>>
  readonly regionsCompiled: number
  readonly regionsDropped: number
  readonly bytesCompiled: number
  readonly vmEntries: number
  readonly xsave: { readonly executed: number; readonly bytes: number }
  readonly xrstor: { readonly executed: number; readonly bytes: number }
  readonly msrReads: number
  readonly msrWrites: number
  /** What was asked for and is not modelled, one sentence each. */
  readonly unmodelled: readonly string[]
}

/** Counts of a run; every one a by-product of the run. */
export function statistics(host: ProgramHost): Statistics {
  const { machine, kernel } = host
  const { counters, code } = machine
  return {
    instructions: { host: machine.retired - counters.guestRetired, guest: counters.guestRetired },
    syscalls: Object.fromEntries(kernel.syscalls.list().map(([nr, count]) => [syscallTable[nr]?.name ?? `number ${nr}`, count])),
    regionsCompiled: code.regionsCompiled,
    regionsDropped: code.regionsDropped,
    bytesCompiled: code.bytesCompiled,
    vmEntries: counters.vmEntries,
    xsave: { executed: counters.xsaveExecuted, bytes: counters.xsaveBytes },
    xrstor: { executed: counters.xrstorExecuted, bytes: counters.xrstorBytes },
    msrReads: counters.msrReads,
    msrWrites: counters.msrWrites,
    unmodelled: unmodelled(host),
  }
}

/** What `--stats-json` writes: the counts, and what tells two runs apart that did not come to the same end. */
export function statisticsJson({ machine, kernel }: ProgramHost, stats: Statistics): string {
  return `${JSON.stringify({ ...stats, stateDigest: stateDigest(machine, kernel.pages.touched) })}\n`
}

export function printStats(stats: Statistics): void {
  const { instructions: i, syscalls } = stats
  const lines = [
    `instructions   host ${i.host}  guest ${i.guest}`,
    `regions        compiled ${stats.regionsCompiled}  dropped ${stats.regionsDropped}  bytes ${stats.bytesCompiled}`,
    `world switches VM entries ${stats.vmEntries}`,
    `xstate         XSAVE* ${stats.xsave.executed} (${stats.xsave.bytes} bytes)  XRSTOR* ${stats.xrstor.executed}`,
    `MSRs           read ${stats.msrReads}  written ${stats.msrWrites}`,
    `system calls   ${Object.entries(syscalls)
      .map(([name, count]) => `${name} ${count}`)
      .join('  ')}`,
  ]
  process.stderr.write(`${lines.join('\n')}\n`)
}
