/** A line of `worldswitch explore --list --json`. */
export interface Listed {
  readonly name: string
  readonly title: string
  readonly kernel: string
  readonly bound: number
  readonly invariants: readonly { readonly name: string; readonly says: string }[]
  readonly variants: readonly {
    readonly name: string
    readonly mistake: string
    readonly source: string
    readonly kernel: string
    readonly bound: number
  }[]
}

const TABLES = { scenarios: scenarioTable, invariants: invariantTable, variants: variantTable }
export type TableName = keyof typeof TABLES

/** Tables of docs/explore.md, from what the command knows. */
export const exploreTable = (name: TableName, listed: readonly Listed[]): string => TABLES[name](listed)

const row = (...cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
const table = (heads: readonly string[], rows: readonly string[]): string =>
  [row(...heads), `|${heads.map(() => '---').join('|')}|`, ...rows].join('\n')
const code = (name: string): string => `\`${name}\``

function scenarioTable(listed: readonly Listed[]): string {
  const rows = listed.map(({ name, title, kernel, bound, variants }) =>
    row(code(name), title, code(kernel), String(bound), String(variants.length)),
  )
  return table(['scenario', 'what runs', 'kernel', 'preemptions', 'mistakes'], rows)
}

function invariantTable(listed: readonly Listed[]): string {
  const says = new Map(
    listed.flatMap(({ invariants }) => invariants.map((invariant) => [invariant.name, invariant.says] as const)),
  )
  const rows = [...says].map(([name, text]) => {
    const where = listed.filter(({ invariants }) => invariants.some((invariant) => invariant.name === name))
    return row(code(name), text, where.length === listed.length ? 'all' : where.map((scenario) => code(scenario.name)).join(', '))
  })
  return table(['invariant', 'what has to hold', 'in'], rows)
}

function variantTable(listed: readonly Listed[]): string {
  const rows = listed.flatMap(({ name, kernel, variants }) =>
    variants.map((variant) => {
      const under = variant.kernel === kernel ? '' : ` (under ${code(variant.kernel)})`
      return row(code(name), code(variant.name), `${variant.mistake}${under}`, variant.source)
    }),
  )
  return table(['scenario', '`--variant`', 'mistake', 'from'], rows)
}
