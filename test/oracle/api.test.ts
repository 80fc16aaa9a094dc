import { beforeAll, describe, expect, test } from 'vitest'
import { replayThroughApi } from '../../scripts/oracle/api/replay-api.ts'
import { apiScenario } from '../../scripts/oracle/api/scenarios.ts'
import type { Explanation } from '../../scripts/oracle/explained.ts'
import { RECORDINGS, type Recording } from '../../scripts/oracle/recordings.ts'
import { countOf } from '../../scripts/oracle/report.ts'
import { type Replayed, recordedScenarios } from '../../scripts/oracle/verdicts.ts'
import { registerDecoder } from '../../src/vmm/modelled/decoder.ts'
import { icedModule } from '../machine/bare-host.ts'

beforeAll(() => registerDecoder(icedModule()))

const recording = (name: string): Recording => RECORDINGS.find((row) => row.name === name)!
const replay = (row: Recording, only = '') => replayThroughApi(row, only, new Set<Explanation>())

/** What differs and has no explanation, a line each. */
const open = ({ verdicts }: Replayed): string[] =>
  verdicts.flatMap(({ scenario, differences }) =>
    differences
      .filter(({ explanation }) => explanation === null)
      .map(({ difference }) => `${scenario} ${difference.where}: ${difference.recorded} / ${difference.modelled}`),
  )

const FAMILIES = {
  perm: 'permission requests [PERM-01, PERM-14, PERM-16, PERM-17, PERM-18, PERM-19, PERM-20, PERM-21, PERM-22, PERM-24, PERM-25, PERM-26]',
  sigaltstack: 'alternate stacks [PERM-27, PERM-28, PERM-29]',
  'kvm.caps': 'capabilities [GFPU-07, XSAVE-01, XSAVE-02]',
  'kvm.supported_cpuid': 'the CPUID KVM offers [XSAVE-40, XSAVE-41, XSAVE-42, XSAVE-43, XSAVE-44, XSAVE-45, XSAVE-46]',
  'kvm.msr': 'MSRs and their lists [GFPU-26, GFPU-27, GFPU-34, XSAVE-55, XSAVE-56, XSAVE-57]',
  'kvm.perm_order': 'permission before and after the vCPU [PERM-15, PERM-23, GFPU-04, XSAVE-01, XSAVE-05]',
  'kvm.fresh':
    'a new vCPU [GFPU-02, GFPU-03, GFPU-40, XSAVE-03, XSAVE-04, XSAVE-06, XSAVE-07, XSAVE-08, XSAVE-09, XSAVE-10, XSAVE-28]',
  'kvm.set_xsave':
    'KVM_SET_XSAVE [XSAVE-05, XSAVE-06, XSAVE-11, XSAVE-14, XSAVE-17, XSAVE-18, XSAVE-19, XSAVE-20, XSAVE-21, XSAVE-22, XSAVE-23, XSAVE-26, XSAVE-58]',
  'kvm.set_xcrs': 'KVM_SET_XCRS [GFPU-08, GFPU-45, XSAVE-30]',
  'kvm.set_cpuid2': 'KVM_SET_CPUID2 [GFPU-08, GFPU-39, GFPU-42, GFPU-43, XSAVE-26, XSAVE-48, XSAVE-49, XSAVE-50, XSAVE-52]',
  'kvm.order':
    'restoring in every order [GFPU-31, GFPU-32, GFPU-33, GFPU-41, GFPU-46, GFPU-47, GFPU-50, GFPU-52, XSAVE-13, XSAVE-16, XSAVE-32]',
  'guest.regs': 'XSETBV, MSRs and CPUID of a guest [GFPU-26, GFPU-44, GFPU-45, XSAVE-50, XSAVE-54, XSAVE-55]',
  'guest.amx': 'tiles in a guest [GFPU-20, GFPU-27, GFPU-30, GFPU-31, GFPU-32, GFPU-47, XSAVE-13]',
  'guest.misc': 'PKRU and CR4 in a guest [GFPU-20, XSAVE-11]',
} as const

describe.each(['linux-6.12-bochs-spr', 'linux-6.12-qemu-tcg'])('%s, replayed through the typed API', (name) => {
  let replayed: Replayed
  beforeAll(() => {
    replayed = replay(recording(name))
  })
  const family = (prefix: string): Replayed => ({
    ...replayed,
    verdicts: replayed.verdicts.filter(({ scenario }) => scenario.startsWith(prefix)),
  })

  test.each(Object.entries(FAMILIES).map(([prefix, says]) => ({ prefix, says })))('$says', ({ prefix }) => {
    expect(family(prefix).verdicts.length).toBeGreaterThan(0)
    expect(open(family(prefix))).toEqual([])
  })
  test('every scenario belongs to a family', () => {
    const prefixes = Object.keys(FAMILIES)
    const { verdicts } = replayed
    expect(verdicts.filter(({ scenario }) => !prefixes.some((prefix) => scenario.startsWith(prefix)))).toEqual([])
  })
  test('few differences need an explanation', () => {
    const { agreed, explained, total } = countOf(replayed)
    expect(agreed + explained).toBe(total)
    expect(explained / total).toBeLessThan(0.02)
  })
})

test('Linux 6.18 agrees in what is not its own /dev/kvm [PERM-01, PERM-17, PERM-19, PERM-24, PERM-26]', () => {
  const replayed = replay(recording('linux-6.18-host'))
  expect(open(replayed)).toEqual([])
  const permissions = replayed.verdicts.filter(({ scenario }) => scenario.startsWith('perm.'))
  expect(permissions.flatMap(({ differences }) => differences)).toEqual([])
})

test('Linux 6.12 oopses when it restores tile data that IA32_XFD disables [GFPU-09, GFPU-10, GFPU-53]', () => {
  const replayed = replay(recording('oops-linux-6.12-bochs-spr'))
  expect(replayed.verdicts.map(({ scenario }) => scenario)).toEqual(['danger.order.CRXFGKG', 'danger.order.CRXKFGKG'])
  expect(open(replayed)).toEqual([])
})

test('every recorded perm, kvm and guest scenario can be replayed so', () => {
  for (const row of RECORDINGS.filter(({ driver }) => driver === 'oracle')) {
    const names = [...recordedScenarios(row).keys()]
    expect(names.filter((name) => /^(perm|kvm|guest|danger)\./.test(name) && apiScenario(name) === null)).toEqual([])
  }
})

test('a kernel that does not trim KVM_GET_XSAVE2 disagrees with the recording of one that does [XSAVE-06]', () => {
  const untrimmed = { ...recording('linux-6.12-bochs-spr'), kernel: 'linux-5.16' }
  expect(open(replay(untrimmed, 'kvm.order.')).length).toBeGreaterThan(0)
})
