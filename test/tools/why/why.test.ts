import { describe, expect, test } from 'vitest'
import { observeCrowd } from '../../../src/tools/why/contention.ts'
import { LOCKS } from '../../../src/tools/why/guest.ts'
import { observe, PAUSE, type Setting } from '../../../src/tools/why/observe.ts'
import { whyTable } from '../../../src/tools/why/table.ts'
import { why } from '../../../src/tools/why/why.ts'
import { icedModule } from '../../machine/bare-host.ts'

const V10 = 'proposal:sld-virt-v10'
const plain: Setting = {
  cpu: 'SapphireRapids',
  kernel: 'linux-6.12',
  mode: 'warn',
  mitigate: true,
  guestDetects: false,
  busLockExit: false,
}
const see = (change: Partial<Setting>) => observe({ ...plain, ...change }, icedModule())
const off = see({ mode: 'off' })
const trapLines = ({ log }: { log: readonly string[] }) => log.filter((line) => line.includes('took a split_lock trap'))
/** To a microsecond: the clock counts instructions, not nanoseconds. */
const milliseconds = (ns: number) => Math.round(ns / 1e3) / 1e3
/** Lost on the locks that lie apart. */
const lost = ({ apart }: { apart: number | null }) => milliseconds(apart! - off.apart!)

describe('what split locks cost a guest', () => {
  test('off: nothing but its own work and its pauses [SLD-14]', () => {
    expect(off).toMatchObject({ ending: 'ran', completed: 2 * LOCKS, traps: 0, log: [], signals: [] })
    expect(off.apart!).toBeGreaterThanOrEqual(LOCKS * PAUSE)
    expect(off.apart!).toBeLessThan(LOCKS * PAUSE + 1e6)
  })
  test('warn: at least 10 ms at each lock, one line in the log; a burst within two jiffies costs one sleep [SLD-19, SLD-20, SLD-32]', () => {
    const seen = see({})
    expect(seen).toMatchObject({ ending: 'ran', completed: 2 * LOCKS, traps: LOCKS + 1, signals: [] })
    expect(trapLines(seen)).toHaveLength(1)
    expect(lost(seen)).toBeGreaterThanOrEqual(10 * LOCKS)
    expect(seen.burst! - off.burst!).toBeGreaterThanOrEqual(10e6)
    expect(seen.burst! - off.burst!).toBeLessThan(20e6)
  })
  test('warn with split_lock_mitigate=0: every lock is #AC, and none waits [SLD-15, SLD-19]', () => {
    const seen = see({ mitigate: false })
    expect(seen).toMatchObject({ ending: 'ran', completed: 2 * LOCKS, traps: LOCKS + 1 })
    expect(lost(seen)).toBeLessThan(1)
  })
  test('warn with the thread flag of 5.17: only the first lock is #AC, nothing waits, and the thread stays undetected [SLD-22, SLD-26]', () => {
    const seen = see({ kernel: 'linux-5.17', mitigate: null })
    expect(seen).toMatchObject({ ending: 'ran', completed: 2 * LOCKS, traps: 1, threadUndetected: true })
    expect(lost(seen)).toBeLessThan(1)
    expect(see({}).threadUndetected).toBe(false)
  })
  test('fatal: SIGBUS, BUS_ADRALN, at the first lock, which is not done; one line in the log [SLD-33, SLD-34]', () => {
    const seen = see({ mode: 'fatal' })
    expect(seen).toMatchObject({ ending: 'killed', completed: 0, traps: 1, signals: [{ name: 'SIGBUS', code: 1 }] })
    expect(seen.log).toHaveLength(1)
    expect(seen.log[0]).toContain('fatal split_lock trap')
  })
  test("ratelimit: bus locks of the host's programs are limited, those of guests are not [SLD-14, SLD-24]", () => {
    const seen = see({ mode: 'ratelimit:10' })
    expect(seen).toMatchObject({ ending: 'ran', completed: 2 * LOCKS, traps: 0, log: [] })
    expect(seen.host.trapsBusLocks).toBe(true)
    expect(lost(seen)).toBeLessThan(1)
  })
  test.each(['off', 'warn', 'fatal', 'ratelimit:10'])(
    '%s on processors that detect no split locks: nothing [SLD-03, SLD-13]',
    (mode) => {
      for (const cpu of ['SapphireRapids,-core-capability', 'EPYC-Milan']) {
        const seen = see({ cpu, mode })
        expect(seen).toMatchObject({ ending: 'ran', completed: 2 * LOCKS, traps: 0, log: [] })
        expect(seen.burst).toBe(off.burst)
      }
    },
  )
  test('a guest in ring 0 gets #AC only if it asked for it: under v10, in warn and fatal mode [SLD-47, SLD-48, SLD-36]', () => {
    const detects = { kernel: V10, mitigate: null, guestDetects: true }
    expect(see({ ...detects }).ending).toBe('#AC')
    expect(see({ ...detects, mode: 'fatal' })).toMatchObject({ ending: '#AC', log: [], signals: [] })
    expect(see({ kernel: V10, mitigate: null })).toMatchObject({ ending: 'ran', traps: 0, log: [] })
    expect(see({ kernel: V10, mitigate: null, mode: 'fatal' }).ending).toBe('killed')
    // linux-6.12 has no such register for guests.
    expect(see({ guestDetects: true }).ending).toBe('#GP')
  })
  test('a VMM with KVM_CAP_X86_BUS_LOCK_EXIT gets an exit for each, after it is done [SLD-41]', () => {
    expect(see({ mode: 'off', busLockExit: true })).toMatchObject({
      ending: 'ran',
      completed: 2 * LOCKS,
      busLockExits: 2 * LOCKS,
    })
  })
  test('vCPUs that do it at the same time take turns of two jiffies: four lose more than twice as much as one [SLD-19]', () => {
    const each = (vcpus: number) => lost(observeCrowd(plain, vcpus, icedModule())) / LOCKS
    const [one, four] = [each(1), each(4)]
    expect(one).toBeGreaterThanOrEqual(10)
    expect(one).toBeLessThan(11)
    // Four turns of 8 ms, of which the guest's pause of 10 ms hides that much.
    expect(four).toBeGreaterThanOrEqual(4 * 8 - PAUSE / 1e6)
    expect(four).toBeGreaterThan(2 * one)
  })
})

