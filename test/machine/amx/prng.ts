/** The generator and hash that the recorded vectors use (test/fixtures/amx/README.md), on 32-bit halves. */

/** xorshift64*: `bytes` bytes of the stream that starts from `seed`, 8 per value, little endian, the last value cut. */
export function xorshift(bytes: number, seed: bigint): Uint8Array {
  const out = new Uint8Array(bytes)
  let lo = Number(seed & 0xffff_ffffn) | 0
  let hi = Number((seed >> 32n) & 0xffff_ffffn) | 0
  for (let i = 0; i < bytes; i += 8) {
    lo ^= (lo >>> 12) | (hi << 20)
    hi ^= hi >>> 12
    hi ^= (hi << 25) | (lo >>> 7)
    lo ^= lo << 25
    lo ^= (lo >>> 27) | (hi << 5)
    hi ^= hi >>> 27
    const [productLo, productHi] = multiply(lo, hi, 0x4f6cdd1d, 0x2545f491)
    for (let k = 0; k < 8 && i + k < bytes; k++) out[i + k] = (k < 4 ? productLo >>> (8 * k) : productHi >>> (8 * (k - 4))) & 0xff
  }
  return out
}

/** Product modulo 2^64 of two pairs of halves. */
function multiply(aLo: number, aHi: number, bLo: number, bHi: number): [number, number] {
  const a0 = aLo & 0xffff
  const a1 = aLo >>> 16
  const b0 = bLo & 0xffff
  const b1 = bLo >>> 16
  const middle = a1 * b0 + ((a0 * b0) >>> 16)
  const middle2 = a0 * b1 + (middle % 0x10000)
  const high = a1 * b1 + Math.floor(middle / 0x10000) + Math.floor(middle2 / 0x10000)
  return [Math.imul(aLo, bLo), (high + Math.imul(aHi, bLo) + Math.imul(aLo, bHi)) | 0]
}

/** FNV-1a 64 as 16 hexadecimal digits. The prime is 2^40 + 0x1b3. */
export function fnv1a(data: Uint8Array, from = 0, to: number = data.length): string {
  let lo = 0x84222325
  let hi = 0xcbf29ce4
  for (let i = from; i < to; i++) {
    lo = (lo ^ data[i]) >>> 0
    const low = lo * 0x1b3
    hi = (hi * 0x1b3 + Math.floor(low / 0x1_0000_0000) + lo * 0x100) % 0x1_0000_0000
    lo = low % 0x1_0000_0000
  }
  return hi.toString(16).padStart(8, '0') + lo.toString(16).padStart(8, '0')
}

export function fromHex(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16))
}
export function toHex(data: Uint8Array): string {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
