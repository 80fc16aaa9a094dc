// npm run oracle: the driver programs of the recordings, run on the modelled host and compared with real kernels, call by call.
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { CannotPrepare } from './conformance/command.ts'
import type { Explanation } from './oracle/explained.ts'
import { RECORDINGS } from './oracle/recordings.ts'
import { type Replayed, replay } from './oracle/replay.ts'
import { countOf, shown, summary, unused } from './oracle/report.ts'

const USAGE = `npm run oracle                              all recordings: how many scenarios agree
  --json              one object a recording: {"recording","agreed","explained","total"}
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
  const print = (lines: readonly string[]) => process.stdout.write(lines.map((line) => `${line}\n`).join(''))
  const used = new Set<Explanation>()
  const replayed: Replayed[] = []
  for (const recording of chosen) {
    const run = await replay(recording, values.only, availableParallelism(), used)
    if (run.verdicts.length === 0) continue
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

try {
  process.exitCode = await main()
} catch (error) {
  const isUsage = error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')
  if (!(error instanceof CannotPrepare) && !isUsage) throw error
  process.stderr.write(`oracle: ${error.message}\n`)
  process.exitCode = 2
}
