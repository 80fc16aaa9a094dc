import type { Failure, Tally } from './campaign.ts'
import { printStep } from './steps.ts'

/** One object: what was done and how it ended. */
export function asJson(tally: Tally, seed: number): string {
  const { runs, failures, setups, outcomes } = tally
  const counts = Object.fromEntries([...outcomes].sort())
  return JSON.stringify({ runs, seed, hosts: setups.size, failures: failures.length, outcomes: counts })
}

/** A table: a line a call, accepted and each errno. */
export function asTable({ runs, outcomes, setups }: Tally, seed: number): string[] {
  const calls = new Map<string, string[]>()
  let [accepted, refused] = [0, 0]
  for (const [outcome, count] of [...outcomes].sort((a, b) => b[1] - a[1])) {
    const [call, how] = outcome.split(' ')
    const name = call.includes(':') ? `${call.split(':')[0]}: ioctl of any kind` : call
    calls.set(name, [...(calls.get(name) ?? []), `${how} ${count}`])
    if (how === 'ok') accepted += count
    else refused += count
  }
  const lines = [...calls].map(([name, hows]) => `${name.padEnd(24)} ${summed(hows).join(', ')}`)
  const head = `${runs} calls with seed ${seed} on ${setups.size} pairs of processor and kernel: ${accepted} accepted, ${refused} refused`
  return [head, ...lines]
}

/** `ok 3`, `ok 4` -> `ok 7`, most frequent first. */
function summed(hows: readonly string[]): string[] {
  const sums = new Map<string, number>()
  for (const how of hows) {
    const [name, count] = how.split(' ')
    sums.set(name, (sums.get(name) ?? 0) + Number(count))
  }
  return [...sums].sort((a, b) => b[1] - a[1]).map(([name, count]) => `${name} ${count}`)
}

export function describeFailure({ setup, steps, what }: Failure, seed: number): string[] {
  const options = `permission=${setup.permission} irqchip=${setup.irqchip}`
  return [
    `FAILED (seed ${seed}): ${what}`,
    `  on ${setup.cpu}, ${setup.kernel}, ${options}, after`,
    ...steps.map((s) => `    ${printStep(s)}`),
  ]
}
