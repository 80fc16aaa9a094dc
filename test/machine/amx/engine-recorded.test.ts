import { describe, expect, it } from 'vitest'
import { EngineBackend } from './engine-backend.ts'
import { replay } from './replay.ts'
import { loadAmxCases } from './vectors.ts'

describe('recorded AMX cases, executed by the engine', () => {
  it('all agree: results, faults, error codes, addresses, memory, configurations', () => {
    const backend = new EngineBackend()
    const all = loadAmxCases()
    const differing = all.flatMap((c) => replay(backend, c).map((difference) => `${c.case}: ${difference}`))
    expect(all.length).toBe(4701)
    expect(differing.slice(0, 20)).toEqual([])
  })
})
