// npm run explore:all: every scenario that ships, its good code and every mistake put back, and what the search says of each.
import { spawn } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { parseResult, type ShardResult } from '../src/tools/explore/results.ts'
import { type Scenario, scenarios } from '../src/tools/explore/scenarios/index.ts'

const USAGE = `npm run explore:all                       all scenarios and variants
  --only NAME         only scenarios or variants whose name contains this
  --bound N           preemptions to look up to, instead of each scenario's own
  --json              one object a line: {"scenario","variant","verdict","exhaustive","executions","steps","seconds","kernel","bound","expected"}
Exit status 1 when good code does not hold as it should, a mistake is not found, or a counterexample has more than 25 steps;
2 when a search could not be made.
`
const MOST_STEPS = 25

interface Job {
  readonly scenario: Scenario
  readonly variant: string | null
}

/** A search that could not be made, or an option that means nothing. */
class CannotExplore extends Error {}

interface Options {
  readonly only: string
  readonly bound?: string
  readonly json: boolean
  readonly help: boolean
}

function options(): Options {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string', default: '' },
        bound: { type: 'string' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    return values
  } catch (error) {
    throw new CannotExplore((error as Error).message)
  }
}

function run({ scenario, variant }: Job, asked: string | undefined): Promise<ShardResult> {
  const args = ['dist/cli/worldswitch.js', 'explore', scenario.name, '--json']
  if (variant !== null) args.push('--variant', variant)
  if (asked !== undefined) args.push('--bound', asked)
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let text = ''
    let said = ''
    // How it goes, or why it does not.
    child.stderr.setEncoding('utf8').on('data', (part) => (said = part))
    child.stdout.setEncoding('utf8').on('data', (part) => (text += part))
    child.on('error', reject)
    child.on('close', () => {
      try {
        resolve(parseResult(text, `${scenario.name} ${variant ?? ''}`))
      } catch {
        reject(new CannotExplore(`${scenario.name} ${variant ?? ''}: ${said.trim().replace(/^worldswitch: /, '')}`))
      }
    })
  })
}

/** Good code holds, but for the recorded flaw that a scenario is there to show; a mistake is found in few steps. */
function isAsExpected({ scenario, variant }: Job, { verdict, exhaustive, steps }: ShardResult): boolean {
  if (variant === null && scenario.holds) return verdict === 'holds' && exhaustive
  return verdict === 'violated' && steps <= MOST_STEPS
}

async function main(): Promise<number> {
  const values = options()
  if (values.help) {
    process.stdout.write(USAGE)
    return 0
  }
  const jobs: Job[] = scenarios
    .flatMap((scenario) => [{ scenario, variant: null }, ...scenario.variants.map(({ name }) => ({ scenario, variant: name }))])
    .filter(({ scenario, variant }) => `${scenario.name} ${variant ?? ''}`.includes(values.only))
  if (jobs.length === 0) throw new CannotExplore(`no scenario or variant contains '${values.only}'`)
  const results = new Map<Job, ShardResult>()
  const waiting = [...jobs]
  const worker = async (): Promise<void> => {
    for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) results.set(job, await run(job, values.bound))
  }
  await Promise.all(Array.from({ length: availableParallelism() }, worker))
  let wrong = 0
  if (!values.json) print('scenario        variant                     verdict     exhaustive  bound  executions  steps  seconds')
  for (const job of jobs) {
    const result = results.get(job)!
    const expected = isAsExpected(job, result)
    if (!expected) wrong++
    if (values.json) print(JSON.stringify(asLine(result, expected)))
    else print(`${row(job, result)}${expected ? '' : '  UNEXPECTED'}`)
  }
  return wrong === 0 ? 0 : 1
}

const print = (line: string): void => void process.stdout.write(`${line}\n`)

/** What a table's row says, for programs. */
function asLine(
  { scenario, variant, verdict, exhaustive, executions, steps, seconds, kernel, bound }: ShardResult,
  expected: boolean,
) {
  return { scenario, variant, verdict, exhaustive, executions, steps, seconds, kernel, bound, expected }
}

function row({ scenario, variant }: Job, { verdict, exhaustive, bound, executions, steps, seconds }: ShardResult): string {
  const numbers = [bound, executions, steps].map((n, i) => String(n).padStart([5, 10, 5][i])).join('  ')
  return `${scenario.name.padEnd(16)}${(variant ?? '').padEnd(28)}${verdict.padEnd(12)}${(exhaustive ? 'yes' : 'no').padEnd(10)}${numbers}  ${seconds.toFixed(1).padStart(7)}`
}

try {
  process.exitCode = await main()
} catch (error) {
  if (!(error instanceof CannotExplore)) throw error
  process.stderr.write(`explore:all: ${error.message.split('\n').at(-1)}\n`)
  process.exitCode = 2
}
