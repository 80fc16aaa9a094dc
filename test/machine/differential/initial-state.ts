import { CaseRecord, fromHex, MEMORY_BYTES, RSP_START } from './record-layout.ts'

/** What registers and memory are filled with: plain bits, or numbers of a format with its special values among them. */
export type Filling = 'bits' | 'half' | 'single' | 'double'

/** What a case changes of the state its seed gives. Numbers are hexadecimal text. */
export interface Overrides {
  /** General registers by number. */
  g?: Record<string, string>
  /** RFLAGS, whole. */
  f?: string
  /** Bytes of the window: [offset, bytes]. */
  m?: [number, string][]
  /** Vector registers: from byte 0 on. */
  z?: Record<string, string>
  k?: Record<string, string>
  mxcsr?: string
  x87?: string
}

/** Marsaglia's xorshift32: the same numbers everywhere. */
export class Random {
  private state: number
  constructor(seed: number) {
    this.state = (Math.imul(seed + 1, 0x9e3779b1) ^ 0x5bd1e995) >>> 0 || 1
    for (let i = 0; i < 4; i++) this.next()
  }
  next(): number {
    let x = this.state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.state = x >>> 0
    return this.state
  }
  below(n: number): number {
    return (this.next() >>> 7) % n
  }
  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]
  }
  u64(): bigint {
    return (BigInt(this.next()) << 32n) | BigInt(this.next())
  }
}

const U64 = (1n << 64n) - 1n

/** A value that finds edges more often than random bits do. */
export function interestingInteger(r: Random): bigint {
  const width = r.pick([8n, 16n, 32n, 64n])
  switch (r.below(8)) {
    case 0:
      return 0n
    case 1:
      return (1n << width) - 1n
    case 2:
      return 1n << (width - 1n)
    case 3:
      return (1n << (width - 1n)) - 1n
    case 4:
      return BigInt(r.below(256))
    case 5:
      return U64 - BigInt(r.below(256))
    default:
      return r.u64()
  }
}

const SPECIAL: Record<Exclude<Filling, 'bits'>, { values: bigint[] }> = {
  half: { values: [0n, 0x8000n, 0x3c00n, 0xbc00n, 0x7c00n, 0xfc00n, 0x7e00n, 0x7d01n, 1n, 0x83ffn, 0x400n, 0x7bffn] },
  single: {
    values: [
      0n,
      0x80000000n,
      0x3f800000n,
      0xbf800000n,
      0x7f800000n,
      0xff800000n,
      0x7fc00000n,
      0x7f812345n,
      1n,
      0x807fffffn,
      0x800000n,
      0x7f7fffffn,
      0x4effffffn,
      0x4f000000n,
      0x5f000000n,
    ],
  },
  double: {
    values: [
      0n,
      1n << 63n,
      0x3ff0000000000000n,
      0xbff0000000000000n,
      0x7ff0000000000000n,
      0xfff0000000000000n,
      0x7ff8000000000000n,
      0xfff0000000000123n,
      1n,
      0x800fffffffffffffn,
      0x10000000000000n,
      0x7fefffffffffffffn,
      0x41dfffffffc00000n,
      0x41e0000000000000n,
      0x43e0000000000000n,
      0x36a0000000000000n,
    ],
  },
}

/** Formats without BigInt: a state has two thousand numbers, and tests make ten thousand states. Values are [low, high] halves. */
const FORMATS = {
  half: { bytes: 2, exponentBits: 5, specials: halves(SPECIAL.half.values) },
  single: { bytes: 4, exponentBits: 8, specials: halves(SPECIAL.single.values) },
  double: { bytes: 8, exponentBits: 11, specials: halves(SPECIAL.double.values) },
} as const

function halves(values: readonly bigint[]): readonly (readonly [number, number])[] {
  return values.map((value) => [Number(value & 0xffffffffn), Number(value >> 32n)] as const)
}

/** The number made last. */
let low = 0
let high = 0

/** A finite number of moderate size of a format: few exponents, so that sums round and cancel. */
function moderate(r: Random, filling: Exclude<Filling, 'bits'>): void {
  const { exponentBits } = FORMATS[filling]
  const bias = (1 << (exponentBits - 1)) - 1
  const exponent = bias - 4 + r.below(9)
  const [upper, lower] = [r.next(), r.next()]
  // A third of the fractions have four bits only.
  const isShort = r.below(3) === 0
  const sign = r.below(2)
  if (filling === 'double') {
    high = (sign << 31) | (exponent << 20) | (isShort ? (upper >>> 28) << 16 : upper >>> 12)
    low = isShort ? 0 : (upper << 20) | (lower >>> 12)
  } else if (filling === 'single') low = (sign << 31) | (exponent << 23) | (isShort ? (upper >>> 28) << 19 : upper >>> 9)
  else low = (sign << 15) | (exponent << 10) | (isShort ? (upper >>> 28) << 6 : upper >>> 22)
}

function fill(bytes: Uint8Array, r: Random, filling: Filling): void {
  if (filling === 'bits') {
    for (let i = 0; i < bytes.length; i++) bytes[i] = r.next() >>> 9
    return
  }
  const { bytes: size, specials } = FORMATS[filling]
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let at = 0; at + size <= bytes.length; at += size) {
    const kind = r.below(8)
    if (kind < 2) {
      const special = r.pick(specials)
      low = special[0]
      high = special[1]
    } else if (kind < 7) moderate(r, filling)
    else {
      high = r.next()
      low = r.next()
    }
    if (size === 2) view.setUint16(at, low, true)
    else view.setUint32(at, low, true)
    if (size === 8) view.setUint32(at + 4, high, true)
  }
}

/** The state a seed stands for. Recorded results depend on it: changing it means recording everything again. */
export function initialState(mode: number, code: Uint8Array, seed: number, filling: Filling, set: Overrides): CaseRecord {
  const r = new Random(seed)
  const record = new CaseRecord()
  record.mode = mode
  record.code = code
  for (let n = 0; n < 16; n++) record.setGpr(n, interestingInteger(r))
  record.setGpr(4, BigInt(RSP_START))
  record.rflags = 0x202 | (r.next() & 0x8d5)
  record.mxcsr = 0x1f80
  for (let k = 0; k < 8; k++) record.setOpmask(k, interestingInteger(r))
  record.x87.set([0x7f, 0x03])
  fill(record.memory.subarray(0, MEMORY_BYTES), r, filling)
  for (let n = 0; n < 32; n++) fill(record.zmm(n), r, filling)
  override(record, set)
  if (mode === 32) for (let n = 0; n < 8; n++) record.setGpr(n, record.gpr(n) & 0xffffffffn)
  return record
}

export function override(record: CaseRecord, set: Overrides): void {
  for (const [n, v] of Object.entries(set.g ?? {})) record.setGpr(Number(n), BigInt(`0x${v}`) & U64)
  if (set.f !== undefined) record.rflags = Number.parseInt(set.f, 16)
  for (const [offset, bytes] of set.m ?? []) record.memory.set(fromHex(bytes), offset)
  for (const [n, v] of Object.entries(set.z ?? {})) record.zmm(Number(n)).set(fromHex(v))
  for (const [n, v] of Object.entries(set.k ?? {})) record.setOpmask(Number(n), BigInt(`0x${v}`))
  if (set.mxcsr !== undefined) record.mxcsr = Number.parseInt(set.mxcsr, 16)
  if (set.x87 !== undefined) record.x87.set(fromHex(set.x87))
}
