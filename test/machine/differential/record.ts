import { mkdirSync, writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { vectorCases } from '../instructions/vector/vector-cases.ts'
import { EngineRunner } from './engine-runner.ts'
import { check, type Fixture, type RecordedGroup, undefinedFlags } from './fixture.ts'
import { floatCases } from './float-cases.ts'
import { floatSequences } from './float-sequences.ts'
import { type Filling, initialState } from './initial-state.ts'
import { integerCases, type Planned } from './integer-cases.ts'
import { integerSequences } from './integer-sequences.ts'
import { NativeRecorder, thisProcessor } from './native-recorder.ts'
import { outcomeOf } from './outcome.ts'
import { fromHex } from './record-layout.ts'
import { x87Cases } from './x87-cases.ts'

// Run through scripts/record-differential.mjs.

interface CaseSet {
  /** @param firstSeed other seeds make other cases */
  plan: (firstSeed?: number) => Planned[]
  filling: Filling
  x87: boolean
}
/** The recordable sets of cases by name. Add yours here. */
const SETS: Record<string, CaseSet> = {
  integer: { plan: integerCases, filling: 'bits', x87: false },
  vector: { plan: () => vectorCases(), filling: 'bits', x87: true },
  float: { plan: floatCases, filling: 'bits', x87: false },
  'float-sequences': { plan: floatSequences, filling: 'double', x87: false },
  x87: { plan: x87Cases, filling: 'bits', x87: true },
  'integer-sequences': { plan: integerSequences, filling: 'bits', x87: false },
}

const VECTOR_UD = 6

function record(set: CaseSet, here: string, firstSeed: number | undefined): { fixture: Fixture; refused: Planned[] } {
  const planned = set.plan(firstSeed)
  const native = new NativeRecorder(`${here}/native/recorder.c`)
  const states = planned.flatMap((group) =>
    group.cases.map((one) => initialState(group.mode, fromHex(group.code), one.seed, group.filling ?? set.filling, one.set)),
  )
  const results = native.run(states)
  const groups: RecordedGroup[] = []
  const refused: Planned[] = []
  let n = 0
  for (const group of planned) {
    const cases = group.cases.map(({ seed, set: overrides }) => {
      const out = outcomeOf(states[n], results[n], set.x87)
      n++
      return { seed, ...(Object.keys(overrides).length > 0 ? { set: overrides } : {}), out }
    })
    // What this processor does not have is no record of what others do.
    if (cases.every(({ out }) => out.fault?.[0] === VECTOR_UD)) refused.push(group)
    else groups.push({ ...group, cases })
  }
  const recorded = new Date().toISOString().slice(0, 10)
  return {
    fixture: { provenance: { ...thisProcessor(), recorded, x87: set.x87, filling: set.filling, cases: n }, groups },
    refused,
  }
}

function compare(fixture: Fixture, ignoredFlags: number | null, limit: number): void {
  const options = flags.find((flag) => flag.startsWith('--engine='))?.slice('--engine='.length)
  const engine = new EngineRunner(options === undefined ? {} : JSON.parse(options))
  let wrong = 0
  const byMnemonic = new Map<string, number>()
  for (const group of fixture.groups) {
    try {
      for (const found of check(
        fixture,
        group,
        (before) => engine.run(before),
        ignoredFlags === null ? undefinedFlags : () => ignoredFlags,
      )) {
        wrong++
        const seen = (byMnemonic.get(group.mnemonic) ?? 0) + 1
        byMnemonic.set(group.mnemonic, seen)
        if (seen <= limit)
          console.log(
            `${group.mode} ${group.code} ${group.text} seed ${found.case.seed} ${JSON.stringify(found.case)}\n    ${found.differences.join('\n    ')}`,
          )
      }
    } catch (error) {
      console.log(`${group.mode} ${group.code} ${group.text}: ${error instanceof Error ? error.message : error}`)
      wrong++
    }
  }
  console.log([...byMnemonic].map(([name, n]) => `${name} ${n}`).join(', '))
  console.log(`${wrong} of ${fixture.provenance.cases} cases differ from this processor`)
}

const [name, here, ...flags] = process.argv.slice(2)
const set = SETS[name]
if (set === undefined) throw new Error(`no set of cases is called ${name}: ${Object.keys(SETS).join(', ')}`)
const firstSeed = flags.find((flag) => flag.startsWith('--first-seed='))?.slice('--first-seed='.length)
const { fixture, refused } = record(set, here, firstSeed === undefined ? undefined : Number(firstSeed))
console.log(`${fixture.groups.length} instructions, ${fixture.provenance.cases} cases; not on this processor: ${refused.length}`)
if (refused.length > 0) console.log(refused.map((group) => group.text).join('; '))
const strict = flags.find((flag) => flag.startsWith('--strict-flags'))
if (flags.includes('--compare')) compare(fixture, strict === undefined ? null : Number(strict.split('=')[1] ?? 0), 3)
else {
  const directory = `${here}/../../fixtures/differential`
  mkdirSync(directory, { recursive: true })
  const lines = [fixture.provenance, ...fixture.groups].map((line) => JSON.stringify(line))
  const packed = gzipSync(`${lines.join('\n')}\n`, { level: 9 })
  writeFileSync(`${directory}/${name}.jsonl.gz`, packed)
  console.log(`${name}.jsonl.gz: ${packed.length} bytes`)
}
