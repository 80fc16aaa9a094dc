import { XFEATURE_MASK_XTILE_DATA } from '../../isa/xfeatures.ts'
import type { MachineMemory } from '../machine-memory.ts'
import { TILE_SCRATCH, TILE_STRIDE, TILECFG, TILEDATA, TILES_IN_USE, XFD, XFD_ERR } from '../memory-map.ts'
import { FAULT_GP, FAULT_NM, FAULT_UD, NO_FAULT } from '../xsave/forms.ts'
import { dotFloat, type FloatDot } from './dot-float.ts'
import { dotInt8, type Int8Dot } from './dot-int8.ts'
import {
  copyTileConfiguration,
  MAX_COLSB,
  TILE_COUNT,
  TILECFG_COLSB,
  TILECFG_PALETTE,
  TILECFG_ROWS,
  TILECFG_SIZE,
  TILECFG_START_ROW,
  tileConfigurationError,
} from './tile-config.ts'

/**
 * How TILELOADD and TILESTORED reach memory, one row at a time. The address is the effective address (64 bits in two signed
 * halves): adding the segment base and cutting it to the address size is done behind this interface. Each call returns 0 or a
 * code of the implementer's own, which ends the instruction; then nothing of that row may have been moved.
 */
export interface TileMemory {
  /** Copies `bytes` bytes (4..64) from memory to wasm offset `destination`. */
  readRow(addressLo: number, addressHi: number, bytes: number, destination: number): number
  writeRow(addressLo: number, addressHi: number, bytes: number, source: number): number
}

/** The dot products. SDM Vol. 2; chains and order of the complex ones: "TCMMIMFP16PS/TCMMRLFP16PS". */
export const TILE_DOT = {
  TDPBSSD: { signs: 'SS' },
  TDPBSUD: { signs: 'SU' },
  TDPBUSD: { signs: 'US' },
  TDPBUUD: { signs: 'UU' },
  TDPBF16PS: { bfloat16: true, crossed: false, negateSecond: false },
  TDPFP16PS: { bfloat16: false, crossed: false, negateSecond: false },
  /** Pairs are (real, imaginary): imaginary * real + real * imaginary. */
  TCMMIMFP16PS: { bfloat16: false, crossed: true, negateSecond: false },
  /** real * real - imaginary * imaginary. */
  TCMMRLFP16PS: { bfloat16: false, crossed: false, negateSecond: true },
} as const satisfies Record<string, Int8Dot | FloatDot>
export type TileDot = (typeof TILE_DOT)[keyof typeof TILE_DOT]

/**
 * The tile registers and instructions of one logical processor (SDM Vol. 1 Chapter 18). Methods return NO_FAULT or the vector;
 * `reason` then says why. #UD of the tile configuration comes before #NM of IA32_XFD. The caller has checked what does not
 * depend on tiles: encoding, 64-bit mode, CR4.OSXSAVE, XCR0[18:17]. No instruction here looks at or changes MXCSR.
 */
export class AmxUnit {
  reason = ''
  private readonly memory: MachineMemory
  private readonly base: number
  private readonly config: number
  private readonly tiles: number

  /** @param base wasm offset of the processor's register file */
  constructor(memory: MachineMemory, base: number) {
    this.memory = memory
    this.base = base
    this.config = base + TILECFG
    this.tiles = base + TILEDATA
  }

  // ---- configuration --------------------------------------------------------------------------------------------

  /** LDTILECFG of the 64 bytes at wasm offset `source`. IA32_XFD does not matter (PERM-39). */
  loadConfig(source: number): number {
    const error = tileConfigurationError(this.memory.u8, source)
    if (error !== null) return this.fault(FAULT_GP, error)
    copyTileConfiguration(this.memory.u8, this.config, source)
    this.zeroTiles()
    return NO_FAULT
  }

  /** STTILECFG: the 64 bytes, zeros while tiles are not configured. */
  storeConfig(destination: number): void {
    this.memory.u8.copyWithin(destination, this.config, this.config + TILECFG_SIZE)
  }

