// npm run determinism: programs come to the same end however the engine runs them.
import { existsSync, readdirSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { ENGINE_SWITCHES } from '../src/machine/code-cache.ts'
import { EXPECTED_TO_PASS } from './conformance/programs.ts'
import { differences, outcomeOf, type Way } from './determinism/outcome.ts'

const USAGE = `npm run determinism                         the conformance programs (npm run conformance builds them), else those of test/fixtures
npm run determinism -- ./program …          these programs
  --only WAY           this way of running only (may be repeated): again, no-tiers, regionLimit=1, ...
  --json               one object a line
  --cpu MODEL          CPU model of the modelled host (SapphireRapids)
  --kernel PROFILE     its kernel (linux-6.12)
  --timeout SECONDS    for each run (600)
Output, exit status, instruction counts and final state are compared with those of a plain run.
`

/** By the name `--only` takes: what is different from a plain run. */
const WAYS: Record<string, Way> = {
  again: {},
  ...Object.fromEntries(ENGINE_SWITCHES.map((name) => [`no-${name}`, { exec: ['--engine', `no-${name}`] }])),
  'regionLimit=1': { exec: ['--engine', 'regionLimit=1'] },
  'regionLimit=7': { exec: ['--engine', 'regionLimit=7'] },
  'regionSlots=50': { exec: ['--engine', 'regionSlots=50'] },
  // V8's own compilers for WebAssembly: only the quick one, only the optimizing one.
  'v8-liftoff': { node: ['--liftoff-only'] },
  'v8-turbofan': { node: ['--no-liftoff'] },
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string', multiple: true },
    json: { type: 'boolean' },
    cpu: { type: 'string', default: 'SapphireRapids' },
    kernel: { type: 'string', default: 'linux-6.12' },
    timeout: { type: 'string', default: '600' },
    help: { type: 'boolean' },
  },
})
const print = (line: string) => process.stdout.write(`${line}\n`)

function programs(): string[] {
  if (positionals.length > 0) return positionals.map((path) => resolve(process.env.INIT_CWD ?? '.', path))
  const cache = resolve(process.env.WORLDSWITCH_CACHE ?? '.cache/conformance', 'programs')
  const conformance = EXPECTED_TO_PASS.map(({ suite, name }) => join(cache, suite === 'kvm' ? 'kvm/x86_64' : suite, name))
  if (conformance.every((path) => existsSync(path))) return conformance
  const fixtures = 'test/fixtures/programs'
  const names = ['integer', 'strings', 'vectors', 'x87', 'signals', 'threads', 'processes', 'tiles', 'guest']
  return readdirSync(fixtures)
    .filter((name) => names.includes(name))
    .map((name) => join(fixtures, name))
}

/** All ways of one program; how many came to another end. */
async function compare(program: string, ways: readonly string[]): Promise<number> {
  const host = ['--cpu', values.cpu, '--kernel', values.kernel]
  const plain = await outcomeOf(program, host, {}, Number(values.timeout))
  if (!values.json)
    print(
      `${basename(program)}: exit status ${plain.status}, ${plain.host} + ${plain.guest} instructions, state ${plain.stateDigest}`,
    )
  let different = 0
  for (const way of ways) {
    const started = performance.now()
    const found = differences(plain, await outcomeOf(program, host, WAYS[way], Number(values.timeout)))
    const seconds = Math.round(performance.now() - started) / 1000
    if (found.length > 0) different++
    if (values.json)
      print(JSON.stringify({ program: basename(program), way, same: found.length === 0, differences: found, seconds }))
    else print(`  ${way.padEnd(20)} ${found.length === 0 ? 'the same' : `DIFFERENT ${found.join('; ')}`}  (${seconds} s)`)
  }
  return different
}

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write(USAGE)
    return 0
  }
  const ways = values.only ?? Object.keys(WAYS)
  const unknown = ways.find((way) => !(way in WAYS))
  const missing = programs().find((path) => !existsSync(path) || !statSync(path).isFile())
  if (unknown !== undefined || missing !== undefined) {
    process.stderr.write(
      `determinism: ${missing === undefined ? `no way ${unknown}; there are: ${Object.keys(WAYS).join(' ')}` : `no program ${missing}`}\n`,
    )
    return 2
  }
  let different = 0
  for (const program of programs()) different += await compare(program, ways)
  if (!values.json) print(different === 0 ? 'all the same' : `${different} different`)
  return different === 0 ? 0 : 1
}

process.exitCode = await main()
