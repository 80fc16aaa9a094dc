import { parseCpuSpec } from '../../isa/cpu-grammar.ts'
import { kernelProfiles } from '../../profiles/index.ts'
import { LOCKS } from './guest.ts'
import { PAUSE } from './observe.ts'
import type { Reason } from './reasons.ts'
import { MODES } from './situations.ts'
import type { WhyRow } from './why.ts'

const WIDEST = 118

interface Column {
  readonly name: string
  readonly width: number
  readonly right?: boolean
}
const COLUMNS: readonly Column[] = [
  { name: 'mode', width: 12 },
  { name: 'kernel', width: 26 },
  { name: 'with', width: 21 },
  { name: 'guest', width: 6 },
  { name: 'locks', width: 5, right: true },
  { name: '#AC', width: 3, right: true },
  { name: 'lost', width: 7, right: true },
  { name: 'each', width: 5, right: true },
  { name: 'burst', width: 5, right: true },
  { name: 'log', width: 3, right: true },
  { name: 'why', width: 4 },
]

/** A reason as it is printed once, with the first line of the kernel log that goes with it. */
interface Numbered {
  readonly reason: Reason
  readonly log: string | undefined
}

/** The answer as text, within 120 columns. */
export function whyTable(rows: readonly WhyRow[]): string[] {
  const numbered: Numbered[] = []
  const number = (reason: Reason, log: string | undefined): number => {
    const at = numbered.findIndex((known) => known.reason.why === reason.why)
    return at >= 0 ? at + 1 : numbered.push({ reason, log })
  }
  const everyKernel = new Set(rows.flatMap(({ kernels }) => kernels))
  const lines = head()
  for (const cpu of new Set(rows.map((row) => row.cpu))) {
    lines.push('', `${cpu}: ${abilities(cpu)}`, line(COLUMNS.map(({ name }) => name)))
    for (const row of rows.filter((r) => r.cpu === cpu)) {
      const reasons = row.reasons.map((reason, i) => number(reason, i === 0 ? row.log[0] : undefined))
      lines.push(...cells(row, kernelLabel(row.kernels, everyKernel), reasons))
    }
  }
  for (const [i, { reason, log }] of numbered.entries()) lines.push('', ...explanation(i + 1, reason, log))
  for (const crowded of alike(rows.filter(({ crowds }) => crowds.length > 0))) lines.push('', ...crowd(crowded, everyKernel))
  return lines
}

const head = (): string[] => [
  `A guest in ring 0 takes ${LOCKS} split locks ${PAUSE / 1e6} ms apart, then ${LOCKS} in a burst, on hosts with each split_lock_detect=.`,
  `locks: completed of ${2 * LOCKS}; #AC: taken by the host; lost: time lost on the first ${LOCKS} against split_lock_detect=off, and at`,
  'each of them; burst: lost on that; log: lines in the kernel log of the host.',
]

function abilities(cpu: string): string {
  const model = parseCpuSpec(cpu)
  const able = [
    ...(model.splitLockDetect ? ['split-lock detection (#AC)'] : []),
    ...(model.has('bus-lock-detect') ? ['bus-lock debug exception (#DB)'] : []),
  ]
  return able.length === 0 ? 'neither split-lock detection nor bus-lock debug exception' : able.join(' and ')
}

function cells(row: WhyRow, kernels: readonly string[], reasons: readonly number[]): string[] {
  const { lostMs, ending } = row
  const slowed = lostMs !== null && lostMs.apart + lostMs.burst > 0
  const guest =
    ending === 'ran' ? (slowed ? 'slowed' : 'runs') : ending === 'killed' ? row.signals.map(({ name }) => name).join(' ') : ending
  const lost = lostMs === null ? ['-', '-', '-'] : [ms(lostMs.apart), ms(lostMs.each), ms(lostMs.burst)]
  const columns = [
    row.modes.length === MODES.length ? ['any'] : row.modes.map((mode, i) => (i < row.modes.length - 1 ? `${mode},` : mode)),
    kernels,
    options(row),
    [guest],
    [String(row.completed)],
    [String(row.traps)],
    ...lost.map((text) => [text]),
    [String(row.log.length)],
    [reasons.join(' ')],
  ]
  const height = Math.max(...columns.map((column) => column.length))
  return Array.from({ length: height }, (_, i) => line(columns.map((column) => column[i] ?? '')))
}

