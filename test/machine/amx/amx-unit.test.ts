import { beforeEach, describe, expect, test } from 'vitest'
import { AmxUnit, TILE_DOT, type TileMemory } from '../../../src/machine/amx/amx-unit.ts'
import { MachineMemory } from '../../../src/machine/machine-memory.ts'
import { PROCESSOR_BASE, SCRATCH_BASE, TILEDATA, TILES_IN_USE, XFD, XFD_ERR } from '../../../src/machine/memory-map.ts'

const memory = new MachineMemory(0x10000)
const unit = new AmxUnit(memory, PROCESSOR_BASE)
const CONFIG = SCRATCH_BASE
const UD = 6
const NM = 7
const GP = 13

function configuration(shapes: readonly [rows: number, colsb: number][], startRow = 0): number {
  memory.u8.fill(0, CONFIG, CONFIG + 64)
  memory.u8[CONFIG] = 1
  memory.u8[CONFIG + 1] = startRow
  for (const [tile, [rows, colsb]] of shapes.entries()) {
    memory.u8[CONFIG + 48 + tile] = rows
    memory.view.setUint16(CONFIG + 16 + 2 * tile, colsb, true)
  }
  return CONFIG
}
const setXfd = (value: number): void => memory.view.setUint32(PROCESSOR_BASE + XFD, value, true)
const xfdErr = (): number => memory.view.getUint32(PROCESSOR_BASE + XFD_ERR, true)

/** Every row of memory is full of its row number; asks are remembered. */
class Rows implements TileMemory {
  readonly addresses: string[] = []
  failAt = -1
  readRow(lo: number, hi: number, bytes: number, destination: number): number {
    if (this.addresses.length === this.failAt) return 14
    this.addresses.push(`${(hi >>> 0).toString(16)}:${(lo >>> 0).toString(16)}`)
    memory.u8.fill(this.addresses.length, destination, destination + bytes)
    return 0
  }
  writeRow(lo: number, hi: number): number {
    return this.readRow(lo, hi, 0, 0)
  }
}

beforeEach(() => {
  setXfd(0)
  memory.view.setUint32(PROCESSOR_BASE + XFD_ERR, 0, true)
  unit.release()
})

describe('XINUSE[18]', () => {
  const inUse = (): number => memory.view.getUint32(PROCESSOR_BASE + TILES_IN_USE, true)
  const zeros: TileMemory = { readRow: () => 0, writeRow: () => 0 }

  test('counts a tile that was written, even with zeros, until TILEZERO, LDTILECFG or TILERELEASE [recorded: amx.use]', () => {
    const shape = configuration(Array(3).fill([4, 16]))
    unit.loadConfig(shape)
    expect(unit.zero(0)).toBe(0)
    expect(inUse()).toBe(0)
    unit.load(1, 0, 0, 64, 0, zeros)
    unit.dot(TILE_DOT.TDPBSSD, 2, 0, 1)
    expect(inUse()).toBe(0b110)
    unit.zero(2)
    expect(inUse()).toBe(0b010)
    unit.loadConfig(shape)
    expect(inUse()).toBe(0)
    unit.load(1, 0, 0, 64, 0, zeros)
    unit.release()
    expect(inUse()).toBe(0)
  })
})

