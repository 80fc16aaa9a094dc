import { type CostSnapshot, type Costs, costDifference } from '../../linux/costs.ts'
import { ProcessDied } from '../../vmm/errors.ts'
import { Host } from '../../vmm/modelled/host.ts'
import { outcomeOf } from './outcome.ts'

/** One observation of a run: what was done, and what came of it. */
export interface Observation {
  readonly what: string
  readonly result: string
  /** What it cost, where the step is one that is counted; not part of what "differs". */
  readonly isCost: boolean
}

export interface LabOptions {
  readonly profile: string
  readonly cpu: string
  readonly decoder: WebAssembly.Module
}

/** Where a scenario runs: hosts of one kernel profile, and a list of what was seen. */
export class Lab {
  readonly profile: string
  readonly cpu: string
  readonly observations: Observation[] = []
  private readonly decoder: WebAssembly.Module

  constructor({ profile, cpu, decoder }: LabOptions) {
    this.profile = profile
    this.cpu = cpu
    this.decoder = decoder
  }

  /** A host under the profile that is compared; `options` for another CPU model or, as a peer of a migration, another kernel. */
  host(
    options: {
      readonly cpu?: string
      readonly kernel?: string
      readonly memory?: number
      readonly splitLockDetect?: string
    } = {},
  ): Host {
    const { cpu = this.cpu, kernel = this.profile, memory = 32 << 20, splitLockDetect } = options
    return new Host({ cpu, kernel, memory, decoder: this.decoder, ...(splitLockDetect === undefined ? {} : { splitLockDetect }) })
  }

  /** Does something and notes its result: the value, or the refusal. @returns the value; undefined when it was refused */
  step<T>(what: string, action: () => T, show: (value: T) => unknown = (value) => value): T | undefined {
    const { value, text } = outcomeOf(action, show)
    this.observations.push({ what, result: text, isCost: false })
    return value
  }

  /** Notes a value. */
  note(what: string, value: unknown): void {
    this.step(what, () => value)
  }

  /** Does something and notes chosen counts of what it cost. @param per how many times the action did the thing */
  cost(what: string, costs: Costs, action: () => void, choose: (added: CostSnapshot) => Record<string, number>, per = 1): void {
    const before = costs.snapshot()
    try {
      action()
    } catch (error) {
      if (!(error instanceof Error)) throw error
      this.observations.push({
        what,
        result: error instanceof ProcessDied ? `dies: ${error.message}` : error.message,
        isCost: true,
      })
      return
    }
    const added = costDifference(costs.snapshot(), before)
    for (const [name, count] of Object.entries(choose(added)))
      this.observations.push({ what: `${what}: ${name}`, result: String(Math.round((count / per) * 100) / 100), isCost: true })
  }
}
