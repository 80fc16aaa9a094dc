/** The 64-byte tile configuration: as LDTILECFG reads it, as TILECFG holds it. SDM Vol. 2 "LDTILECFG", Table 3-10. */

export const TILECFG_SIZE = 64
export const TILECFG_PALETTE = 0
export const TILECFG_START_ROW = 1
/** Bytes per row of tile n: u16 at TILECFG_COLSB + 2 * n. */
export const TILECFG_COLSB = 16
/** Rows of tile n: u8 at TILECFG_ROWS + n. */
export const TILECFG_ROWS = 48

/** Palette 1, the only one (CPUID leaf 0x1D subleaf 1): eight tiles of 16 rows of 64 bytes. */
export const MAX_PALETTE = 1
export const TILE_COUNT = 8
export const MAX_ROWS = 16
export const MAX_COLSB = 64

/**
 * Why LDTILECFG refuses a configuration with #GP(0), or null. Palette 0 is the initial configuration: its other bytes are
 * not looked at. start_row may be anything, and colsb need not be a multiple of 4: instructions that use the tile refuse it.
 */
export function tileConfigurationError(u8: Uint8Array, config: number): string | null {
  const palette = u8[config + TILECFG_PALETTE]
  if (palette > MAX_PALETTE) return 'LDTILECFG: unsupported palette'
  if (palette === 0) return null
  if (anyByteSet(u8, config + 2, config + TILECFG_COLSB)) return 'LDTILECFG: reserved bytes 2..15 must be zero'
  for (let tile = 0; tile < TILE_COUNT; tile++) {
    const colsb = u8[config + TILECFG_COLSB + 2 * tile] | (u8[config + TILECFG_COLSB + 2 * tile + 1] << 8)
    const rows = u8[config + TILECFG_ROWS + tile]
    if (colsb > MAX_COLSB) return 'LDTILECFG: more bytes per row than the palette has'
    if (rows > MAX_ROWS) return 'LDTILECFG: more rows than the palette has'
    if (rows === 0 && colsb !== 0) return 'LDTILECFG: a tile with bytes per row but no rows'
    if (rows !== 0 && colsb === 0) return 'LDTILECFG: a tile with rows but no bytes per row'
  }
  if (anyByteSet(u8, config + TILECFG_COLSB + 2 * TILE_COUNT, config + TILECFG_ROWS))
    return 'LDTILECFG: colsb of tiles the palette lacks (bytes 32..47)'
  if (anyByteSet(u8, config + TILECFG_ROWS + TILE_COUNT, config + TILECFG_SIZE))
    return 'LDTILECFG: rows of tiles the palette lacks (bytes 56..63)'
  return null
}

function anyByteSet(u8: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (u8[i] !== 0) return true
  return false
}

/** Writes the configuration that `config` asks for: itself, or zeros if it is palette 0. It must be without error. */
export function copyTileConfiguration(u8: Uint8Array, target: number, config: number): void {
  if (u8[config + TILECFG_PALETTE] === 0) u8.fill(0, target, target + TILECFG_SIZE)
  else u8.copyWithin(target, config, config + TILECFG_SIZE)
}