describe('IA32_XFD and tiles', () => {
  const square: [number, number][] = [
    [4, 16],
    [4, 16],
    [4, 16],
  ]
  test.each([
    ['TILEZERO', () => unit.zero(0)],
    ['TILELOADD', () => unit.load(0, 0, 0, 64, 0, new Rows())],
    ['TILESTORED', () => unit.store(0, 0, 0, 64, 0, new Rows())],
    ['TDPBSSD', () => unit.dot(TILE_DOT.TDPBSSD, 0, 1, 2)],
    ['TDPBF16PS', () => unit.dot(TILE_DOT.TDPBF16PS, 0, 1, 2)],
  ])('%s raises #NM and IA32_XFD_ERR names tile data [PERM-35]', (_, run) => {
    expect(unit.loadConfig(configuration(square))).toBe(0)
    setXfd(0x40000)
    expect(run()).toBe(NM)
    expect(xfdErr()).toBe(0x40000)
    setXfd(0)
    expect(run()).toBe(0)
  })

  test('the configuration can be loaded, stored and released with tile data disabled [PERM-39]', () => {
    setXfd(0x40000)
    expect(unit.loadConfig(configuration(square))).toBe(0)
    unit.storeConfig(SCRATCH_BASE + 64)
    expect(memory.u8.slice(SCRATCH_BASE + 64, SCRATCH_BASE + 128)).toEqual(memory.u8.slice(CONFIG, CONFIG + 64))
    unit.release()
    expect(xfdErr()).toBe(0)
  })

  test('tiles that are not configured are a #UD before #NM', () => {
    setXfd(0x40000)
    expect(unit.zero(0)).toBe(UD)
    expect(unit.reason).toBe('tiles are not configured')
    expect(xfdErr()).toBe(0)
  })
})

describe('addresses of rows', () => {
  const addresses = (baseLo: number, baseHi: number, strideLo: number, strideHi: number): string[] => {
    unit.loadConfig(configuration([[3, 64]]))
    const rows = new Rows()
    expect(unit.load(0, baseLo, baseHi, strideLo, strideHi, rows)).toBe(0)
    return rows.addresses
  }
  test('carry into the upper half', () =>
    expect(addresses(0xffffffc0 | 0, 0x7ffe, 0x40, 0)).toEqual(['7ffe:ffffffc0', '7fff:0', '7fff:40']))
  test('negative stride', () => expect(addresses(0x40, 1, -64, -1)).toEqual(['1:40', '1:0', '0:ffffffc0']))
  test('stride beyond 32 bits', () => expect(addresses(0, 0, 8, 3)).toEqual(['0:0', '3:8', '6:10']))
})

test('LDTILECFG zeroes all tiles; palette 0 is the initial configuration whatever else the bytes are', () => {
  unit.loadConfig(configuration([[2, 8]]))
  memory.u8.fill(7, PROCESSOR_BASE + TILEDATA, PROCESSOR_BASE + TILEDATA + 8192)
  memory.u8.fill(0xff, CONFIG + 1, CONFIG + 64)
  memory.u8[CONFIG] = 0
  expect(unit.loadConfig(CONFIG)).toBe(0)
  expect(memory.u8.subarray(PROCESSOR_BASE + TILEDATA, PROCESSOR_BASE + TILEDATA + 8192).every((b) => b === 0)).toBe(true)
  unit.storeConfig(CONFIG)
  expect(memory.u8.subarray(CONFIG, CONFIG + 64).every((b) => b === 0)).toBe(true)
})

test('a refused LDTILECFG says why and changes nothing', () => {
  unit.loadConfig(configuration([[2, 8]]))
  memory.u8.fill(7, PROCESSOR_BASE + TILEDATA, PROCESSOR_BASE + TILEDATA + 16)
  expect(unit.loadConfig(configuration([[17, 8]]))).toBe(GP)
  expect(unit.reason).toBe('LDTILECFG: more rows than the palette has')
  expect(memory.u8[PROCESSOR_BASE + TILEDATA]).toBe(7)
})

test('a row that faults leaves its number in start_row, and the rows before it in the tile', () => {
  unit.loadConfig(configuration([[3, 64]]))
  const rows = new Rows()
  rows.failAt = 2
  expect(unit.load(0, 0, 0, 64, 0, rows)).toBe(14)
  unit.storeConfig(CONFIG)
  expect(memory.u8[CONFIG + 1]).toBe(2)
  expect([0, 1, 2].map((row) => memory.u8[PROCESSOR_BASE + TILEDATA + 64 * row])).toEqual([1, 2, 0])
  rows.failAt = -1
  expect(unit.load(0, 0, 0, 64, 0, rows)).toBe(0)
  expect(rows.addresses).toEqual(['0:0', '0:40', '0:80'])
  unit.storeConfig(CONFIG)
  expect(memory.u8[CONFIG + 1]).toBe(0)
})
