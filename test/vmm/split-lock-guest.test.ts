import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { kernelProfile } from '../../src/profiles/index.ts'
import type { Host } from '../../src/vmm/modelled/host.ts'
import { type GuestFile, readGuestFile } from '../../src/vmm/small-vmm/guest-file.ts'
import { SmallVmm } from '../../src/vmm/small-vmm/small-vmm.ts'
import {
  HOST_ONLY,
  HOST_ONLY_KERNELS,
  MODES,
  type Mode,
  type Row,
  type Verdict,
  VIRTUALIZED,
  VIRTUALIZING_KERNELS,
} from '../kvm/splitlock/decision-tables.ts'
import { MEMORY, Recorder } from './guests.ts'
import { testHost } from './hosts.ts'

const file = new URL('../../examples/split-lock/split-lock.elf', import.meta.url)
const splitLock: GuestFile = readGuestFile(readFileSync(file), 'split-lock.elf', MEMORY)

const RINGS = ['0', '3']
const CHECKS = ['off', 'on']
const ACCESSES = ['lock', 'xchg', 'load']
/** Own detection, ring, alignment check, access: what a row of the guest's table begins with. */
type Cell = readonly [own: string, ring: string, check: string, access: string]
const cellsOf = (owns: readonly string[]): Cell[] =>
  owns.flatMap((own) =>
    RINGS.flatMap((ring) => CHECKS.flatMap((check) => ACCESSES.map((access) => [own, ring, check, access] as const))),
  )

const wordsFor = ([own, ring, check, access]: Cell): string =>
  [...(own === 'none' ? [] : [`own-${own}`]), `ring${ring}`, check === 'on' ? 'check' : 'nocheck', access].join(' ')

/** The rows that the guest prints when it is told `words`. A row without an outcome is the one at which the host ended it. */
function rowsOf(host: Host, words: string): [string, string][] {
  const seen = new Recorder()
  const vmm = SmallVmm.boot(host.newProcess(), splitLock, MEMORY, seen, words)
  const end = vmm.run()
  const [head, ...rows] = seen.text.replace(/\n$/, '').split('\n')
  expect(head).toMatch(/^own detection +ring +alignment check +access +outcome$/)
  if (end.kind === 'stopped') expect(end.because).toMatch(/exception 17, and the VMM got SIGBUS: a split lock of the guest/)
  else expect(end).toEqual({ kind: 'exited', status: 0 })
  vmm.close()
  return rows.map((row) => {
    const [own, ring, check, access, ...outcome] = row.trim().split(/ +/)
    return [[own, ring, check, access].join(' '), outcome.join(' ') || 'SIGBUS']
  })
}

/** The whole table; after a row that ended the guest, each other row by a guest of its own. */
function tableOf(host: Host, owns: readonly string[]): Record<string, string> {
  const table = Object.fromEntries(rowsOf(host, ''))
  for (const cell of cellsOf(owns))
    if (!(cell.join(' ') in table)) Object.assign(table, Object.fromEntries(rowsOf(host, wordsFor(cell))))
  return table
}

/** The rules' table, as the guest would print it. */
function ruledTable(rows: readonly Row[], mode: Mode, owns: readonly string[], warned: string): Record<string, string> {
  const printed = (verdict: Verdict) => (verdict === 'runs, the host warns' ? warned : verdict)
  return Object.fromEntries(
    cellsOf(owns).map((cell) => {
      const [own, ring, check, access] = cell
      // A VMM that leaves MSR_IA32_CORE_CAPS alone: where detection is offered at all, the guest has it.
      const row = rows.find(
        (each) => each.mode === mode && (each.offered !== true ? own === 'none' : each.detects === (own === 'on')),
      )!
      const checked = ring === '3' && check === 'on'
      const verdict = access === 'load' ? (checked ? '#AC' : 'runs') : checked ? row.checked : row.plain
      return [cell.join(' '), printed(verdict)]
    }),
  )
}

describe('examples/split-lock prints the decision table of the rules', () => {
  const each = (kernels: readonly string[]) => kernels.flatMap((kernel) => MODES.map((mode) => [kernel, mode] as const))

  test.each(each(HOST_ONLY_KERNELS))('%s, %s [SLD-32, SLD-19, SLD-22, SLD-33]', (kernel, mode) => {
    // The penalty of warn mode shows in the guest; the older design has none.
    const warned = kernelProfile(kernel).splitLock.warnDesign === 'thread-flag' ? 'runs' : 'runs late'
    expect(tableOf(testHost({ kernel, splitLockDetect: mode, engine: { tiers: false, regionLimit: 8 } }), ['none'])).toEqual(
      ruledTable(HOST_ONLY, mode, ['none'], warned),
    )
  })

  test.each(each(VIRTUALIZING_KERNELS))('%s, %s [SLD-47, SLD-48, SLD-49]', (kernel, mode) => {
    const owns = mode === 'off' ? ['none'] : ['off', 'on']
    expect(tableOf(testHost({ kernel, splitLockDetect: mode, engine: { tiers: false, regionLimit: 8 } }), owns)).toEqual(
      ruledTable(VIRTUALIZED, mode, owns, 'runs'),
    )
  })
})
