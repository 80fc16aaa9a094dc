import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { type Filling, initialState, type Overrides } from './initial-state.ts'
import { mismatches, type Outcome, stateAfter } from './outcome.ts'
import { type CaseRecord, fromHex } from './record-layout.ts'

/** What the first line of a fixture file says about the rest. */
export interface Provenance {
  /** Processor that was recorded, from its CPUID. */
  processor: string
  /** Kernel that delivered the faults. */
  kernel: string
  recorded: string
  /** x87 state is compared. */
  x87: boolean
  filling: Filling
  cases: number
}

export interface RecordedCase {
  seed: number
  set?: Overrides
  out: Outcome
}

/** One instruction, encoded, with the states it was run in. */
export interface RecordedGroup {
  mnemonic: string
  text: string
  mode: 32 | 64
  code: string
  /** RFLAGS bits the manual calls undefined after it. */
  undefined?: number
  filling?: Filling
  cases: RecordedCase[]
}

export interface Fixture {
  provenance: Provenance
  groups: RecordedGroup[]
}

/** Reads test/fixtures/differential/NAME.jsonl.gz: a provenance line, then a group a line. */
export function readFixture(name: string): Fixture {
  const file = new URL(`../../fixtures/differential/${name}.jsonl.gz`, import.meta.url)
  const lines = gunzipSync(readFileSync(file)).toString().trim().split('\n')
  return { provenance: JSON.parse(lines[0]), groups: lines.slice(1).map((line) => JSON.parse(line)) }
}

const SHIFTS = new Set(['SHL', 'SAL', 'SHR', 'SAR', 'ROL', 'ROR', 'RCL', 'RCR', 'SHLD', 'SHRD'])

/** Flags that are not compared: for shifts by CL they depend on the count (SDM: none with 0, OF is defined with 1). */
export function undefinedFlags(group: RecordedGroup, one: RecordedCase, before: CaseRecord): number {
  const all = group.undefined ?? 0
  // A fault inside repeated CMPS or SCAS leaves the flags as before the instruction (SDM), or those of the last comparison
  // (recorded on AMD); the instruction is run again either way.
  if (one.out.fault !== undefined && /^(CMPS|SCAS)/.test(group.mnemonic)) return 0x8d5
  if (!SHIFTS.has(group.mnemonic) || !group.text.endsWith(',cl')) return all
  const count = Number(before.gpr(1) & 63n) & (/\br[a-ds][xip]|\br\d+\b|qword/.test(group.text.replace(/\[.*\]/, '')) ? 63 : 31)
  return count === 0 ? 0 : count === 1 ? all & ~0x800 : all
}

export interface Checked {
  group: RecordedGroup
  case: RecordedCase
  before: CaseRecord
  differences: string[]
}

/** Runs every case of a group and yields those that differ from what was recorded. */
export function* check(
  fixture: Fixture,
  group: RecordedGroup,
  run: (before: CaseRecord) => CaseRecord,
  undefinedOf = undefinedFlags,
): Generator<Checked> {
  const code = fromHex(group.code)
  for (const one of group.cases) {
    const before = initialState(group.mode, code, one.seed, group.filling ?? fixture.provenance.filling, one.set ?? {})
    const expected = stateAfter(before, one.out)
    const found = mismatches(expected, run(before), undefinedOf(group, one, before), fixture.provenance.x87)
    if (found.length > 0) yield { group, case: one, before, differences: found }
  }
}
