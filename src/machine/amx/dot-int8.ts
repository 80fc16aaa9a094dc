import type { MachineMemory } from '../machine-memory.ts'

/** Bytes of the two sources as TDPBSSD, TDPBSUD, TDPBUSD and TDPBUUD take them: the third letter is source 1, the fourth source 2. */
export interface Int8Signs {
  readonly signed1: boolean
  readonly signed2: boolean
}

const source1 = new Int32Array(16 * 64)
const source2 = new Int32Array(16 * 64)

/**
 * destination[m][n] += sum over k of source1[m][4k..4k+3] . source2[k][4n..4n+3], modulo 2^32. Offsets in wasm memory, rows 64
 * bytes apart. SDM Vol. 2 "TDPBSSD/TDPBSUD/TDPBUSD/TDPBUUD".
 */
export function dotInt8(
  memory: MachineMemory,
  destination: number,
  tile1: number,
  tile2: number,
  m: number,
  k: number,
  n: number,
  signs: Int8Signs,
): void {
  const { i32 } = memory
  widen(memory.u8, tile1, m, 4 * k, signs.signed1, source1)
  widenTransposed(memory.u8, tile2, k, n, signs.signed2, source2)
  const depth = 4 * k
  for (let row = 0; row < m; row++) {
    const a0 = row * 64
    const out = (destination + row * 64) >>> 2
    for (let column = 0; column < n; column++) {
      const b0 = column * 64
      let sum = i32[out + column]
      for (let i = 0; i < depth; i += 4) {
        sum =
          (sum +
            Math.imul(source1[a0 + i], source2[b0 + i]) +
            Math.imul(source1[a0 + i + 1], source2[b0 + i + 1]) +
            Math.imul(source1[a0 + i + 2], source2[b0 + i + 2]) +
            Math.imul(source1[a0 + i + 3], source2[b0 + i + 3])) |
          0
      }
      i32[out + column] = sum
    }
  }
}

function widen(u8: Uint8Array, tile: number, rows: number, bytes: number, signed: boolean, into: Int32Array): void {
  const shift = signed ? 24 : 0
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < bytes; i++) into[row * 64 + i] = (u8[tile + row * 64 + i] << shift) >> shift
  }
}

/** Row k holds four bytes for each column; afterwards row n holds the bytes of column n in the order of k. */
function widenTransposed(u8: Uint8Array, tile: number, k: number, n: number, signed: boolean, into: Int32Array): void {
  const shift = signed ? 24 : 0
  for (let row = 0; row < k; row++) {
    for (let i = 0; i < 4 * n; i++) into[(i >> 2) * 64 + row * 4 + (i & 3)] = (u8[tile + row * 64 + i] << shift) >> shift
  }
}
