import { describe, expect, it } from 'vitest'
import { EngineRunner } from '../../differential/engine-runner.ts'
import { check, type RecordedGroup, readFixture } from '../../differential/fixture.ts'

const fixture = readFixture('vector')
const engine = new EngineRunner()

/** One test for each letter the mnemonics (without V) begin with: a thousand lines of test names help nobody. */
const families = new Map<string, RecordedGroup[]>()
for (const group of fixture.groups) {
  const family = group.mnemonic.replace(/^V/, '').slice(0, 4)
  families.set(family, [...(families.get(family) ?? []), group])
}

describe(`vector instructions as recorded on ${fixture.provenance.processor}`, () => {
  it.each([...families.keys()].sort())('%s…', (family) => {
    const wrong: string[] = []
    for (const group of families.get(family)!) {
      for (const { differences, case: one } of check(fixture, group, (before) => engine.run(before))) {
        wrong.push(`${group.mode}-bit ${group.code} ${group.text} (seed ${one.seed}): ${differences.join('; ')}`)
      }
    }
    expect(wrong).toEqual([])
  })
})
