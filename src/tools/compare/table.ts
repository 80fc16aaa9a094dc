import type { Comparison } from './compare.ts'

const WIDEST = 60

/** A comparison as text. @param all also rows in which every profile agrees */
export function comparisonTable({ scenario, cpu, profiles, rows }: Comparison, all: boolean): string[] {
  const shown = rows.filter((row) => all || row.differs)
  const lines = [`${scenario} on ${cpu}: ${rows.filter((row) => row.differs).length} of ${rows.length} observations differ`]
  for (const row of shown) {
    lines.push(`${row.isCost ? '  cost: ' : '  '}${row.what}${row.differs ? '' : '  (same)'}`)
    if (!row.differs) {
      lines.push(`      ${row.results[0] ?? 'not reached'}`)
      continue
    }
    const width = Math.max(...profiles.map((name) => name.length)) + 2
    profiles.forEach((name, i) => {
      lines.push(...wrapped(`      ${name.padEnd(width)}`, row.results[i] ?? 'not reached'))
    })
  }
  return lines
}

/** Long results go on below where they began. */
function wrapped(head: string, text: string): string[] {
  if (text.length <= WIDEST) return [head + text]
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + word.length >= WIDEST) {
      lines.push(line)
      line = ''
    }
    line += (line === '' ? '' : ' ') + word
  }
  lines.push(line)
  return lines.map((part, i) => (i === 0 ? head : ' '.repeat(head.length)) + part)
}