const ms = (value: number): string => (value === 0 ? '0' : `${Math.round(value * 10) / 10} ms`)

function options({ mitigate, guestDetects, busLockExit }: WhyRow): string[] {
  return [
    ...(mitigate === null ? [] : [`split_lock_mitigate=${mitigate ? 1 : 0}`]),
    ...(guestDetects ? ["guest's own detection"] : []),
    ...(busLockExit ? ['BUS_LOCK_EXIT'] : []),
  ]
}

function line(texts: readonly string[]): string {
  const padded = COLUMNS.map(({ width, right }, i) => (right ? texts[i].padStart(width) : texts[i].padEnd(width)))
  return `  ${padded.join('  ')}`.trimEnd()
}

/** Releases that follow one another are a range. */
function kernelLabel(kernels: readonly string[], every: ReadonlySet<string>): string[] {
  if (every.size > 1 && kernels.length === every.size) return ['every kernel']
  const order = kernelProfiles.map(({ name }) => name)
  const sorted = [...kernels].sort((a, b) => order.indexOf(a) - order.indexOf(b))
  const ranges: { first: string; last: string; at: number }[] = []
  for (const name of sorted) {
    const last = ranges.at(-1)
    const at = order.indexOf(name)
    if (last !== undefined && at === last.at + 1 && name.startsWith('linux-'))
      ranges[ranges.length - 1] = { ...last, last: name, at }
    else ranges.push({ first: name, last: name, at })
  }
  return ranges.map(({ first, last }) => (first === last ? first : `${first} to ${last}`))
}

function explanation(number: number, { why, rules, todo }: Reason, log: string | undefined): string[] {
  const label = `${number}`.padStart(2)
  return [
    ...wrapped(`${label}  `, `${why} (${rules.join(', ')})`),
    ...(log === undefined ? [] : wrapped('    log: ', log)),
    ...wrapped('    do:  ', todo),
  ]
}

/** Rows in groups of the same loss. */
function alike(rows: readonly WhyRow[]): WhyRow[][] {
  const groups = new Map<string, WhyRow[]>()
  for (const row of rows) {
    const key = JSON.stringify([row.lostMs, row.crowds])
    groups.set(key, [...(groups.get(key) ?? []), row])
  }
  return [...groups.values()]
}

function crowd(rows: readonly WhyRow[], every: ReadonlySet<string>): string[] {
  const [{ lostMs, crowds }] = rows
  const kernels = kernelLabel([...new Set(rows.flatMap((row) => row.kernels))], every)
  const each = [{ vcpus: 1, eachMs: lostMs!.each }, ...crowds].map(({ vcpus, eachMs }) => `${ms(eachMs)} with ${vcpus}`)
  return wrapped(
    '',
    `With more vCPUs that do the same at the same time, each on a processor of its own (slowed as above, ${kernels.join(', ')}), each ` +
      `lock costs ${each.join(', ')}: only one processor at a time runs undetected, for two jiffies (buslock_sem; SLD-19).`,
  )
}

/** Lines of at most WIDEST characters; those after the first are as far in as `head` is long. */
function wrapped(before: string, text: string): string[] {
  const lines: string[] = []
  let current = ''
  for (const word of text.split(' ')) {
    if (current !== '' && before.length + current.length + 1 + word.length > WIDEST) {
      lines.push(current)
      current = ''
    }
    current += (current === '' ? '' : ' ') + word
  }
  lines.push(current)
  return lines.map((part, i) => (i === 0 ? before : ' '.repeat(before.length)) + part)
}
