// npm run oracle: what real kernels were recorded doing, replayed on the modelled host and compared call by call: by the recordings'
// own driver programs, and by the same calls through the typed API.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { registerDecoder } from '../src/vmm/modelled/decoder.ts'
import { CannotPrepare } from './conformance/command.ts'
import { replayThroughApi } from './oracle/api/replay-api.ts'
import type { Explanation } from './oracle/explained.ts'
import { RECORDINGS } from './oracle/recordings.ts'
import { replay } from './oracle/replay.ts'
import { countOf, shown, summary, unused } from './oracle/report.ts'
import type { Replayed, Through } from './oracle/verdicts.ts'

const USAGE = `npm run oracle                              all recordings: how many scenarios agree
  --through WAY       driver: the driver program under \`worldswitch exec\`; api: the same calls through the typed API, as far as a
                      scenario is made of calls; both. Default: both where there is gcc, else api
  --json              one object a recording and way: {"recording","through","agreed","explained","total"}
  --only PREFIX       only scenarios whose name begins so: kvm.msr.PC
  --recording NAME    only recordings whose name contains this
  --show              every value that differs: - as recorded, + as modelled
The drivers are built with gcc into .cache/oracle, or into $WORLDSWITCH_CACHE. Exit status 1 when a difference is not explained.
`

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      json: { type: 'boolean' },
      only: { type: 'string', default: '' },
      recording: { type: 'string', default: '' },
      through: { type: 'string' },
      show: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  })
  if (values.help) {
    process.stdout.write(USAGE)
    return 0
  }
  const chosen = RECORDINGS.filter(({ name }) => name.includes(values.recording))
  if (chosen.length === 0)
    throw new CannotPrepare(`no such recording; there are: ${RECORDINGS.map(({ name }) => name).join(' ')}`)
  const ways = waysOf(values.through)
  const print = (lines: readonly string[]) => process.stdout.write(lines.map((line) => `${line}\n`).join(''))
  const used = new Set<Explanation>()
  const replayed: Replayed[] = []
  for (const recording of chosen)
    for (const way of ways) {
      const run =
        way === 'api'
          ? replayThroughApi(recording, values.only, used)
          : await replay(recording, values.only, availableParallelism(), used)
      // What the driver does not make up for is told.
      if (run.verdicts.length === 0 && (run.leftOut === 0 || ways.length > 1)) continue
      replayed.push(run)
      if (values.show) print(shown(run))
      if (values.json) print([JSON.stringify(countOf(run))])
    }
  if (replayed.length === 0) throw new CannotPrepare(`no scenario begins with ${values.only}`)
  if (!values.json) print(summary(replayed))
  if (values.only === '') {
    for (const { recording, because } of unused(replayed, used))
      process.stderr.write(`oracle: an explanation for ${recording} that nothing needs any more: ${because}\n`)
  }
  const open = replayed.map(countOf).filter(({ agreed, explained, total }) => agreed + explained < total)
  return open.length === 0 ? 0 : 1
}

function waysOf(through: string | undefined): readonly Through[] {
  if (through === 'both') return ['driver', 'api']
  if (through === 'driver' || through === 'api') return [through]
  if (through !== undefined) throw new CannotPrepare(`--through takes driver, api or both, not ${through}`)
  if (spawnSync('gcc', ['--version']).error === undefined) return ['driver', 'api']
  process.stderr.write('oracle: there is no gcc here to build the drivers with: through the typed API only\n')
  return ['api']
}

try {
  registerDecoder(new WebAssembly.Module(readFileSync(createRequire(import.meta.url).resolve('iced-x86/iced_x86_bg.wasm'))))
  process.exitCode = await main()
} catch (error) {
  const isUsage = error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')
  if (!(error instanceof CannotPrepare) && !isUsage) throw error
  process.stderr.write(`oracle: ${error.message}\n`)
  process.exitCode = 2
}
