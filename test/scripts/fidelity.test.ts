import { describe, expect, test } from 'vitest'
import { agreements } from '../../scripts/fidelity/agreements.ts'
import { documentOf, missingChecks, unknownIds, unproved } from '../../scripts/fidelity/document.ts'
import { proofsOf } from '../../scripts/fidelity/proofs.ts'

const ids = (text: string) => proofsOf('test/a.test.ts', text).map((proof) => proof.ids.join(' '))

test('checks are named beside rules, and are none', () => {
  const proofs = proofsOf('test/a.test.ts', "test('a [SLD-T6, SLD-33, -35]', f)\ntest('b [SLD-T11]', f)\ntest('c [SLD-T]', f)")
  expect(proofs.map(({ ids, checks }) => [ids, checks])).toEqual([
    [['SLD-33', 'SLD-35'], ['SLD-T6']],
    [[], ['SLD-T11']],
  ])
  const missing = missingChecks({ rules: [], proofs, unmet: {} })
  expect(missing).toHaveLength(14)
  expect(missing).not.toContain('SLD-T6')
})

describe('rule IDs in names of tests', () => {
  test.each([
    ["test('a [PERM-23]', f)", ['PERM-23']],
    ["it('a [GFPU-39, LUX-05, XSAVE-01]', f)", ['GFPU-39 XSAVE-01']],
    ["describe('a [GFPU-08..11]', f)", ['GFPU-08 GFPU-09 GFPU-10 GFPU-11']],
    ["test('a [GFPU-12, -13, CET-24b]', f)", ['GFPU-12 GFPU-13 CET-24b']],
    ["test.each(rows)('%s [PERM-01]', f)", ['PERM-01']],
    ["test.skipIf(x).each(rows)('%s [PERM-01]', f)", ['PERM-01']],
    ["test.each([['one [PERM-01]', 1], ['two [PERM-02]', 2]])('%s', f)", ['PERM-01', 'PERM-02']],
    ["const T = { a: 'one [PERM-03]' }\ntest.each(Object.entries(T).map(([k, says]) => ({ says })))('$says', f)", ['PERM-03']],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the source of a test
    ['for (const x of y) test(`${x} does it [PERM-05]`, f)', ['PERM-05']],
    ["describe('outer', () => { test('inner [PERM-07]', f) })", ['PERM-07']],
  ])('%s', (text, expected) => {
    expect(ids(text)).toEqual(expected)
  })

  test.each([
    ["// test('a [PERM-23]', f)"],
    ["test('PERM-23 without brackets', f)"],
    ["test('a [PERM-23] in the middle', f)"],
    ["call('a [PERM-23]', f)"],
    ["test('sections [PERM §13]', f)"],
    ['const s = "test(\'a [PERM-23]\')"'],
  ])('none in %s', (text) => {
    expect(ids(text)).toEqual([])
  })
})

const rules = [
  { id: 'PERM-01', says: 'One | two.', source: 's' },
  { id: 'PERM-02', says: 'Three.', source: 's' },
]
const proof = (...named: string[]) => ({ file: 'test/a.test.ts', name: 'it holds', ids: named, checks: [], named })

test('an ID that is no rule is told with the test that names it, unless its subject has no rows', () => {
  expect(unknownIds({ rules, proofs: [proof('PERM-01', 'PERM-99', 'GFPU-01')], unmet: {} })).toEqual([
    "test/a.test.ts: 'it holds' names PERM-99",
  ])
})

test('a rule needs a test or a reason', () => {
  expect(unproved({ rules, proofs: [proof('PERM-01')], unmet: {} })).toEqual(['PERM-02'])
  expect(unproved({ rules, proofs: [proof('PERM-01')], unmet: { 'PERM-02': 'because' } })).toEqual([])
})

test('the document shows rule, test and recording, and what is not met', () => {
  const text = documentOf({ rules, proofs: [proof('PERM-01')], unmet: { 'PERM-02': 'no such machine' } })
  expect(text).toContain(
    '| PERM-01 | One \\| two. | [a.test.ts](../test/a.test.ts): it holds | perm.initial, perm.req, perm.seq |',
  )
  expect(text).toContain('- PERM-02: no such machine')
})

test('recordings are known by rule', () => {
  expect(agreements().get('PERM-20')).toEqual(['perm.initial, perm.req, perm.seq'])
  expect(agreements().get('PERM-52')).toEqual(['sigreturn', 'corrupt_xstate_header_64'])
})
