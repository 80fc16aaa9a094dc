import type { Row, Unit } from './rows.ts'

/** A row with its ratios: ours over theirs, in the row's unit. For seconds small is good, for rates large. */
export interface ReportedRow extends Row {
  ratioToQemu: number | null
  ratioToNative: number | null
}

const ratio = (ours: number | null, theirs: number | null) =>
  ours === null || theirs === null || theirs === 0 ? null : Number((ours / theirs).toPrecision(3))

/** @param comparable false where a ratio to qemu would compare different things */
export function reported(row: Row, comparable: boolean): ReportedRow {
  return {
    row: row.row,
    native: row.native,
    qemu: row.qemu,
    worldswitch: row.worldswitch,
    ratioToQemu: comparable ? ratio(row.worldswitch, row.qemu) : null,
    ratioToNative: ratio(row.worldswitch, row.native),
    unit: row.unit,
    ...(row.ratioToCopy === undefined ? {} : { ratioToCopy: row.ratioToCopy }),
  }
}

const COLUMNS = ['native', 'qemu', 'worldswitch', '/ qemu', '/ native', '/ copy'] as const
const NAME_WIDTH = 44
const WIDTH = 12

const AMOUNTS: Readonly<Record<Unit, (value: number) => string>> = {
  s: (value) => `${value.toFixed(3)} s`,
  '1/s': (value) => `${Math.round(value).toLocaleString('en-US')}/s`,
  ns: (value) => `${Math.round(value)} ns`,
}

export const tableHead = () => `${''.padEnd(NAME_WIDTH)}${COLUMNS.map((name) => name.padStart(WIDTH)).join('')}`

export function tableRow(row: ReportedRow): string {
  const amount = (value: number | null) => (value === null ? '-' : AMOUNTS[row.unit](value))
  const times = (value: number | null | undefined) => (value == null ? '-' : `${value}`)
  const ratios = [row.ratioToQemu, row.ratioToNative, row.ratioToCopy].map(times)
  const cells = [amount(row.native), amount(row.qemu), amount(row.worldswitch), ...ratios]
  return `${row.row.padEnd(NAME_WIDTH)}${cells.map((cell) => cell.padStart(WIDTH)).join('')}`
}
