import { describe, expect, test } from 'vitest'
import { kernelProfile, kernelProfiles } from '../../../src/profiles/index.ts'
import type { Host } from '../../../src/vmm/modelled/host.ts'
import { testHost } from '../../vmm/hosts.ts'
import { HOST_ONLY, HOST_ONLY_KERNELS, MODES, type Row, VIRTUALIZED, VIRTUALIZING_KERNELS } from './decision-tables.ts'
import { guestOn, LOAD, LOCK_INC, OUT_DONE, outcome, type Ring, XCHG } from './rings.ts'

/** What guests find under every mode and kernel, compared with the decision tables of the rules as a whole. */

const RINGS: readonly Ring[] = [
  { cpl: 0, alignmentCheck: false },
  { cpl: 0, alignmentCheck: true },
  { cpl: 3, alignmentCheck: false },
  { cpl: 3, alignmentCheck: true },
]
/** Code, and the word in memory after it. */
const ACCESSES = { 'lock inc': [LOCK_INC, 1], xchg: [XCHG, 7], 'misaligned load': [LOAD, 0] } as const
type Access = keyof typeof ACCESSES

const answersOf = (name: string): string => JSON.stringify(kernelProfile(name).splitLock)

const cell = ({ mode, offered, detects }: Row, { cpl, alignmentCheck }: Ring, access: Access): string =>
  [
    mode,
    ...(offered === null ? [] : [`F=${Number(offered)} G=${Number(detects)}`]),
    `ring ${cpl}`,
    `check ${alignmentCheck ? 'on' : 'off'}`,
    access,
  ].join(', ')

/** What the rules say of every cell. A load is no split lock: only the guest's own check stops it (SLD-01, SLD-03). */
function ruled(rows: readonly Row[]): Record<string, string> {
  const table: Record<string, string> = {}
  for (const each of rows)
    for (const ring of RINGS)
      for (const access of Object.keys(ACCESSES) as Access[]) {
        const checked = ring.cpl === 3 && ring.alignmentCheck
        const verdict = access === 'misaligned load' ? (checked ? '#AC' : 'runs') : each[checked ? 'checked' : 'plain']
        const memory = verdict.startsWith('runs') ? ACCESSES[access][1] : 0
        table[cell(each, ring, access)] = `${verdict}, memory ${memory}`
      }
  return table
}

/** What guests found. Each cell has a process of its own: a thread keeps its flag and is named in the log once. */
function found(kernel: string, rows: readonly Row[]): Record<string, string> {
  const table: Record<string, string> = {}
  for (const mode of MODES) {
    const host = testHost({ kernel, splitLockDetect: mode, engine: { tiers: false, regionLimit: 8 } })
    for (const each of rows.filter((candidate) => candidate.mode === mode))
      for (const ring of RINGS)
        for (const access of Object.keys(ACCESSES) as Access[]) table[cell(each, ring, access)] = tryOut(host, each, ring, access)
  }
  return table
}

function tryOut(host: Host, { offered, detects }: Row, ring: Ring, access: Access): string {
  const { clock, log } = host.kernel
  // Detection that a cell before has turned off is on again, and the log's rate limit forgets it.
  clock.skipTo(clock.now + 6e9)
  const guest = guestOn(host, [...ACCESSES[access][0], ...OUT_DONE], ring)
  if (offered === false) guest.vcpu.writeMsr(0xcf, 0n)
  if (offered === true) expect(guest.vcpu.readMsr(0xcf)).toBe(0x20n)
  if (detects === true) guest.vcpu.writeMsr(0x33, 1n << 29n)
  const before = log.lines.length
  const verdict = outcome(guest)
  const warned = log.lines.slice(before).some((line) => line.includes('took a split_lock trap'))
  const memory = guest.value()
  guest.vcpu.vm.kvm.process.exit()
  return `${verdict}${warned ? ', the host warns' : ''}, memory ${memory}`
}

describe('split locks and misaligned loads in rings 0 and 3, with and without alignment check, in every mode', () => {
  test('every kernel profile answers the questions of the subject as one of those below', () => {
    const kinds = new Set([...HOST_ONLY_KERNELS, ...VIRTUALIZING_KERNELS].map(answersOf))
    expect(kinds.size).toBe(HOST_ONLY_KERNELS.length + VIRTUALIZING_KERNELS.length)
    for (const { name } of kernelProfiles) expect([...kinds], name).toContain(answersOf(name))
  })

  test.each(HOST_ONLY_KERNELS)(
    '%s: as the decision table says [SLD-01, SLD-03, SLD-31, SLD-32, SLD-T6, SLD-T7, SLD-T8]',
    (kernel) => {
      const table = found(kernel, HOST_ONLY)
      expect(table).toEqual(ruled(HOST_ONLY))
      expect(Object.keys(table)).toHaveLength(4 * 4 * 3)
    },
  )

  test.each(VIRTUALIZING_KERNELS)('%s: as the decision table of the series says [SLD-47, SLD-48, SLD-52]', (kernel) => {
    const table = found(kernel, VIRTUALIZED)
    expect(table).toEqual(ruled(VIRTUALIZED))
    expect(Object.keys(table)).toHaveLength(10 * 4 * 3)
  })
})
