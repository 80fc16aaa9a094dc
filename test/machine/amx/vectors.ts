import { readFileSync } from 'node:fs'
import { brotliDecompressSync } from 'node:zlib'

/** One line of test/fixtures/amx/amx-bochs-spr.jsonl.br; what the members mean: README.md beside it. */
export interface AmxCase {
  case: string
  insn: string
  /** Instruction bytes; memory operands use RDI as base and RSI as index. */
  code: string
  cfg: string
  cfg_before?: string
  cfg_after?: string
  tiles?: number[]
  mkn?: [number, number, number]
  kind?: string
  in?: {
    c?: string
    a?: string
    b?: string
    kind?: string
    seed_c?: string
    seed_a?: string
    seed_b?: string
    tiles_seed?: number
    mem_seed?: number
    mem_off?: number
    base_off?: number
    stride?: number
    scale?: number
    disp?: number
    bad_page_off?: number
    bad_page?: string
  }
  in_fnv?: [string, string, string]
  out?: string
  out_row0?: string
  out_fnv?: string
  mem_after_fnv?: string
  mem_rows?: string[]
  tiledata_fnv?: string
  xstate_bv18?: number
  mxcsr_before: string
  mxcsr_after: string
  signal: number
  trapno?: number
  err?: number
  si_addr?: string | number
  at_fault?: { start_row: number; done_rows_fnv: string }
  mem_at_fault_fnv?: string
  then?: { start_row: number; tile_fnv: string; tiledata_fnv: string; mem_after_fnv?: string; signal: number }
}

export function loadAmxCases(): AmxCase[] {
  const file = new URL('../../fixtures/amx/amx-bochs-spr.jsonl.br', import.meta.url)
  return brotliDecompressSync(readFileSync(file))
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as AmxCase)
    .filter((line) => line.case !== undefined)
}

/** Cases by what they try: the name without its last number. */
export function byFamily(cases: readonly AmxCase[]): Map<string, AmxCase[]> {
  const families = new Map<string, AmxCase[]>()
  for (const c of cases) {
    const family = c.case.replace(/\.\d+$/, '')
    const group = families.get(family)
    if (group === undefined) families.set(family, [c])
    else group.push(c)
  }
  return families
}
