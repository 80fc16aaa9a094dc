import { describe, expect, it } from 'vitest'
import { EngineRunner } from './engine-runner.ts'
import { check, readFixture } from './fixture.ts'

describe.each(['integer', 'integer-sequences'])('%s', (name) => {
  const fixture = readFixture(name)
  const engine = new EngineRunner()
  const mnemonics = new Map<string, typeof fixture.groups>()
  for (const group of fixture.groups) {
    const same = mnemonics.get(group.mnemonic)
    if (same === undefined) mnemonics.set(group.mnemonic, [group])
    else same.push(group)
  }

  it.each([...mnemonics.keys()].sort())('%s leaves the state a real processor was recorded to leave', (mnemonic) => {
    const wrong: string[] = []
    for (const group of mnemonics.get(mnemonic)!) {
      for (const { differences, case: one } of check(fixture, group, (before) => engine.run(before))) {
        wrong.push(`${group.mode}-bit ${group.code} ${group.text} (seed ${one.seed}): ${differences.join('; ')}`)
      }
    }
    expect(wrong).toEqual([])
  })
})
