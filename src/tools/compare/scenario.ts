import type { Lab } from './lab.ts'

/** Something to run under several kernel profiles. */
export interface CompareScenario {
  readonly name: string
  /** One line for `--list`. */
  readonly title: string
  /** Mailing-list document whose argument it is, or the rules. */
  readonly document: string
  /** Profiles that show the argument. */
  readonly profiles: readonly string[]
  readonly cpu: string
  readonly run: (lab: Lab) => void
}
