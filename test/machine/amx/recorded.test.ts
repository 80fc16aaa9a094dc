import { describe, expect, test } from 'vitest'
import { replay } from './replay.ts'
import { UnitBackend } from './unit-backend.ts'
import { byFamily, loadAmxCases } from './vectors.ts'

// Every recorded case of an instruction. `encoding.*` is about the decoder and is left to the test of the whole engine.
const cases = loadAmxCases()
const executable = cases.filter((c) => !c.case.startsWith('encoding.'))

describe('AMX instructions as recorded [PERM-39]', () => {
  test('the record is complete', () => {
    expect(cases.length).toBe(4701)
    expect(executable.length).toBe(4701 - 54)
  })
  const backend = new UnitBackend()
  test.each([...byFamily(executable)].map(([family, group]) => [`${family} (${group.length})`, group] as const))(
    '%s',
    (_, group) => {
      const differing = group.flatMap((c) => replay(backend, c).map((difference) => `${c.case}: ${difference}`))
      expect(differing).toEqual([])
    },
  )
})
