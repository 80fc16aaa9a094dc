// Writes docs/fidelity.md; with --check, says whether it is current and whether tests and rules fit each other.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, sep } from 'node:path'
import { rules } from '../src/rules/index.ts'
import { documentOf, type Evidence, missingChecks, unknownIds, unproved } from './fidelity/document.ts'
import { proofsOf } from './fidelity/proofs.ts'
import { UNMET } from './fidelity/unmet.ts'

const DOCUMENT = 'docs/fidelity.md'

const say = (line: string) => process.stdout.write(`${line}\n`)
const options = process.argv.slice(2)
const unknownOption = options.find((option) => option !== '--check')
if (unknownOption !== undefined) {
  process.stderr.write(`fidelity: unknown option '${unknownOption}': npm run fidelity [-- --check]\n`)
  process.exit(2)
}

const files = readdirSync('test', { recursive: true, encoding: 'utf8' })
  .map((name) => join('test', name).split(sep).join('/'))
  .filter((name) => name.endsWith('.test.ts'))
  .sort()
const evidence: Evidence = { rules, proofs: files.flatMap((file) => proofsOf(file, readFileSync(file, 'utf8'))), unmet: UNMET }

const complaints = unknownIds(evidence).map((what) => `no such rule: ${what}`)
complaints.push(...missingChecks(evidence).map((id) => `no test makes the check ${id}`))
const open = unproved(evidence)
const text = documentOf(evidence)
if (options.includes('--check')) {
  let present = ''
  try {
    present = readFileSync(DOCUMENT, 'utf8')
  } catch {}
  if (present !== text)
    complaints.push(`${DOCUMENT} is not current: run \`npm run fidelity\` and commit it (after a merge conflict in it, too)`)
} else writeFileSync(DOCUMENT, text)
for (const complaint of complaints) say(complaint)
if (open.length > 0) say(`not yet proved: ${open.join(' ')}`)
say(
  `${rules.length} rules, ${rules.length - open.length - Object.keys(UNMET).length} proved by tests, ${Object.keys(UNMET).length} not met`,
)
process.exitCode = complaints.length > 0 || open.length > 0 || rules.length === 0 ? 1 : 0
