import { readFileSync } from 'node:fs'
import { brotliDecompressSync } from 'node:zlib'

/** One line of a recording in test/fixtures/oracle. */
export interface Scenario {
  scenario: string
  calls: any[]
}

export function readRecording(name: string): Map<string, Scenario> {
  const text = brotliDecompressSync(readFileSync(new URL(`../fixtures/oracle/${name}.jsonl.br`, import.meta.url))).toString(
    'utf8',
  )
  return new Map(
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Scenario)
      .map((s) => [s.scenario, s]),
  )
}

const hex = (text: string): number => Number.parseInt(text, 16)

/** CPUID of the recorded host: exact leaf and subleaf, zero where nothing was recorded. */
export function recordedCpuid(recording: Map<string, Scenario>) {
  const rows = new Map<string, { eax: number; ebx: number; ecx: number; edx: number }>()
  for (const call of recording.get('cpuid.native')!.calls) {
    if (call.leaf === undefined) continue
    rows.set(`${hex(call.leaf)}.${call.sub}`, { eax: hex(call.eax), ebx: hex(call.ebx), ecx: hex(call.ecx), edx: hex(call.edx) })
  }
  return (leaf: number, subleaf: number) => rows.get(`${leaf}.${subleaf}`) ?? { eax: 0, ebx: 0, ecx: 0, edx: 0 }
}

/** The `entries` of a recorded CPUID list in KVM's shape. */
export function recordedEntries(call: any) {
  return call.entries.map((e: any[]) => ({
    function: hex(e[0]),
    index: e[1],
    flags: e[2],
    eax: hex(e[3]),
    ebx: hex(e[4]),
    ecx: hex(e[5]),
    edx: hex(e[6]),
  }))
}
