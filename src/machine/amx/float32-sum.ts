/**
 * Float32 arithmetic of the AMX dot products, exact: round to nearest even, denormal inputs already replaced by zero, tiny
 * results (after rounding) flushed to a signed zero, no MXCSR (SDM Vol. 2 "TDPBF16PS", "TDPFP16PS"). Numbers here are doubles.
 *
 * Why a double sum, rounded again, is a fused multiply-add: the product of two bfloat16 has at most 16 significant bits, of two
 * float16 at most 22, so it is exact as a double, and a float32 unless it is out of range. The addend is a float32. If the
 * double sum loses bits, one of the two is below 2^-28 of the other; then the sum is so near to the larger one, a float32, that
 * both ways of rounding give that. (Out of range: a product too large gives infinity either way, one below 2^-126 meets an
 * addend that is zero or far above it.)
 */

/** Smallest normal float32, 2^-126. */
export const SMALLEST_NORMAL = 2 ** -126
/** What rounds up to it when the exponent is unbounded: 2^-126 - 2^-151, half way from the value below (24-bit precision). */
const ROUNDS_TO_NORMAL = 2 ** -126 - 2 ** -151

/** float32 of `product + addend`, rounded once. */
export function fusedSum(product: number, addend: number): number {
  const sum = product + addend
  const rounded = Math.fround(sum)
  if (Math.abs(rounded) > SMALLEST_NORMAL) return rounded
  return Math.abs(sum) < ROUNDS_TO_NORMAL ? sum * 0 : rounded
}

/** float32 of the sum of two float32. Rounding the double sum again does no harm (53 >= 2 * 24 + 2). */
export function flushedSum(x: number, y: number): number {
  const sum = Math.fround(x + y)
  return Math.abs(sum) < SMALLEST_NORMAL ? sum * 0 : sum
}