  /** TILERELEASE. */
  release(): void {
    this.memory.u8.fill(0, this.config, this.config + TILECFG_SIZE)
    this.zeroTiles()
  }

  private zeroTiles(): void {
    this.memory.u8.fill(0, this.tiles, this.tiles + TILE_COUNT * TILE_STRIDE)
    this.tilesInUse = 0
  }

  /** A tile that was written counts as in use whatever was written; TILEZERO ends that (recorded: amx.use, sigframe). */
  private get tilesInUse(): number {
    return this.memory.i32[(this.base + TILES_IN_USE) >>> 2]
  }
  private set tilesInUse(tiles: number) {
    this.memory.i32[(this.base + TILES_IN_USE) >>> 2] = tiles
  }

  private rows(tile: number): number {
    return this.memory.u8[this.config + TILECFG_ROWS + tile]
  }
  private colsb(tile: number): number {
    return this.memory.u16[(this.config + TILECFG_COLSB + 2 * tile) >>> 1]
  }
  /** Wasm offset of a tile's first row; rows are MAX_COLSB apart. */
  private tileAt(tile: number): number {
    return this.tiles + tile * TILE_STRIDE
  }

  private get startRow(): number {
    return this.memory.u8[this.config + TILECFG_START_ROW]
  }
  private set startRow(row: number) {
    this.memory.u8[this.config + TILECFG_START_ROW] = row
  }

  // ---- checks ---------------------------------------------------------------------------------------------------

  private fault(vector: number, reason: string): number {
    this.reason = reason
    return vector
  }

  /** Whether a tile may be an operand: #UD reasons that concern it alone, or null. */
  private tileError(tile: number): string | null {
    if (this.memory.u8[this.config + TILECFG_PALETTE] === 0) return 'tiles are not configured'
    if (this.rows(tile) === 0 || this.colsb(tile) === 0) return 'the tile has no rows in this configuration'
    if (this.colsb(tile) % 4 !== 0) return 'the bytes per row of the tile are no multiple of 4'
    return null
  }

  /** #NM if IA32_XFD disables tile data; IA32_XFD_ERR then says so (SDM Vol. 1 §13.14; PERM-35). */
  private disabled(): boolean {
    const { i32 } = this.memory
    const disabled = i32[(this.base + XFD) >>> 2] & XFEATURE_MASK_XTILE_DATA
    if (disabled !== 0) i32[(this.base + XFD_ERR) >>> 2] = disabled
    return disabled !== 0
  }

  /** #UD for `error`, which comes first, or #NM. */
  private check(error: string | null): number {
    if (error !== null) return this.fault(FAULT_UD, error)
    if (this.disabled()) return this.fault(FAULT_NM, 'IA32_XFD disables tile data')
    return NO_FAULT
  }

  /** TILELOADD and TILESTORED also refuse a start_row that the tile does not have. */
  private rowsError(tile: number): string | null {
    return this.tileError(tile) ?? (this.startRow < this.rows(tile) ? null : 'start_row is beyond the rows of the tile')
  }

  private dotError(destination: number, source1: number, source2: number): string | null {
    if (destination === source1 || destination === source2 || source1 === source2) return 'the same tile twice'
    const error = this.tileError(destination) ?? this.tileError(source1) ?? this.tileError(source2)
    if (error !== null) return error
    if (this.rows(destination) !== this.rows(source1)) return 'rows of destination and source 1 differ'
    if (this.colsb(destination) !== this.colsb(source2)) return 'columns of destination and source 2 differ'
    if (this.colsb(source1) / 4 !== this.rows(source2)) return 'columns of source 1 and rows of source 2 differ'
    return null
  }

  // ---- instructions ---------------------------------------------------------------------------------------------

