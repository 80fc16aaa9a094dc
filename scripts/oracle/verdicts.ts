import { compareScenario, type Difference } from './compare.ts'
import { explain } from './explain.ts'
import type { Explanation } from './explained.ts'
import { recordedOopses } from './oops-log.ts'
import { fixture, parseScenarios, type Recording, type Scenario } from './recordings.ts'

/** How a recording was replayed: by its driver program under `worldswitch exec`, or by calls of the typed API. */
export type Through = 'driver' | 'api'

export interface Verdict {
  readonly scenario: string
  /** Empty when the scenario agrees. */
  readonly differences: readonly { readonly difference: Difference; readonly explanation: Explanation | null }[]
}

export interface Replayed {
  readonly recording: Recording
  readonly through: Through
  readonly verdicts: readonly Verdict[]
  /** Scenarios of the recording that cannot be replayed this way. */
  readonly leftOut: number
  /** What the command said on stderr that is not the driver's: instructions and calls that the model lacks. */
  readonly said: readonly string[]
}

/** The scenarios a recording holds. */
export function recordedScenarios({ name }: Recording): Map<string, Scenario> {
  return name.startsWith('oops-') ? recordedOopses(fixture(`${name}.txt`)) : parseScenarios(fixture(`${name}.jsonl`))
}

/** What differs, with its explanation where it has one. Each explanation used is noted in `used`. */
export function verdictOf(recording: Recording, scenario: Scenario, modelled: Scenario, used: Set<Explanation>): Verdict {
  return differing(recording, scenario.name, compareScenario(scenario, modelled), used)
}

export function differing({ name }: Recording, scenario: string, differences: Difference[], used: Set<Explanation>): Verdict {
  return {
    scenario,
    differences: differences.map((difference) => ({ difference, explanation: explain(name, scenario, difference, used) })),
  }
}
