import * as v from 'valibot'
import { type Decoded, decode, type Fields, type StructLayout } from '../../kvm/abi/struct-layout.ts'

/** Structures of the KVM ABI as JSON: field names as in C, 64-bit values as `0x…`, narrower ones as numbers. */

/** A u64. */
export const hex64 = v.pipe(
  v.string(),
  v.regex(/^0x[0-9a-f]{1,16}$/, 'a 64-bit number is written 0x…'),
  v.transform((text) => BigInt(text)),
)
/** A whole number that fits 32 bits. */
export const u32 = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffffffff))
/** A whole number below 2^53: a size or an offset. */
export const size = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

type Json = string | number | Json[] | { [name: string]: Json }

/** For JSON.stringify. */
export function toJson(value: unknown): Json {
  if (typeof value === 'bigint') return `0x${BigInt.asUintN(64, value).toString(16)}`
  if (typeof value === 'number') return value
  if (Array.isArray(value)) return value.map(toJson)
  return Object.fromEntries(Object.entries(value as object).map(([name, field]) => [name, toJson(field)]))
}

/** What `toJson` made of a structure: every field must be there. */
export function structSchema<F extends Fields>(layout: StructLayout<F>): v.GenericSchema<unknown, Decoded<F>> {
  const zero = decode(layout, new DataView(new ArrayBuffer(layout.size)))
  return schemaLike(zero) as unknown as v.GenericSchema<unknown, Decoded<F>>
}

function schemaLike(sample: unknown): v.GenericSchema {
  if (typeof sample === 'bigint') return hex64
  if (typeof sample === 'number') return u32
  if (Array.isArray(sample)) return v.pipe(v.array(schemaLike(sample[0])), v.length(sample.length))
  return v.strictObject(Object.fromEntries(Object.entries(sample as object).map(([name, field]) => [name, schemaLike(field)])))
}
