/**
 * Elementary functions on numbers with arbitrarily long significands, for the x87 transcendental instructions. A relative
 * error below 2^-150 leaves correct rounding to 64 bits to chance only in theory.
 */

/** (-1)^negative * magnitude * 2^exponent */
export interface BigFloat {
  readonly negative: boolean
  readonly magnitude: bigint
  readonly exponent: number
}

/** Fraction bits of the fixed-point series. */
const BITS = 192
const SCALE = BigInt(BITS)
const ONE = 1n << SCALE

/** ln 2 and pi / 4, truncated to 256 fraction bits. */
const LN2 = 0xb17217f7d1cf79abc9e3b39803f2f6af40f343267298b62d8a0d175b8baafa2bn
const QUARTER_PI = 0xc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22n
const CONSTANT_BITS = 256

/** pi / 2 as processors know it: 66 significant bits (SDM Vol. 1 §8.3.8). */
const HALF_PI_66 = 0xc90fdaa22168c234cn >> 2n
const HALF_PI_66_EXPONENT = -65

export function bigFloat(negative: boolean, magnitude: bigint, exponent: number): BigFloat {
  return { negative, magnitude, exponent }
}

export function bigPi(): BigFloat {
  return { negative: false, magnitude: QUARTER_PI, exponent: 2 - CONSTANT_BITS }
}

export function bigMultiply(a: BigFloat, b: BigFloat): BigFloat {
  return { negative: a.negative !== b.negative, magnitude: a.magnitude * b.magnitude, exponent: a.exponent + b.exponent }
}

/** Bits up to and including the leading one; 0 for 0. */
export function bitLength(magnitude: bigint): number {
  if (magnitude === 0n) return 0
  const digits = magnitude.toString(16)
  return 4 * digits.length - (Math.clz32(Number.parseInt(digits[0], 16)) - 28)
}

/** The value in fixed point (truncated toward zero), with its sign. */
function toFixed(x: BigFloat): bigint {
  const shift = x.exponent + BITS
  const fixed = shift >= 0 ? x.magnitude << BigInt(shift) : -shift > 8192 ? 0n : x.magnitude >> BigInt(-shift)
  return x.negative ? -fixed : fixed
}

/** x times a fixed-point factor near 1: keeps the relative precision of small x. */
function scale(x: BigFloat, factor: bigint): BigFloat {
  return { negative: x.negative, magnitude: x.magnitude * factor, exponent: x.exponent - BITS }
}

function fixedMultiply(a: bigint, b: bigint): bigint {
  return (a * b) >> SCALE
}

/** Moves a factor that has come out as exactly 1 to its true side of it. */
function besideOne(factor: bigint, direction: bigint): bigint {
  return factor === ONE ? ONE + direction : factor
}

/** 2^x - 1 for 0 < |x| < 1: y (1 + y/2! + y^2/3! ..) with y = x ln 2. */
export function bigPowerOfTwoMinusOne(x: BigFloat): BigFloat {
  const y = { negative: x.negative, magnitude: x.magnitude * LN2, exponent: x.exponent - CONSTANT_BITS }
  const fixed = toFixed(y)
  let factor = ONE
  let term = ONE
  for (let n = 2n; term !== 0n && term !== -1n; n++) {
    term = fixedMultiply(term, fixed) / n
    factor += term
  }
  return scale(y, besideOne(factor, x.negative ? -1n : 1n))
}

/** log2(x), or log2(1 + x) for x > -1, by 2 atanh((m - 1) / (m + 1)) / ln 2 with m in [1/sqrt 2, sqrt 2]. */
export function bigLog2(x: BigFloat, plusOne: boolean): BigFloat {
  let numerator = x.magnitude
  let denominator: bigint
  let characteristic = 0
  let exponent = x.exponent
  let negative = x.negative
  const length = bitLength(x.magnitude)
  if (plusOne && exponent + length < -1) {
    // |x| < 1/4: m = 1 + x, and (m - 1) / (m + 1) = x / (2 + x) without cancellation.
    const shift = Math.min(-exponent, 4096)
    const two = 2n << BigInt(shift)
    const aligned = -exponent > shift ? 0n : x.magnitude
    denominator = negative ? two - aligned : two + aligned
    exponent += shift
  } else {
    if (plusOne) {
      // Exact: x has at most 64 bits and |x| >= 1/4.
      const unit = Math.min(exponent, 0)
      const sum =
        (1n << BigInt(-unit)) + (negative ? -(x.magnitude << BigInt(exponent - unit)) : x.magnitude << BigInt(exponent - unit))
      return bigLog2({ negative: false, magnitude: sum, exponent: unit }, false)
    }
    characteristic = exponent + length - 1
    // m = magnitude / 2^(length - 1) in [1, 2); above sqrt 2 halve it.
    let unit = 1n << BigInt(length - 1)
    if (x.magnitude * x.magnitude > unit * unit * 2n) {
      characteristic++
      unit <<= 1n
    }
    numerator = x.magnitude - unit
    denominator = x.magnitude + unit
    negative = numerator < 0n
    if (negative) numerator = -numerator
    exponent = 0
    if (numerator === 0n) return integer(characteristic)
  }
  // t = numerator / denominator with BITS significant bits and more.
  const extra = BITS + bitLength(denominator) - Math.min(bitLength(numerator), bitLength(denominator))
  const t = { negative, magnitude: (numerator << BigInt(extra)) / denominator, exponent: exponent - extra }
  const fixed = toFixed(t)
  const square = fixedMultiply(fixed, fixed)
  let factor = ONE
  let power = ONE
  for (let n = 3n; power !== 0n; n += 2n) {
    power = fixedMultiply(power, square)
    factor += power / n
  }
  const logarithm = scale(t, besideOne(factor, 1n))
  // 2 * logarithm / ln 2
  const fraction = {
    negative,
    magnitude: (logarithm.magnitude << BigInt(CONSTANT_BITS + BITS + 1)) / LN2,
    exponent: logarithm.exponent - BITS,
  }
  if (characteristic === 0) return fraction
  const sum = (BigInt(characteristic) << SCALE) + toFixed(fraction)
  return { negative: sum < 0n, magnitude: sum < 0n ? -sum : sum, exponent: -BITS }
}

