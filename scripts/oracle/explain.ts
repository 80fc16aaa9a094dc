import type { Difference } from './compare.ts'
import { EXPLANATIONS, type Explanation } from './explained.ts'

/** Why a difference is none of the model's; null when nothing says so. Each use is noted in `used`. */
export function explain(
  recording: string,
  scenario: string,
  difference: Difference,
  used: Set<Explanation>,
  explanations: readonly Explanation[] = EXPLANATIONS,
): Explanation | null {
  const found = explanations.find((row) => covers(row, recording, scenario, difference))
  if (found !== undefined) used.add(found)
  return found ?? null
}

function covers(row: Explanation, recording: string, scenario: string, difference: Difference): boolean {
  if (row.recording !== recording || !row.scenarios.test(scenario) || !row.where.test(difference.where)) return false
  return row.bits === undefined || differsOnlyIn(row.bits, difference)
}

/** Both values are numbers and equal outside `bits`. */
function differsOnlyIn(bits: bigint, { recorded, modelled }: Difference): boolean {
  const [a, b] = [numberIn(recorded), numberIn(modelled)]
  return a !== null && b !== null && ((a ^ b) & ~bits) === 0n
}

/** `"0x10a"` and `266` as a number. */
function numberIn(json: string | undefined): bigint | null {
  const match = /^"?(0x[0-9a-f]+|\d+)"?$/.exec(json ?? '')
  return match === null ? null : BigInt(match[1])
}
