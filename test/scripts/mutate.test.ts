import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { proofsOf } from '../../scripts/fidelity/proofs.ts'
import { occurrences } from '../../scripts/mutate/copies.ts'
import { MUTATIONS } from '../../scripts/mutate/mutations.ts'
import { ruleById } from '../../src/rules/index.ts'

describe('mutations', () => {
  test('are of at least 40 rules', () => {
    expect(new Set(MUTATIONS.map(({ rule }) => rule)).size).toBeGreaterThanOrEqual(40)
  })
  test.each(MUTATIONS.map((mutation) => [mutation.rule, mutation] as const))(
    'of %s: its line is in the tree exactly once, and a test names the rule',
    (rule, mutation) => {
      expect(occurrences(mutation), `${mutation.file}: ${mutation.find}`).toBe(1)
      expect(mutation.replace).not.toBe(mutation.find)
      expect(existsSync(mutation.test)).toBe(true)
      const proofs = proofsOf(mutation.test, readFileSync(mutation.test, 'utf8'))
      expect(proofs.some(({ ids }) => ids.includes(rule))).toBe(true)
    },
  )
})

test('rules of a subject that has rows exist', () => {
  const subjects = MUTATIONS.filter(({ rule }) => !rule.startsWith('CET-'))
  expect(subjects.filter(({ rule }) => ruleById(rule) === undefined)).toEqual([])
})
