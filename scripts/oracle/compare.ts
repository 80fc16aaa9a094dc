import type { Scenario } from './recordings.ts'

/** One value that is not as recorded. */
export interface Difference {
  /** Number of the call in the scenario; -1 for how its process ended. */
  readonly at: number
  /** Which value of which call: `KVM_GET_MSRS("0x10a").value`, `cpuid 0x1.0.ebx`. */
  readonly where: string
  /** JSON of both values; undefined where there is none. */
  readonly recorded: string | undefined
  readonly modelled: string | undefined
}

/** Everything in which a scenario ran otherwise than recorded; empty when they agree. */
export function compareScenario(recorded: Scenario, modelled: Scenario): Difference[] {
  const differences: Difference[] = []
  const calls = Math.max(recorded.calls.length, modelled.calls.length)
  for (let at = 0; at < calls; at++) {
    const [a, b] = [recorded.calls[at], modelled.calls[at]]
    compareValue(at, nameOf(a ?? b), a, b, differences)
  }
  compareValue(-1, 'end', recorded.end, modelled.end, differences)
  return differences
}

type Members = Record<string, unknown>
const isObject = (value: unknown): value is Members => typeof value === 'object' && value !== null && !Array.isArray(value)

/** How a call is called in a difference. */
function nameOf(call: unknown): string {
  if (!isObject(call)) return String(call)
  if (call.leaf !== undefined) return `cpuid ${call.leaf}.${call.sub}`
  const name = call.call ?? call.op
  if (name === undefined) return Object.keys(call)[0]
  const args = Array.isArray(call.args) ? call.args.map((arg) => JSON.stringify(arg)).join(',') : ''
  return args === '' ? String(name) : `${name}(${args})`
}

function compareValue(at: number, where: string, recorded: unknown, modelled: unknown, into: Difference[]): void {
  const [a, b] = [JSON.stringify(recorded), JSON.stringify(modelled)]
  if (a === b) return
  const [left, right] = [byName(where, recorded), byName(where, modelled)]
  if (left === null || right === null) {
    into.push({ at, where, recorded: a, modelled: b })
    return
  }
  for (const key of new Set([...Object.keys(left), ...Object.keys(right)])) {
    compareValue(at, `${where}.${key}`, left[key], right[key], into)
  }
}

/**
 * A value as named members where it has any: objects, lists of MSRs, and lists of CPUID entries
 * `[function, index, flags, eax, ...]`.
 */
function byName(where: string, value: unknown): Members | null {
  if (isObject(value)) return value
  if (!Array.isArray(value)) return null
  if (where.endsWith('.msrs')) return Object.fromEntries(value.map((index) => [index, true]))
  if (!where.endsWith('.entries')) return null
  const seen = new Map<string, number>()
  const members: Members = {}
  for (const [fn, index, flags, eax, ebx, ecx, edx] of value) {
    const leaf = `${fn}.${index}`
    const nth = (seen.get(leaf) ?? 0) + 1
    seen.set(leaf, nth)
    members[nth === 1 ? leaf : `${leaf}#${nth}`] = { flags, eax, ebx, ecx, edx }
  }
  return { ...members, order: Object.keys(members).join(' ') }
}
