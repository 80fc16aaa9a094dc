import type { Moment } from './schedule.ts'

/** A run as text: a lane for each processor, one step a line, the values after it in columns of their own. */
export function timeline(moments: readonly Moment[], processes: readonly string[]): string[] {
  if (moments.length === 0) return []
  const lanes = lanesOf(moments, processes)
  const columns = columnsOf(moments)
  const step = (moment: Moment, lane: string): string =>
    lane === moment.process ? `${moment.choice}${moment.preempts ? ' *' : ''}` : '|'
  const rows = [
    ['step', ...lanes, ...columns.map(({ name }) => name)],
    ...moments.map((moment, i) => [
      String(i + 1).padStart(4),
      ...lanes.map((lane) => step(moment, lane)),
      ...columns.map((column) => valueAt(moment, column)),
    ]),
  ]
  const widths = rows[0].map((_, x) => Math.max(...rows.map((row) => row[x].length)) + 2)
  const groups = groupsOf(columns)
  // Of a group whose name is wider than its columns the last one is wider.
  for (const { of, from, to } of groups) {
    const width = widths.slice(1 + lanes.length + from, 1 + lanes.length + to).reduce((sum, w) => sum + w, 0)
    widths[lanes.length + to] += Math.max(0, of.length + 2 - width)
  }
  const start = (column: number): number => widths.slice(0, 1 + lanes.length + column).reduce((sum, w) => sum + w, 0)
  const head = groups.reduce((line, { of, from }) => line.padEnd(start(from)) + of, '')
  const text = rows.map((row) =>
    row
      .map((cell, x) => cell.padEnd(widths[x]))
      .join('')
      .trimEnd(),
  )
  return [head, ...text, ...(moments.some(({ preempts }) => preempts) ? ['      * the task that was there is preempted'] : [])]
}

/** The processors, and whoever else does something. */
export function lanesOf(moments: readonly Moment[], processes: readonly string[]): string[] {
  return processes.filter((process) => moments.some((moment) => moment.process === process) || process.startsWith('cpu'))
}

export interface Column {
  readonly of: string
  readonly name: string
}

export function columnsOf([first]: readonly Moment[]): Column[] {
  return Object.entries(first?.values ?? {}).flatMap(([of, own]) => Object.keys(own).map((name) => ({ of, name })))
}

/** Runs of columns of the same thing: `from` up to before `to`. */
export function groupsOf(columns: readonly Column[]): { of: string; from: number; to: number }[] {
  const groups: { of: string; from: number; to: number }[] = []
  for (const [i, { of }] of columns.entries()) {
    const last = groups.at(-1)
    if (last?.of === of) last.to = i + 1
    else groups.push({ of, from: i, to: i + 1 })
  }
  return groups
}

export const valueAt = ({ values }: Moment, { of, name }: Column): string => String(values[of]?.[name] ?? '')
