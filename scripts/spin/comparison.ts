import type { ShardResult } from '../../src/tools/explore/results.ts'
import type { GraphSize } from './code-graph.ts'
import type { ModelCheck } from './model-check.ts'

/** What counts of what `explore --json` prints. */
type ExploreOutcome = Pick<ShardResult, 'verdict' | 'bound' | 'executions' | 'steps' | 'seconds' | 'invariantId'>

/** One mistake, or none, as both see it. */
export interface Comparison {
  readonly variant: string | null
  readonly spin: ModelCheck
  readonly explore: ExploreOutcome
  /** The kernel's own code under SPIN's bound. */
  readonly code: GraphSize
}

/** Too few executions are mostly the start of the command. */
const LEAST_FOR_RATE = 1000

/** The same verdict, after the same number of preemptions. */
export const verdictsAgree = ({ spin, explore }: Comparison): boolean =>
  spin.verdict === explore.verdict && spin.bound === explore.bound

/** The model has as many states and transitions as the code that it was written after. */
export const graphsAgree = ({ spin: { graph }, code }: Comparison): boolean =>
  graph.states === code.states && graph.transitions === code.transitions

/** As `--json` prints it. Seconds are wall time. */
export function asObject(comparison: Comparison): object {
  const { variant, spin, explore, code } = comparison
  return {
    variant,
    agree: verdictsAgree(comparison),
    sameGraph: graphsAgree(comparison),
    spin: {
      verdict: spin.verdict,
      preemptions: spin.bound,
      invariant: spin.assertion?.replaceAll('_', '-') ?? null,
      steps: spin.steps,
      states: spin.states,
      graph: spin.graph,
      buildSeconds: rounded(spin.buildSeconds),
      panSeconds: rounded(spin.panSeconds),
    },
    explore: {
      verdict: explore.verdict,
      preemptions: explore.bound,
      invariant: explore.invariantId,
      steps: exploreSteps(explore),
      executions: explore.executions,
      graph: code,
      seconds: explore.seconds,
      executionsPerSecond: rate(explore),
    },
  }
}

/** Of the counterexample. */
const exploreSteps = ({ verdict, steps }: ExploreOutcome): number | null => (verdict === 'violated' ? steps : null)

const rounded = (seconds: number): number => Math.round(seconds * 1000) / 1000

/** Executions a second; null where there were too few to say. */
const rate = ({ executions, seconds }: ExploreOutcome): number | null =>
  executions < LEAST_FOR_RATE ? null : Math.round(executions / seconds)

const COLUMNS = [
  ['', 27],
  ['spin', -9],
  ['explore', -9],
  ['preempt.', 8],
  ['steps', 8],
  ['states', 7],
  ['executions', 11],
  ['spin+gcc s', 11],
  ['pan s', 7],
  ['explore s', 10],
  ['exec/s', 8],
  ['whole graph: model', 20],
  ['code', 14],
] as const

const line = (cells: readonly string[]): string =>
  cells
    .map((cell, i) => (COLUMNS[i][1] < 0 || i === 0 ? cell.padEnd(Math.abs(COLUMNS[i][1])) : cell.padStart(COLUMNS[i][1])))
    .join(' ')

export const tableHead = (): string => line(COLUMNS.map(([title]) => title))

export function tableRow(comparison: Comparison): string {
  const { variant, spin, explore, code } = comparison
  const ownSteps = (steps: number | null) => (steps === null ? '-' : `${steps}`)
  const size = ({ states, transitions }: GraphSize) => `${states} / ${transitions}`
  const row = line([
    variant ?? '(good code)',
    spin.verdict,
    explore.verdict,
    spin.bound === explore.bound ? `${spin.bound}` : `${spin.bound} / ${explore.bound}`,
    `${ownSteps(spin.steps)} / ${ownSteps(exploreSteps(explore))}`,
    `${spin.states}`,
    `${explore.executions}`,
    spin.buildSeconds.toFixed(2),
    spin.panSeconds.toFixed(3),
    explore.seconds.toFixed(3),
    `${rate(explore) ?? '-'}`,
    size(spin.graph),
    size(code),
  ])
  return `${row}${verdictsAgree(comparison) ? '' : '  DIFFER'}${graphsAgree(comparison) ? '' : '  NOT THE SAME GRAPH'}`
}