  /** TILEZERO. */
  zero(tile: number): number {
    const fault = this.check(this.tileError(tile))
    if (fault !== NO_FAULT) return fault
    this.memory.u8.fill(0, this.tileAt(tile), this.tileAt(tile) + TILE_STRIDE)
    this.tilesInUse &= ~(1 << tile)
    this.startRow = 0
    return NO_FAULT
  }

  /**
   * TILELOADD and TILELOADDT1: row r from base + r * stride. Starts at start_row and leaves there the row that a memory fault
   * stopped at, so that running the instruction again finishes it. Returns 0, a vector, or what `memory` returned.
   */
  load(tile: number, baseLo: number, baseHi: number, strideLo: number, strideHi: number, memory: TileMemory): number {
    const fault = this.check(this.rowsError(tile))
    if (fault !== NO_FAULT) return fault
    const { u8 } = this.memory
    const rows = this.rows(tile)
    const colsb = this.colsb(tile)
    this.tilesInUse |= 1 << tile
    // Rows that are not there yet are zero, also after a fault.
    u8.fill(0, this.tileAt(tile) + this.startRow * MAX_COLSB, this.tileAt(tile) + TILE_STRIDE)
    for (let row = this.startRow; row < rows; row++) {
      const low = (baseLo >>> 0) + (strideLo >>> 0) * row
      const at = this.tileAt(tile) + row * MAX_COLSB
      const stopped = memory.readRow(low | 0, rowHigh(low, baseHi, strideHi, row), colsb, at)
      if (stopped !== 0) {
        this.startRow = row
        return stopped
      }
    }
    this.startRow = 0
    return NO_FAULT
  }

  /** TILESTORED, restartable like `load`. */
  store(tile: number, baseLo: number, baseHi: number, strideLo: number, strideHi: number, memory: TileMemory): number {
    const fault = this.check(this.rowsError(tile))
    if (fault !== NO_FAULT) return fault
    const rows = this.rows(tile)
    for (let row = this.startRow; row < rows; row++) {
      const low = (baseLo >>> 0) + (strideLo >>> 0) * row
      const at = this.tileAt(tile) + row * MAX_COLSB
      const stopped = memory.writeRow(low | 0, rowHigh(low, baseHi, strideHi, row), this.colsb(tile), at)
      if (stopped !== 0) {
        this.startRow = row
        return stopped
      }
    }
    this.startRow = 0
    return NO_FAULT
  }

  /** TDP* and TCMM*: all rows whatever start_row says, which is 0 afterwards; the rest of the destination tile is zeroed. */
  dot(operation: TileDot, destination: number, source1: number, source2: number): number {
    const fault = this.check(this.dotError(destination, source1, source2))
    if (fault !== NO_FAULT) return fault
    const out = this.tileAt(destination)
    const m = this.rows(destination)
    const k = this.rows(source2)
    const n = this.colsb(destination) / 4
    if ('signs' in operation) dotInt8(this.memory, out, this.tileAt(source1), this.tileAt(source2), m, k, n, operation.signs)
    else dotFloat(this.memory, this.base + TILE_SCRATCH, out, this.tileAt(source1), this.tileAt(source2), m, k, n, operation)
    this.zeroOutside(out, m, 4 * n)
    this.tilesInUse |= 1 << destination
    this.startRow = 0
    return NO_FAULT
  }

  private zeroOutside(tile: number, rows: number, colsb: number): void {
    const { u8 } = this.memory
    if (colsb < MAX_COLSB)
      for (let row = 0; row < rows; row++) u8.fill(0, tile + row * MAX_COLSB + colsb, tile + (row + 1) * MAX_COLSB)
    u8.fill(0, tile + rows * MAX_COLSB, tile + TILE_STRIDE)
  }
}

/** Upper half of base + stride * row, whose lower half before the carry is `low` (exact: below 2^37). */
function rowHigh(low: number, baseHi: number, strideHi: number, row: number): number {
  return (baseHi + Math.imul(strideHi, row) + Math.floor(low / 0x1_0000_0000)) | 0
}
