/** 128-bit unsigned integers as four 32-bit words, lowest first. */

/** w >>= n; anything lost sets bit 0. */
export function shiftRight128(w: Int32Array, n: number): void {
  let lost = 0
  if (n >= 128) {
    lost = w[0] | w[1] | w[2] | w[3]
    w.fill(0)
  } else {
    for (; n >= 32; n -= 32) {
      lost |= w[0]
      w[0] = w[1]
      w[1] = w[2]
      w[2] = w[3]
      w[3] = 0
    }
    if (n !== 0) {
      lost |= w[0] << (32 - n)
      w[0] = (w[0] >>> n) | (w[1] << (32 - n))
      w[1] = (w[1] >>> n) | (w[2] << (32 - n))
      w[2] = (w[2] >>> n) | (w[3] << (32 - n))
      w[3] >>>= n
    }
  }
  if (lost !== 0) w[0] |= 1
}

/** w <<= n, 0 <= n < 128 */
export function shiftLeft128(w: Int32Array, n: number): void {
  for (; n >= 32; n -= 32) {
    w[3] = w[2]
    w[2] = w[1]
    w[1] = w[0]
    w[0] = 0
  }
  if (n === 0) return
  w[3] = (w[3] << n) | (w[2] >>> (32 - n))
  w[2] = (w[2] << n) | (w[1] >>> (32 - n))
  w[1] = (w[1] << n) | (w[0] >>> (32 - n))
  w[0] <<= n
}

export function leadingZeros128(w: Int32Array): number {
  if (w[3] !== 0) return Math.clz32(w[3])
  if (w[2] !== 0) return 32 + Math.clz32(w[2])
  if (w[1] !== 0) return 64 + Math.clz32(w[1])
  return 96 + Math.clz32(w[0])
}

export function compare128(a: Int32Array, b: Int32Array): number {
  for (let i = 3; i >= 0; i--) if (a[i] !== b[i]) return a[i] >>> 0 > b[i] >>> 0 ? 1 : -1
  return 0
}

/** a += b; true when a carry left the top. */
export function add128(a: Int32Array, b: Int32Array): boolean {
  let carry = 0
  for (let i = 0; i < 4; i++) {
    const sum = (a[i] >>> 0) + (b[i] >>> 0) + carry
    a[i] = sum | 0
    carry = sum > 0xffffffff ? 1 : 0
  }
  return carry !== 0
}

/** out = a - b, where a >= b. */
export function subtract128(out: Int32Array, a: Int32Array, b: Int32Array): void {
  let borrow = 0
  for (let i = 0; i < 4; i++) {
    const difference = (a[i] >>> 0) - (b[i] >>> 0) - borrow
    out[i] = difference | 0
    borrow = difference < 0 ? 1 : 0
  }
}
