// npm run scenarios: the outputs in docs/scenarios/*.md and docs/split-lock.md, made again by the commands beside them. --check: are they current?
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { exploreTable, type Listed, type TableName } from './scenarios/explore-tables.ts'

const FOLDER = 'docs/scenarios'
const OTHER_PAGES = ['docs/split-lock.md', 'docs/explore.md']
const BLOCK = /<!-- run: worldswitch (.*?) -->\n[\s\S]*?<!-- end -->/g
const TABLE = /<!-- table: (scenarios|invariants|variants) of explore -->\n[\s\S]*?<!-- end -->/g
/** What a search took is not what it found. */
const TIME = /, \d+\.\d s$/gm

const { values } = parseArgs({ options: { check: { type: 'boolean' } } })

/** The output of a command, as the page shows it. Exit status 1 of `explore` is a violation found. */
function outputOf(command: string): string {
  const ran = spawnSync(process.execPath, ['dist/cli/worldswitch.js', ...command.split(' ')], { encoding: 'utf8' })
  if (ran.status !== 0 && !(ran.status === 1 && command.startsWith('explore')))
    throw new Error(`worldswitch ${command}: ${ran.stderr.trim()}`)
  return ran.stdout.trimEnd().replace(TIME, '')
}

const listed = (): Listed[] =>
  outputOf('explore --list --json')
    .split('\n')
    .map((line) => JSON.parse(line))

const scenarioPages = readdirSync(FOLDER).filter((file) => file.endsWith('.md'))
let stale = 0
for (const path of [...scenarioPages.map((name) => join(FOLDER, name)), ...OTHER_PAGES]) {
  const before = readFileSync(path, 'utf8')
  const after = before
    .replace(
      BLOCK,
      (_block, command: string) =>
        `<!-- run: worldswitch ${command} -->\n\`\`\`\n$ worldswitch ${command}\n${outputOf(command)}\n\`\`\`\n<!-- end -->`,
    )
    .replace(
      TABLE,
      (_block, what: TableName) => `<!-- table: ${what} of explore -->\n${exploreTable(what, listed())}\n<!-- end -->`,
    )
  if (after === before) continue
  stale++
  if (values.check) process.stdout.write(`${path} is not current: npm run scenarios\n`)
  else writeFileSync(path, after)
}
process.stdout.write(
  `${[FOLDER, ...OTHER_PAGES].join(', ')}: ${stale === 0 ? 'current' : values.check ? `${stale} pages not current` : `${stale} pages made again`}\n`,
)
process.exitCode = values.check && stale > 0 ? 1 : 0
