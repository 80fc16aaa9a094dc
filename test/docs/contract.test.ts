import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { proofsOf } from '../../scripts/fidelity/proofs.ts'
import { kernelProfiles } from '../../src/profiles/index.ts'
import { ruleById } from '../../src/rules/index.ts'

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const CONTRACT = 'docs/kvm-xsave-contract.md'
const lines = read(CONTRACT).split('\n')
const RULE = /\b(?:PERM|GFPU|XSAVE|CET)-\d+\b/g

/** List items and table rows; the first two lines of a table are its head. */
const statements = lines.filter((line, at) => {
  if (/^(?:- |\d+\. )/.test(line)) return true
  const isRow = line.startsWith('|') && !line.startsWith('|-')
  return isRow && lines[at + 1]?.startsWith('|-') !== true
})

describe('docs/kvm-xsave-contract.md', () => {
  test('has statements: lists and tables were found', () => {
    expect(statements.filter((line) => line.startsWith('|')).length).toBeGreaterThan(20)
    expect(statements.filter((line) => line.startsWith('-')).length).toBeGreaterThan(40)
  })

  test('names a rule that exists in every statement', () => {
    const without = statements.filter((line) => {
      const ids = line.match(RULE) ?? []
      return ids.length === 0 || ids.some((id) => ruleById(id) === undefined)
    })
    expect(without).toEqual([])
  })

  test('names kernel profiles that exist', () => {
    const named = read(CONTRACT).match(/`linux-[\d.]+`/g) ?? []
    expect(named.length).toBeGreaterThan(5)
    const known = kernelProfiles.map(({ name }) => `\`${name}\``)
    expect(named.filter((name) => !known.includes(name))).toEqual([])
  })

  test('is linked from the README and the library page', () => {
    expect(read('README.md')).toContain('docs/kvm-xsave-contract.md')
    expect(read('docs/api.md')).toContain('kvm-xsave-contract.md')
  })

  test('rests on rules that tests name', () => {
    const root = new URL('../../test/', import.meta.url)
    const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.test.ts'))
    const proved = new Set(files.flatMap((name) => proofsOf(name, read(`test/${name}`)).flatMap(({ ids }) => ids)))
    const named = new Set(read(CONTRACT).match(RULE))
    expect([...named].filter((id) => !proved.has(id))).toEqual([])
  })
})
