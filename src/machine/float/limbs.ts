/**
 * Long division and square root in digits of 22 bits: doubles hold products of two digits and their sums exactly, and the
 * quotient of two doubles estimates a digit to within one.
 */

export const LIMB = 0x400000
/** 1 / LIMB, exactly; multiplying is faster. */
export const PER_LIMB = 2 ** -22
export const LIMB_MASK = 0x3fffff

/** floor(remainder * 2^22 / divisor); the remainder is left in the limbs. */
export function quotientDigit(r: Float64Array, divisor: number, b2: number, b1: number, b0: number): number {
  const r2 = r[2]
  const r1 = r[1]
  const r0 = r[0]
  // The estimate is off by at most one: three roundings of 2^-53 against 23 bits.
  let q = Math.floor((((r2 * LIMB + r1) * LIMB + r0) / divisor) * LIMB)
  let t0 = -q * b0
  let t1 = r0 - q * b1
  let t2 = r1 - q * b2 + r2 * LIMB
  let carry = Math.floor(t0 * PER_LIMB)
  t0 -= carry * LIMB
  t1 += carry
  carry = Math.floor(t1 * PER_LIMB)
  t1 -= carry * LIMB
  t2 += carry
  if (t2 < 0) {
    q--
    t0 += b0
    t1 += b1
    t2 += b2
  } else if (t2 > b2 || (t2 === b2 && (t1 > b1 || (t1 === b1 && t0 >= b0)))) {
    q++
    t0 -= b0
    t1 -= b1
    t2 -= b2
  }
  carry = Math.floor(t0 * PER_LIMB)
  r[0] = t0 - carry * LIMB
  t1 += carry
  carry = Math.floor(t1 * PER_LIMB)
  r[1] = t1 - carry * LIMB
  r[2] = t2 + carry
  return q
}

/**
 * One more digit q of a root whose digits so far are `s` (one, or with `two` two of them): remainder * 2^44 + next two
 * limbs - (2 * s * 2^22 + q) * q >= 0, the largest such q.
 */
export function rootDigit(r: Float64Array, s: number, two: number, n1: number, n0: number): number {
  const sHigh = two ? Math.floor(s * PER_LIMB) : 0
  const sLow = two ? s - sHigh * LIMB : s
  const remainder = (r[2] * LIMB + r[1]) * LIMB + r[0]
  let q = Math.min(Math.floor(((remainder * LIMB + n1) / s) * 0.5) + 1, LIMB_MASK)
  let t0 = 0
  let t1 = 0
  let t2 = 0
  let t3 = 0
  for (; ; q--) {
    t0 = n0 - q * q
    t1 = n1 - 2 * sLow * q
    t2 = r[0] - 2 * sHigh * q
    t3 = r[1] + r[2] * LIMB
    let carry = Math.floor(t0 * PER_LIMB)
    t0 -= carry * LIMB
    t1 += carry
    carry = Math.floor(t1 * PER_LIMB)
    t1 -= carry * LIMB
    t2 += carry
    carry = Math.floor(t2 * PER_LIMB)
    t2 -= carry * LIMB
    t3 += carry
    if (t3 >= 0) break
  }
  r[0] = t0
  r[1] = t1
  r[2] = t2
  r[3] = t3
  return q
}
