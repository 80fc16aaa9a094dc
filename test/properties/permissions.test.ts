import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type HostFacts, hostFacts } from '../../scripts/fuzz/facts.ts'
import { answerOf } from '../../scripts/oracle/api/calls.ts'
import { programFile } from '../../scripts/oracle/api/permissions.ts'
import type { KernelProfile } from '../../src/profiles/index.ts'
import type { Process } from '../../src/vmm/process.ts'
import { hostOf, PAIRS } from './subjects.ts'

const XTILE_DATA = 18
const [EBUSY, EINVAL, EOPNOTSUPP] = [16, 22, 95]

/** Permissions of a process, as the rules keep them. */
interface Permissions {
  /** Dynamic components that were granted. */
  host: number
  guest: number
  locked: boolean
}
interface Life {
  process: Process
  is: Permissions
}

/** Components granted together with `nr`, 0 where nothing is asked for by that number (PERM-19). */
const facilityOf = ({ permissions }: KernelProfile, nr: number): number =>
  permissions.facilities.find(({ highestComponent }) => highestComponent === nr)?.components ?? 0

/** What a request for component `nr` gives: PERM-17, PERM-19 to -23. */
function answer({ profile, userMax }: HostFacts, is: Permissions, isGuest: boolean, nr: number): number {
  const { permissions } = profile
  if (!(isGuest ? permissions.guestPermSupported : permissions.hostPermSupported)) return EINVAL
  if (nr < 0 || nr >= permissions.xfeatureMax) return EINVAL
  const components = facilityOf(profile, nr)
  if (components === 0 || (components & ~userMax) !== 0) return EOPNOTSUPP
  if (isGuest && (components & ~is.guest) !== 0 && permissions.guestPermission !== 'ignored' && is.locked) return EBUSY
  return 0
}

const actions = fc.oneof(
  fc.tuple(fc.constantFrom('host', 'guest'), fc.constantFrom(XTILE_DATA, XTILE_DATA, XTILE_DATA, 0, 9, 17, 19, 20, 64, -1)),
  fc.tuple(fc.constantFrom('vcpu', 'thread', 'fork', 'exec'), fc.constant(0)),
)

/** What the three that tell should tell. */
function check({ process, is }: Life, facts: HostFacts): void {
  const { permissions } = facts.profile
  const mask = (granted: number) => BigInt(facts.userDefault | granted)
  const { archPrctl } = process
  if (permissions.hostPermSupported) {
    expect(archPrctl.getXcompSupp()).toBe(BigInt(facts.userMax))
    expect(archPrctl.getXcompPerm()).toBe(mask(is.host))
  } else expect(() => archPrctl.getXcompPerm()).toThrow('EINVAL')
  if (permissions.guestPermSupported) expect(archPrctl.getXcompGuestPerm()).toBe(mask(is.guest))
}

describe('permissions', () => {
  test('follow the rules through any sequence of requests, vCPUs, threads, forks and execs, on every kernel [PERM-01, PERM-14, PERM-15, PERM-16, PERM-17, PERM-19, PERM-20, PERM-21, PERM-22, PERM-23, PERM-24, PERM-25, PERM-26]', () => {
    const sequences = fc.array(fc.tuple(actions, fc.nat(20)), { minLength: 3, maxLength: 14 })
    fc.assert(
      fc.property(fc.constantFrom(...PAIRS), sequences, ({ cpu, kernel }, sequence) => {
        const host = hostOf(cpu, kernel)
        const facts = hostFacts(host.model, host.kernel.profile)
        const before = host.kernel.heap.bytesInUse
        const lives: Life[] = [{ process: host.newProcess(), is: { ...NONE } }]
        for (const [[action, nr], pick] of sequence) {
          const life = lives[pick % lives.length]
          const { process, is } = life
          if (action === 'host' || action === 'guest') {
            const isGuest = action === 'guest'
            const { errno = 0 } = answerOf(() =>
              isGuest ? process.archPrctl.reqXcompGuestPerm(nr) : process.archPrctl.reqXcompPerm(nr),
            )
            expect(errno).toBe(answer(facts, is, isGuest, nr))
            const isIgnored = isGuest && facts.profile.permissions.guestPermission === 'ignored'
            if (errno === 0 && !isIgnored) is[action] |= facilityOf(facts.profile, nr)
          } else if (action === 'vcpu') {
            process.openKvm().createVm().createVcpu()
            is.locked = true
          } else if (action === 'thread') life.process = process.newThread()
          // The copy is made only where buffers can grow (PERM-24).
          else if (action === 'fork') lives.push({ process: process.fork(), is: facts.dynamic === 0 ? { ...NONE } : { ...is } })
          else {
            life.process = process.exec(programFile(process))
            life.is = { ...NONE }
          }
          for (const each of lives) check(each, facts)
        }
        for (const { process } of lives) process.exit()
        // Nothing of them is left.
        expect(host.kernel.costs.snapshot().vcpus).toEqual([])
        expect(host.kernel.heap.bytesInUse).toBe(before)
      }),
      { numRuns: 150, seed: 5 },
    )
  })
})

const NONE: Permissions = { host: 0, guest: 0, locked: false }
