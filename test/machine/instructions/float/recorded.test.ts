import { describe, expect, it } from 'vitest'
import { EngineRunner } from '../../differential/engine-runner.ts'
import { check, readFixture } from '../../differential/fixture.ts'

describe.each([
  ['float', {}],
  ['float-sequences', { tiers: false }],
  ['float-sequences', { tiers: false, vectorLocals: false }],
  ['x87', {}],
])('%s with %o', (name, options) => {
  const fixture = readFixture(name)
  const engine = new EngineRunner(options)
  const byMnemonic = new Map<string, typeof fixture.groups>()
  for (const group of fixture.groups) byMnemonic.set(group.mnemonic, [...(byMnemonic.get(group.mnemonic) ?? []), group])

  it.each([...byMnemonic.keys()].sort())('%s leaves the state a real processor was recorded to leave', (mnemonic) => {
    const wrong: string[] = []
    for (const group of byMnemonic.get(mnemonic)!) {
      for (const { differences, case: one } of check(fixture, group, (before) => engine.run(before))) {
        wrong.push(`${group.mode}-bit ${group.code} ${group.text} (seed ${one.seed}): ${differences.join('; ')}`)
      }
    }
    expect(wrong).toEqual([])
  })
})