function integer(value: number): BigFloat {
  return { negative: value < 0, magnitude: BigInt(Math.abs(value)), exponent: 0 }
}

/** atan2(y, x) for finite non-zero numbers. */
export function bigAtan(y: BigFloat, x: BigFloat): BigFloat {
  const yLength = bitLength(y.magnitude)
  const xLength = bitLength(x.magnitude)
  const distance = yLength + y.exponent - (xLength + x.exponent)
  const swap = distance !== 0 ? distance > 0 : y.magnitude << BigInt(xLength) > x.magnitude << BigInt(yLength)
  const small = swap ? x : y
  const large = swap ? y : x
  const ratio = {
    negative: false,
    magnitude: (small.magnitude << BigInt(BITS + 64)) / large.magnitude,
    exponent: small.exponent - large.exponent - BITS - 64,
  }
  const angle = arcTangent(ratio)
  if (!swap && !x.negative) return { ...angle, negative: y.negative }
  // pi/2 -+ angle, or pi - angle.
  const fixed = toFixed(angle)
  const halfPi = QUARTER_PI >> BigInt(CONSTANT_BITS - BITS - 1)
  const result = swap ? (x.negative ? halfPi + fixed : halfPi - fixed) : 2n * halfPi - fixed
  return { negative: y.negative, magnitude: result, exponent: -BITS }
}

/** atan of sixteenths, in fixed point. */
const sixteenths: bigint[] = []

/** atan(t) for 0 < t <= 1. */
function arcTangent(t: BigFloat): BigFloat {
  const fixed = toFixed(t)
  const nearest = Number((fixed * 32n + ONE) >> (SCALE + 1n))
  if (nearest === 0) return scale(t, besideOne(arcTangentFactor(fixedMultiply(fixed, fixed)), -1n))
  // atan t = atan c + atan((t - c) / (1 + t c)), c = nearest / 16
  const c = BigInt(nearest)
  const difference = ((fixed * 16n - c * ONE) << SCALE) / (16n * ONE + fixed * c)
  sixteenths[nearest] ??= tabulatedArcTangent(nearest)
  const rest = fixedMultiply(difference, arcTangentFactor(fixedMultiply(difference, difference)))
  return { negative: false, magnitude: sixteenths[nearest] + rest, exponent: -BITS }
}

/** 1 - s/3 + s^2/5 .. for s = t^2. */
function arcTangentFactor(square: bigint): bigint {
  let factor = ONE
  let power = ONE
  for (let n = 3n; power !== 0n; n += 2n) {
    power = fixedMultiply(power, square)
    factor += n & 2n ? -(power / n) : power / n
  }
  return factor
}

/** atan(n / 16) from Euler's series, which converges up to 1: the sum of 2^2k k!^2 / (2k+1)! * t^(2k+1) / (1 + t^2)^(k+1). */
function tabulatedArcTangent(n: number): bigint {
  const t = BigInt(n)
  const divisor = 256n + t * t
  let term = (ONE * 16n * t) / divisor
  let sum = term
  for (let k = 1n; term !== 0n; k++) {
    term = (term * 2n * k * t * t) / ((2n * k + 1n) * divisor)
    sum += term
  }
  return sum
}

/** x - quarters * pi/2 in [-pi/4, pi/4], exact in the processors' 66-bit pi; quarters modulo 4. */
export function reduceByQuarterTurns(x: BigFloat): { remainder: BigFloat; quarters: number } {
  const length = bitLength(x.magnitude)
  if (x.exponent + length < 0) return { remainder: x, quarters: 0 }
  const unit = Math.min(x.exponent, HALF_PI_66_EXPONENT)
  const halfPi = HALF_PI_66 << BigInt(HALF_PI_66_EXPONENT - unit)
  const value = x.magnitude << BigInt(x.exponent - unit)
  const quotient = (2n * value + halfPi) / (2n * halfPi)
  const rest = value - quotient * halfPi
  const negative = rest < 0n !== x.negative
  const quarters = Number(quotient & 3n)
  return {
    remainder: { negative, magnitude: rest < 0n ? -rest : rest, exponent: unit },
    quarters: x.negative ? -quarters & 3 : quarters,
  }
}

/** sin x for |x| <= pi/4 */
export function bigSine(x: BigFloat): BigFloat {
  const fixed = toFixed(x)
  return scale(x, besideOne(alternating(fixedMultiply(fixed, fixed), 2n), -1n))
}

/** cos x for |x| <= pi/4 */
export function bigCosine(x: BigFloat): BigFloat {
  const fixed = toFixed(x)
  return { negative: false, magnitude: besideOne(alternating(fixedMultiply(fixed, fixed), 1n), -1n), exponent: -BITS }
}

/** 1 - s / (n (n+1)) + s^2 / (n (n+1) (n+2) (n+3)) .. */
function alternating(square: bigint, first: bigint): bigint {
  let sum = ONE
  let term = ONE
  for (let n = first; ; n += 4n) {
    term = fixedMultiply(term, square) / (n * (n + 1n))
    sum -= term
    term = fixedMultiply(term, square) / ((n + 2n) * (n + 3n))
    sum += term
    if (term === 0n) return sum
  }
}
