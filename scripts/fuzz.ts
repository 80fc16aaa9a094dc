// npm run fuzz: random and mutated arguments through the ioctls of extended state, held against the rules.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { parseArgs } from 'node:util'
import { cpuModelFacts } from '../src/isa/cpu-models/index.ts'
import { kernelProfiles } from '../src/profiles/index.ts'
import { registerDecoder } from '../src/vmm/modelled/decoder.ts'
import { campaign } from './fuzz/campaign.ts'
import { asJson, asTable, describeFailure } from './fuzz/report.ts'

const USAGE = `npm run fuzz -- --runs N     makes N random calls (default 100000) and checks each
  --seed S           chooses them; the same seed makes the same calls. Default 1
  --cpu NAME, --kernel NAME   only on this processor model, this kernel profile
  --json             one object: {"runs","seed","hosts","failures","outcomes"}
Exit status 1 when a call did what the rules do not say; what it was is on stderr, with the fewest calls that lead there.
`

function wholeNumber(text: string, option: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new TypeError(`--${option} takes a whole number, not ${text}`)
  return Number(text)
}

function main(): number {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '100000' },
      seed: { type: 'string', default: '1' },
      cpu: { type: 'string' },
      kernel: { type: 'string' },
      json: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  })
  if (values.help) {
    process.stdout.write(USAGE)
    return 0
  }
  const [runs, seed] = [wholeNumber(values.runs, 'runs'), wholeNumber(values.seed, 'seed')]
  const choices = {
    cpus: values.cpu === undefined ? cpuModelFacts.map(({ name }) => name) : [values.cpu],
    kernels: values.kernel === undefined ? kernelProfiles.map(({ name }) => name) : [values.kernel],
  }
  registerDecoder(new WebAssembly.Module(readFileSync(createRequire(import.meta.url).resolve('iced-x86/iced_x86_bg.wasm'))))
  const started = performance.now()
  const tally = campaign(choices, runs, seed)
  const seconds = ((performance.now() - started) / 1000).toFixed(0)
  for (const failure of tally.failures) process.stderr.write(`${describeFailure(failure, seed).join('\n')}\n`)
  const lines = values.json ? [asJson(tally, seed)] : [...asTable(tally, seed), `${tally.failures.length} failures, ${seconds} s`]
  process.stdout.write(`${lines.join('\n')}\n`)
  return tally.failures.length === 0 ? 0 : 1
}

try {
  process.exitCode = main()
} catch (error) {
  if (!(error instanceof TypeError) && !(error instanceof Error && error.name === 'UserError')) throw error
  process.stderr.write(`fuzz: ${error.message}\n`)
  process.exitCode = 2
}
