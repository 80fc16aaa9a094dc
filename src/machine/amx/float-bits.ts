/** Bit patterns of float32 and float16, as signed 32-bit numbers. */

/** What an invalid operation gives: the quiet NaN with the sign set (SDM Vol. 1 §4.8.3.7). */
export const QNAN_INDEFINITE = 0xffc00000 | 0

export function isNaNBits(float32: number): boolean {
  return (float32 & 0x7fffffff) > 0x7f800000
}
export function quiet(nan: number): number {
  return nan | 0x00400000
}

/** Exact: every float16 is a normal float32, zero, infinity or NaN (whose payload moves up). */
export function float16ToFloat32Bits(half: number): number {
  const sign = (half & 0x8000) << 16
  const exponent = (half >>> 10) & 31
  const fraction = half & 0x3ff
  if (exponent === 31) return sign | 0x7f800000 | (fraction << 13)
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (fraction << 13)
  if (fraction === 0) return sign
  const shift = Math.clz32(fraction) - 21
  return sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13)
}
