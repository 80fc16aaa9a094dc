import { describe, expect, test } from 'vitest'
import { reported, tableHead, tableRow } from '../../scripts/bench/table.ts'

const loop = { row: 'integer loop', native: 2, qemu: 4, worldswitch: 10, unit: 's' } as const

describe('a row of the benchmark', () => {
  test('has ratios of ours over theirs', () => {
    expect(reported(loop, true)).toEqual({ ...loop, ratioToQemu: 2.5, ratioToNative: 5 })
  })

  test('has none to a peer that is not there, and none to qemu where it would compare different things', () => {
    expect(reported({ ...loop, qemu: null }, true)).toMatchObject({ ratioToQemu: null, ratioToNative: 5 })
    expect(reported(loop, false)).toMatchObject({ ratioToQemu: null, ratioToNative: 5 })
    expect(reported({ ...loop, worldswitch: null }, true)).toMatchObject({ ratioToQemu: null, ratioToNative: null })
  })

  test('is printed as wide as its head, in its unit', () => {
    const rate = { row: 'exits', native: null, qemu: null, worldswitch: 345678.9, unit: '1/s' } as const
    const rows = [reported(loop, true), reported(rate, true)].map(tableRow)
    expect(rows[0]).toContain('10.000 s')
    expect(rows[1]).toContain('345,679/s')
    expect(rows.map((row) => row.length)).toEqual([tableHead().length, tableHead().length])
  })
})
