import { existsSync, readFileSync } from 'node:fs'
import { setImmediate as eventLoopTurn } from 'node:timers/promises'
import { UserError } from '../isa/user-error.ts'
import { kernelProfile } from '../profiles/index.ts'
import { type CompareOptions, type Comparison, compareInRuns } from '../tools/compare/compare.ts'
import type { CompareScenario } from '../tools/compare/scenario.ts'
import { readScenarioFile } from '../tools/compare/scenario-file.ts'
import { compareScenario, compareScenarios } from '../tools/compare/scenarios/index.ts'
import { comparisonTable } from '../tools/compare/table.ts'
import type { CompareCommandOptions } from './compare-options.ts'
import { decoderModule } from './program-host.ts'
import { EXIT_INTERRUPTED } from './report.ts'

const MOST_PROFILES = 20
const SILENT_MS = 2000
const print = (line: string): void => void process.stdout.write(`${line}\n`)

/** 0 whatever differs: differences are what was asked for. */
export async function compareCommand(options: CompareCommandOptions): Promise<number> {
  if (options.list) return list(options.json)
  const scenario = chosen(options.scenario)
  const profiles = options.profiles?.split(',').filter((name) => name !== '') ?? scenario.profiles
  if (profiles.length === 0 || profiles.length > MOST_PROFILES) {
    throw new UserError({
      code: 'bad-arguments',
      what: `${profiles.length} profiles`,
      where: '--profiles',
      because: `1 to ${MOST_PROFILES} are possible`,
      fix: 'name some, separated by commas',
    })
  }
  for (const name of profiles) kernelProfile(name, '--profiles')
  const found = await drive(scenario, { profiles, cpu: options.cpu ?? scenario.cpu, decoder: decoderModule() })
  if (found === null) return EXIT_INTERRUPTED
  if (options.json) print(JSON.stringify(found))
  else for (const line of comparisonTable(found, options.allRows)) print(line)
  return 0
}

function list(json: boolean): number {
  let document = ''
  for (const { name, title, document: from, profiles } of compareScenarios) {
    if (json) {
      print(JSON.stringify({ name, title, document: from, profiles }))
      continue
    }
    if (from !== document) print(`${document === '' ? '' : '\n'}${from}`)
    document = from
    print(`  ${name.padEnd(30)}${title}`)
  }
  return 0
}

function chosen(name: string | undefined): CompareScenario {
  if (name === undefined) {
    throw new UserError({
      code: 'bad-arguments',
      what: 'no scenario',
      where: 'compare',
      because: 'one is needed',
      fix: 'worldswitch compare --list names them',
    })
  }
  if (!/[./]/.test(name) && !existsSync(name)) return compareScenario(name)
  try {
    return readScenarioFile(readFileSync(name, 'utf8'), name)
  } catch (error) {
    if (error instanceof UserError) throw error
    const because = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new UserError({
      code: 'file-access',
      what: `cannot read ${name}`,
      where: '--scenario',
      because,
      fix: 'give a file, or a name of worldswitch compare --list',
    })
  }
}

/** Runs it between turns of the event loop; null when Ctrl-C ended it. */
async function drive(scenario: CompareScenario, options: CompareOptions): Promise<Comparison | null> {
  let interrupted = false
  const onInterrupt = (): void => {
    interrupted = true
  }
  process.once('SIGINT', onInterrupt)
  const started = performance.now()
  const runs = compareInRuns(scenario, options)
  for (;;) {
    const step = runs.next()
    if (step.done === true) {
      process.off('SIGINT', onInterrupt)
      return step.value
    }
    if (performance.now() - started > SILENT_MS) process.stderr.write(`${scenario.name}: ${step.value}\n`)
    await eventLoopTurn()
    if (!interrupted) continue
    process.stderr.write('worldswitch: interrupted\n')
    return null
  }
}
