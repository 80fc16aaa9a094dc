// The dependency rule: fails when a file of src/ imports from a floor that stands on its own, or what its floor must not see.
import { readdirSync, readFileSync } from 'node:fs'
import { join, sep } from 'node:path'
import { checkFloors } from './floors/check.ts'

const files = new Map<string, string>()
for (const name of readdirSync('src', { recursive: true, encoding: 'utf8' }).sort())
  if (name.endsWith('.ts')) files.set(name.split(sep).join('/'), readFileSync(join('src', name), 'utf8'))

const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'))
const violations = checkFloors(files, Object.keys(dependencies))
for (const { path, line, because } of violations) process.stdout.write(`src/${path}:${line}: ${because}\n`)
process.stdout.write(`${files.size} files, ${violations.length} against the house\n`)
process.exitCode = violations.length > 0 || files.size === 0 ? 1 : 0
