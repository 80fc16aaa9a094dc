import { setImmediate as eventLoopTurn } from 'node:timers/promises'
import { UserError } from '../isa/user-error.ts'
import { scenarioByName } from '../tools/explore/scenarios/index.ts'
import { whyTable } from '../tools/why/table.ts'
import { type WhyOptions, type WhyRow, whyInRuns } from '../tools/why/why.ts'
import type { ExploreCommandOptions } from './explore-options.ts'
import { decoderModule } from './program-host.ts'
import { EXIT_INTERRUPTED } from './report.ts'

const SCENARIO = 'split-lock'
/** Work that takes longer than this tells how it goes. */
const SILENT_MS = 2000

const print = (line: string): void => void process.stdout.write(`${line}\n`)

/** `explore split-lock --why`: 0 whatever comes out. */
export async function exploreWhyCommand(name: string | undefined, options: ExploreCommandOptions): Promise<number> {
  if (name !== undefined) scenarioByName(name)
  if (name !== SCENARIO) {
    throw new UserError({
      code: 'bad-arguments',
      what: `--why does not know ${name === undefined ? 'which scenario' : name}`,
      where: 'explore --why',
      because: 'it is about split locks of guests',
      fix: `worldswitch explore ${SCENARIO} --why`,
    })
  }
  const { kernel } = options
  const rows = await drive({ decoder: decoderModule(), ...(kernel === undefined ? {} : { kernel }) })
  if (rows === null) return EXIT_INTERRUPTED
  for (const line of options.json ? rows.map((row) => JSON.stringify(row)) : whyTable(rows)) print(line)
  return 0
}

/** Runs everything between turns of the event loop; null when Ctrl-C ended it. */
async function drive(options: WhyOptions): Promise<WhyRow[] | null> {
  let interrupted = false
  const onInterrupt = (): void => {
    interrupted = true
  }
  process.once('SIGINT', onInterrupt)
  let told = performance.now()
  try {
    for (const runs = whyInRuns(options); ; ) {
      const step = runs.next()
      if (step.done === true) return step.value
      if (performance.now() - told > SILENT_MS) {
        told = performance.now()
        process.stderr.write(`explore --why: ${step.value.done} of ${step.value.of} hosts\n`)
      }
      await eventLoopTurn()
      if (!interrupted) continue
      process.stderr.write('worldswitch: interrupted\n')
      return null
    }
  } finally {
    process.off('SIGINT', onInterrupt)
  }
}
