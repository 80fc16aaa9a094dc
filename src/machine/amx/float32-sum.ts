/**
 * Float32 arithmetic of the AMX dot products, exact: round to nearest even, denormal inputs already replaced by zero, tiny
 * results (after rounding) flushed to a signed zero, no MXCSR (SDM Vol. 2 "TDPBF16PS", "TDPFP16PS"). Numbers here are doubles.
 */

/** Smallest normal float32, 2^-126. */
const SMALLEST_NORMAL = 2 ** -126
/** What rounds up to it when the exponent is unbounded: 2^-126 - 2^-151, half way from the value below (24-bit precision). */
const ROUNDS_TO_NORMAL = 2 ** -126 - 2 ** -151

/** Largest float32, and the middle between it and what would come next: from there on results are infinite. */
const LARGEST = (2 - 2 ** -23) * 2 ** 127
const OVERFLOWS = LARGEST + 2 ** 103

/**
 * float32 of `product + addend`, rounded once: a fused multiply-add whose product, of two bfloat16 or float16, is exact as a
 * double. The double sum can lose bits below its 53; that matters only where it falls on the middle between two float32.
 */
export function fusedSum(product: number, addend: number): number {
  const sum = product + addend
  const rounded = Math.fround(sum)
  const mirrored = sum + (sum - rounded)
  if ((mirrored === rounded || Math.fround(mirrored) !== mirrored) && (rounded > SMALLEST_NORMAL || rounded < -SMALLEST_NORMAL))
    return rounded
  return fusedSumSlow(product, addend, sum, rounded)
}

/** The rest: zeros, tiny results, infinities, NaN, and sums in the middle between two float32. */
function fusedSumSlow(product: number, addend: number, sum: number, rounded: number): number {
  if (Math.abs(sum) < ROUNDS_TO_NORMAL) return sum < 0 || Object.is(sum, -0) ? -0 : 0
  // What the double sum lost (Knuth's two-sum): its sign breaks the tie.
  const part = sum - product
  const lost = product - (sum - part) + (addend - part)
  if (!(lost !== 0 && Number.isFinite(lost))) return rounded
  const neighbour = Number.isFinite(rounded) ? sum + (sum - rounded) : Math.sign(sum) * LARGEST
  if (Math.fround(neighbour) !== neighbour || Math.abs(sum) > OVERFLOWS) return rounded
  return lost > 0 === neighbour > rounded ? neighbour : rounded
}

/** float32 of the sum of two float32. Rounding the double sum again does no harm (53 >= 2 * 24 + 2). */
export function flushedSum(x: number, y: number): number {
  const sum = Math.fround(x + y)
  return sum > -SMALLEST_NORMAL && sum < SMALLEST_NORMAL && sum !== 0 ? (sum < 0 ? -0 : 0) : sum
}
