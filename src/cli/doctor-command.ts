import { refusalJson } from '../tools/explain.ts'
import type { Check, Surroundings } from './doctor/check.ts'
import { checksOf } from './doctor/checks.ts'
import { parseFacts } from './doctor/facts.ts'
import { probeModelledHost, probeThisMachine } from './doctor/run-probe.ts'
import { oneLine, report } from './report.ts'

export interface DoctorOptions {
  readonly json: boolean
  /** Either makes doctor ask a modelled host. */
  readonly cpu?: string
  readonly kernel?: string
}

/** What a host is good for: this machine, or a modelled one. Exit status 0 whatever was found. */
export async function doctorCommand(options: DoctorOptions): Promise<number> {
  try {
    const modelled = options.cpu !== undefined || options.kernel !== undefined
    const cpu = options.cpu ?? 'SapphireRapids'
    const kernel = options.kernel ?? 'linux-6.12'
    const { output, around } = modelled
      ? await probeModelledHost({ cpu, kernel, cpus: 2, memory: 256 << 20, seed: 1 })
      : probeThisMachine()
    const facts = parseFacts(output)
    const cutShort =
      around.probeFailure === null && !facts.complete ? 'it ended before it had asked everything' : around.probeFailure
    const where: Surroundings = { ...around, probeFailure: cutShort }
    const checks = checksOf(facts, where)
    process.stdout.write(options.json ? asJson(where, checks) : asText(where, checks))
    return 0
  } catch (error) {
    return report(error)
  }
}

function asJson({ where, modelled }: Surroundings, checks: readonly Check[]): string {
  const rows = checks.map(({ chain, ...check }) => ({
    ...check,
    ...(chain === undefined ? {} : { chain: chainJson(chain) }),
  }))
  return `${JSON.stringify({ host: where, modelled, checks: rows }, null, 2)}\n`
}

/** As refusals have it. */
const chainJson = (chain: NonNullable<Check['chain']>) =>
  refusalJson({ outcome: '', errno: 0, rule: '', asked: null, bits: null, sides: [], chain, sentence: '' })['chain']

const INDENT = ' '.repeat(9)

export function asText({ where }: Surroundings, checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ title }) => title.length))
  const lines = [where]
  for (const { verdict, title, value, means, todo, chain } of checks) {
    lines.push(`${verdict.padEnd(8)} ${title.padEnd(width)}  ${oneLine(value)}`)
    lines.push(`${INDENT}${' '.repeat(width)}  ${oneLine(means)}`)
    for (const { gate, what, value: of, verdict: its } of chain ?? []) {
      lines.push(`${INDENT}${' '.repeat(width)}  ${its === 'refused' ? 'NO' : 'ok'} ${gate}: ${what} = 0x${of.toString(16)}`)
    }
    if (todo !== '') lines.push(`${INDENT}${' '.repeat(width)}  try: ${oneLine(todo)}`)
  }
  return `${lines.join('\n')}\n`
}
