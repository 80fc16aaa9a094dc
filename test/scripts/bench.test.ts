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

  test('says how many times as long as a plain copy it took, where it moves bytes', () => {
    const moved = { row: 'KVM_GET_XSAVE2', native: null, qemu: null, worldswitch: 2e5, unit: '1/s', ratioToCopy: 3.5 } as const
    expect(reported(moved, true)).toMatchObject({ ratioToCopy: 3.5 })
    expect(reported(loop, true)).not.toHaveProperty('ratioToCopy')
    expect(tableRow(reported(moved, true))).toMatch(/3\.5$/)
  })

  test('is printed as wide as its head, in its unit', () => {
    const rate = { row: 'exits', native: null, qemu: null, worldswitch: 345678.9, unit: '1/s' } as const
    const short = { row: 'switch', native: null, qemu: null, worldswitch: 566.4, unit: 'ns' } as const
    const rows = [loop, rate, short].map((row) => tableRow(reported(row, true)))
    expect(rows[0]).toContain('10.000 s')
    expect(rows[1]).toContain('345,679/s')
    expect(rows[2]).toContain('566 ns')
    expect(new Set(rows.map((row) => row.length))).toEqual(new Set([tableHead().length]))
  })
})