describe('why my guest is frozen', () => {
  const rows = why({ kernel: 'linux-6.12', decoder: icedModule() })

  test('one row for each thing that comes of it; the reasons follow from it', () => {
    const onDetecting = rows.filter(({ cpu }) => cpu === 'SapphireRapids')
    const facts = onDetecting.map(({ modes, mitigate, ending, reasons }) => [modes.join(), mitigate, ending, reasons[0].rules[0]])
    expect(facts).toEqual([
      ['off', null, 'ran', 'SLD-03'],
      ['off', null, 'ran', 'SLD-03'],
      ['warn', true, 'ran', 'SLD-19'],
      ['warn', false, 'ran', 'SLD-15'],
      ['fatal', null, 'killed', 'SLD-32'],
      ['ratelimit:10', null, 'ran', 'SLD-14'],
    ])
    expect(rows.filter(({ cpu }) => cpu === 'EPYC-Milan')).toHaveLength(1)
    expect(
      rows.filter(({ lostMs }) => lostMs !== null && lostMs.each > 0).map(({ crowds }) => crowds.map(({ vcpus }) => vcpus)),
    ).toEqual([[2, 4, 8]])
  })
  test('the table keeps to 120 columns and explains every number it names', () => {
    const lines = whyTable(rows)
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(120)
    const explained = lines.flatMap((line) => /^ {0,1}(\d+) {2}\S/.exec(line)?.[1] ?? [])
    expect(explained).toEqual(Array.from({ length: explained.length }, (_, i) => String(i + 1)))
    const slowed = lines.find((line) => line.includes('slowed'))!
    expect(slowed).toContain('split_lock_mitigate=1')
    expect(explained).toContain(/\d+$/.exec(slowed)![0])
  })
  test('an unknown kernel is refused with the nearest names', () => {
    expect(() => why({ kernel: 'linux-6.13', decoder: icedModule() })).toThrow(/did you mean .*linux-6.12/)
  })
})
