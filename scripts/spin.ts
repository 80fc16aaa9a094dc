// npm run spin: the split-lock protocol as a model for SPIN (bench/spin) and as the kernel's own code for `explore`: verdicts and times.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { buildScenario, scenarioByName } from '../src/tools/explore/scenarios/index.ts'
import { codeGraph } from './spin/code-graph.ts'
import { asObject, type Comparison, graphsAgree, tableHead, tableRow, verdictsAgree } from './spin/comparison.ts'
import { CannotCheck, checkModel, missingPackages } from './spin/model-check.ts'
import { runExplore } from './spin/run-explore.ts'

const USAGE = `npm run spin                the good code and every mistake, by SPIN and by explore: a minute and a half on two processors
  --only NAME         only mistakes whose name contains this; good: the good code
  --bound N           preemptions to look up to, 0 to 9, instead of the scenario's own
  --json              one object a line: {"variant","agree","sameGraph","spin":{…},"explore":{…}}
Both look with no preemption first, then one, two, … until something is violated. Needs Debian's spin and gcc.
Exit status 1 when verdicts differ, or the model has not as many states and transitions as the code; 2 when it cannot be run.
`
const SCENARIO = scenarioByName('split-lock')
const MOST_BOUND = 9

const print = (text: string): void => void process.stdout.write(`${text}\n`)

function readArguments() {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: '' },
      bound: { type: 'string', default: `${SCENARIO.bound}` },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (!/^\d$/.test(values.bound)) throw new CannotCheck(`--bound takes 0 to ${MOST_BOUND}, not '${values.bound}'`)
  const all = [null, ...SCENARIO.variants.map(({ name }) => name)]
  const variants = all.filter((variant) => (variant ?? 'good').includes(values.only))
  if (variants.length === 0) throw new CannotCheck(`no mistake's name contains '${values.only}'`)
  return { ...values, bound: Number(values.bound), variants }
}

async function compare(variant: string | null, bound: number, folder: string): Promise<Comparison> {
  const spin = await checkModel(variant, bound, folder)
  const explore = await runExplore(SCENARIO.name, variant, bound)
  const decoder = new WebAssembly.Module(readFileSync('dist/iced_x86_bg.wasm'))
  const model = buildScenario(SCENARIO, { decoder, ...(variant === null ? {} : { variant }) })
  return { variant, spin, explore, code: codeGraph(model, spin.bound, spin.graph.states) }
}

async function main(): Promise<number> {
  const { variants, bound, json, help } = readArguments()
  if (help) {
    process.stdout.write(USAGE)
    return 0
  }
  const missing = missingPackages()
  if (missing.length > 0)
    throw new CannotCheck(`not installed here: ${missing.join(' and ')}; Debian: apt-get install ${missing.join(' ')}`)
  const folder = mkdtempSync(join(tmpdir(), 'worldswitch-spin-'))
  const remove = () => rmSync(folder, { recursive: true, force: true })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      remove()
      process.kill(process.pid, signal)
    })
  }
  try {
    let wrong = 0
    if (!json) print(tableHead())
    for (const variant of variants) {
      const comparison = await compare(variant, bound, folder)
      if (!verdictsAgree(comparison) || !graphsAgree(comparison)) wrong++
      print(json ? JSON.stringify(asObject(comparison)) : tableRow(comparison))
    }
    return wrong === 0 ? 0 : 1
  } finally {
    remove()
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  const isArgument = error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')
  if (!(error instanceof CannotCheck) && !isArgument) throw error
  process.stderr.write(`spin: ${error.message}\n`)
  process.exitCode = 2
}
