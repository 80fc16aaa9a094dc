import { readFileSync } from 'node:fs'
import { brotliDecompressSync } from 'node:zlib'

/** What a driver program printed for one scenario. */
export interface Scenario {
  readonly name: string
  /** What it did, in order: one object a call. */
  readonly calls: readonly unknown[]
  /** How its process ended, where that was not exit 0: `killed_by`, `exit`. */
  readonly end: Readonly<Record<string, unknown>>
}

/** A recording of a real kernel, and the modelled host that has to agree with it. */
export interface Recording {
  readonly name: string
  readonly driver: Driver
  readonly cpu: string
  readonly kernel: string
  /** Module parameters of the recorded kernel that are not the modelled host's own. */
  readonly params: readonly string[]
  /** Logical processors, as the recorded machine had. */
  readonly cpus: number
  /** Why it cannot be run yet; its scenarios count as not agreed. */
  readonly notReached?: string
}

export type Driver = 'oracle' | 'cetvec'

/** Both vendors' modules were loaded with nested=1. */
const NESTED = ['kvm_intel.nested=1', 'kvm_amd.nested=1']

/** test/fixtures/oracle/README.md says where each comes from. */
export const RECORDINGS: readonly Recording[] = [
  { name: 'linux-6.12-bochs-spr', driver: 'oracle', cpu: 'SapphireRapids-bochs', kernel: 'linux-6.12', params: NESTED, cpus: 1 },
  { name: 'linux-6.12-qemu-tcg', driver: 'oracle', cpu: 'qemu-tcg-max', kernel: 'linux-6.12', params: NESTED, cpus: 1 },
  { name: 'linux-6.18-host', driver: 'oracle', cpu: 'EPYC-Turin-virtual', kernel: 'linux-6.18', params: [], cpus: 2 },
  {
    name: 'oops-linux-6.12-bochs-spr',
    driver: 'oracle',
    cpu: 'SapphireRapids-bochs',
    kernel: 'linux-6.12',
    params: NESTED,
    cpus: 1,
  },
  {
    name: 'cet-user-linux-6.12-bochs-spr',
    driver: 'cetvec',
    cpu: 'SapphireRapids-bochs',
    kernel: 'linux-6.12',
    params: NESTED,
    cpus: 1,
  },
]

const FIXTURES = 'test/fixtures/oracle'

/** The text of a file in test/fixtures/oracle, which are stored Brotli-compressed. */
export const fixture = (name: string): string => brotliDecompressSync(readFileSync(`${FIXTURES}/${name}.br`)).toString('utf8')

/** Lines a driver printed, by scenario; a line that is no scenario is left out. */
export function parseScenarios(text: string): Map<string, Scenario> {
  const scenarios = new Map<string, Scenario>()
  for (const line of text.split('\n')) {
    if (!line.startsWith('{')) continue
    const { scenario, case: kase, calls, steps, ...end } = JSON.parse(line)
    const name = scenario ?? kase
    scenarios.set(name, { name, calls: calls ?? steps ?? [], end })
  }
  return scenarios
}
