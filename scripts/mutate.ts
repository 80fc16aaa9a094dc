// npm run mutate: breaks the line behind each of a sample of rules, in a copy of the tree, and expects the rule's test to fail.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { occurrences } from './mutate/copies.ts'
import { MUTATIONS } from './mutate/mutations.ts'
import { type Outcome, runMutations } from './mutate/run.ts'

const USAGE = `npm run mutate             every mutation of scripts/mutate/mutations.ts: 2 to 4 minutes on two processors
  --only RULE        only mutations of rules that begin so: PERM-2
  --json             one object a mutation: {"rule","file","find","replace","test","result","by"}
Exit status 1 when a mutation survives, cannot be made, or its test does not pass on the tree as it is.
`
/** Mutations in one run of vitest: one that never ends takes the others of its run with it. */
const BATCH = 16

const say = (line: string) => process.stdout.write(`${line}\n`)

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { json: { type: 'boolean' }, only: { type: 'string', default: '' }, help: { type: 'boolean' } },
  })
  if (values.help) {
    process.stdout.write(USAGE)
    return 0
  }
  const chosen = MUTATIONS.filter(({ rule }) => rule.startsWith(values.only))
  if (chosen.length === 0) {
    process.stderr.write(`mutate: no mutation of a rule that begins with ${values.only}\n`)
    return 2
  }
  const lost = chosen.filter((mutation) => occurrences(mutation) !== 1)
  for (const mutation of lost)
    process.stderr.write(
      `mutate: ${mutation.rule}: ${mutation.file} has ${Math.max(0, occurrences(mutation))} times: ${mutation.find}\n`,
    )
  if (lost.length > 0) return 1
  mkdirSync('.cache', { recursive: true })
  const outcomes: Outcome[] = []
  for (let from = 0; from < chosen.length; from += BATCH) {
    const folder = mkdtempSync(resolve(join('.cache', 'mutate-')))
    try {
      const batch = await runMutations(chosen.slice(from, from + BATCH), folder)
      for (const outcome of batch) print(outcome, values.json === true)
      outcomes.push(...batch)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
  const killed = outcomes.filter(({ result }) => result === 'killed').length
  if (!values.json) say(`${outcomes.length} mutations of ${new Set(chosen.map(({ rule }) => rule)).size} rules, ${killed} killed`)
  return killed === outcomes.length ? 0 : 1
}

function print({ mutation, result, by }: Outcome, json: boolean): void {
  if (json) say(JSON.stringify({ ...mutation, result, by }))
  else {
    const line = (text: string) => text.trim().replace(/\s*\n\s*/g, ' ⏎ ')
    say(
      `${result.padEnd(8)} ${mutation.rule.padEnd(8)} ${mutation.file}: ${line(mutation.find)} → ${line(mutation.replace) || '(nothing)'}`,
    )
    if (result === 'broken') say(`         ${by}`)
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  if (!(error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS'))) throw error
  process.stderr.write(`mutate: ${error.message}\n`)
  process.exitCode = 2
}
