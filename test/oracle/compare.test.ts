import { describe, expect, test } from 'vitest'
import { compareScenario } from '../../scripts/oracle/compare.ts'
import { explain } from '../../scripts/oracle/explain.ts'
import type { Explanation } from '../../scripts/oracle/explained.ts'
import { parseScenarios } from '../../scripts/oracle/recordings.ts'
import { batchesOf } from '../../scripts/oracle/run-driver.ts'

const scenario = (calls: unknown[], end: Record<string, unknown> = {}) => ({ name: 's', calls, end })
const wheres = (a: unknown[], b: unknown[]) => compareScenario(scenario(a), scenario(b)).map(({ where }) => where)

describe('comparing a scenario with its recording', () => {
  test('the same calls have no difference', () => {
    const calls = [{ call: 'KVM_GET_MSRS', args: ['0x10'], ret: 1, value: '0x0' }, { note: 'n' }]
    expect(compareScenario(scenario(calls, { killed_by: 4 }), scenario(structuredClone(calls), { killed_by: 4 }))).toEqual([])
  })

  test('names the value of the call that differs, with both values', () => {
    const [a, b] = [4096, 11008].map((size) => [
      { call: 'REQ', args: [18], ret: 0 },
      { call: 'KVM_GET_XSAVE2', ret: 0, size },
    ])
    expect(compareScenario(scenario(a), scenario(b))).toEqual([
      { at: 1, where: 'KVM_GET_XSAVE2.size', recorded: '4096', modelled: '11008' },
    ])
  })

  test('a CPUID list differs by leaf and register, and in its order', () => {
    const entry = (fn: string, ecx: string) => [fn, 0, 0, '0x0', '0x0', ecx, '0x0']
    const list = (...entries: unknown[]) => [{ call: 'L', ret: 2, entries }]
    const recorded = list(entry('0x1', '0x20'), entry('0x7', '0x0'))
    expect(wheres(recorded, list(entry('0x1', '0x0'), entry('0x7', '0x0')))).toEqual(['L.entries.0x1.0.ecx'])
    expect(wheres(recorded, list(entry('0x7', '0x0'), entry('0x1', '0x20')))).toEqual(['L.entries.order'])
  })

  test('a list of MSRs differs by MSR', () => {
    const list = (...msrs: string[]) => [{ call: 'L', ret: 0, msrs }]
    expect(wheres(list('0x10', '0x9e'), list('0x10', '0x11'))).toEqual(['L.msrs.0x9e', 'L.msrs.0x11'])
    expect(wheres(list('0x10', '0x11'), list('0x10', '0x11'))).toEqual([])
  })

  test('a call that is missing, one too many and another end are differences', () => {
    expect(wheres([{ call: 'a', ret: 0 }], [])).toEqual(['a'])
    expect(wheres([], [{ call: 'a', ret: 0 }])).toEqual(['a'])
    expect(compareScenario(scenario([], { killed_by: 4 }), scenario([]))).toMatchObject([
      { where: 'end.killed_by', recorded: '4' },
    ])
  })
})

describe('explaining a difference', () => {
  const row: Explanation = { recording: 'r', scenarios: /^kvm\./, where: /ecx$/, bits: 0x20n, because: 'nested=1' }
  const at = (recorded: string, modelled: string) => ({ at: 0, where: 'L.entries.0x1.0.ecx', recorded, modelled })
  const because = (recording: string, name: string, difference: ReturnType<typeof at>, used = new Set<Explanation>()) =>
    explain(recording, name, difference, used, [row])?.because

  test('holds for its recording, its scenarios and its bits only', () => {
    expect(because('r', 'kvm.a', at('"0x21"', '"0x1"'))).toBe('nested=1')
    expect(because('other', 'kvm.a', at('"0x21"', '"0x1"'))).toBeUndefined()
    expect(because('r', 'guest.a', at('"0x21"', '"0x1"'))).toBeUndefined()
    expect(because('r', 'kvm.a', at('"0x21"', '"0x0"'))).toBeUndefined()
  })

  test('is noted as used, so that one which covers nothing can be told', () => {
    const used = new Set<Explanation>()
    because('r', 'kvm.a', at('"0x1"', '"0x3"'), used)
    expect(used.size).toBe(0)
    because('r', 'kvm.a', at('"0x20"', '"0x0"'), used)
    expect(used).toEqual(new Set([row]))
  })
})

test('both drivers print a scenario a line; other lines are none', () => {
  const text = '{"scenario":"a","calls":[1]}\nhello\n{"case":"b","steps":[],"killed_by":11}\n'
  expect([...parseScenarios(text).values()]).toEqual([
    { name: 'a', calls: [1], end: {} },
    { name: 'b', calls: [], end: { killed_by: 11 } },
  ])
})

test('every scenario begins with a prefix of exactly one batch', () => {
  const names = ['sys.info', 'kvm.msr_lists', 'kvm.msr.P.0x1', 'kvm.msr.C.0x1', 'kvm.caps.no', 'guest.amx.C']
  const batches = batchesOf(names, 3)
  expect(batches).toHaveLength(3)
  for (const name of names) expect(batches.flat().filter((prefix) => name.startsWith(prefix))).toHaveLength(1)
})
