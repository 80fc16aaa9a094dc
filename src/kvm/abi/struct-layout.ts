/**
 * C structures of the ABI as tables: field name -> offset and type. One table serves the ioctl handlers, the typed client
 * and the documentation. u64/s64 decode to bigint, everything narrower to number.
 */

/** One field: where it is and how its bytes become a value. `bytes` is its size. */
export interface Field<T> {
  readonly offset: number
  readonly bytes: number
  read(view: DataView, at: number): T
  write(view: DataView, at: number, value: T): void
}

export type Fields = Record<string, Field<any>>
/** The JavaScript value of a structure. */
export type Decoded<F extends Fields> = { [K in keyof F]: F[K] extends Field<infer T> ? T : never }

export interface StructLayout<F extends Fields = Fields> {
  readonly name: string
  readonly size: number
  readonly fields: F
}

/** The JavaScript value of a layout. */
export type ValueOf<L> = L extends StructLayout<infer F> ? Decoded<F> : never

function scalar<T>(bytes: number, get: (v: DataView, at: number) => T, set: (v: DataView, at: number, x: T) => void) {
  return (offset: number): Field<T> => ({ offset, bytes, read: get, write: set })
}

export const u8 = scalar<number>(
  1,
  (v, at) => v.getUint8(at),
  (v, at, x) => v.setUint8(at, x),
)
export const s8 = scalar<number>(
  1,
  (v, at) => v.getInt8(at),
  (v, at, x) => v.setInt8(at, x),
)
export const u16 = scalar<number>(
  2,
  (v, at) => v.getUint16(at, true),
  (v, at, x) => v.setUint16(at, x, true),
)
export const u32 = scalar<number>(
  4,
  (v, at) => v.getUint32(at, true),
  (v, at, x) => v.setUint32(at, x, true),
)
export const s32 = scalar<number>(
  4,
  (v, at) => v.getInt32(at, true),
  (v, at, x) => v.setInt32(at, x, true),
)
export const u64 = scalar<bigint>(
  8,
  (v, at) => v.getBigUint64(at, true),
  (v, at, x) => v.setBigUint64(at, BigInt.asUintN(64, x), true),
)
export const s64 = scalar<bigint>(
  8,
  (v, at) => v.getBigInt64(at, true),
  (v, at, x) => v.setBigInt64(at, BigInt.asIntN(64, x), true),
)

/** `count` values of one scalar type, back to back. */
export function array<T>(of: (offset: number) => Field<T>, offset: number, count: number): Field<T[]> {
  const item = of(0)
  return {
    offset,
    bytes: item.bytes * count,
    read: (v, at) => Array.from({ length: count }, (_, i) => item.read(v, at + i * item.bytes)),
    write: (v, at, values) => {
      for (let i = 0; i < count; i++) if (i < values.length) item.write(v, at + i * item.bytes, values[i])
    },
  }
}

/** `count` raw bytes (copied). */
export function bytes(offset: number, count: number): Field<Uint8Array> {
  return {
    offset,
    bytes: count,
    read: (v, at) => new Uint8Array(v.buffer, v.byteOffset + at, count).slice(),
    write: (v, at, value) => new Uint8Array(v.buffer, v.byteOffset + at, count).set(value.subarray(0, count)),
  }
}

/** A structure inside a structure. */
export function nested<F extends Fields>(layout: StructLayout<F>, offset: number): Field<Decoded<F>> {
  return {
    offset,
    bytes: layout.size,
    read: (v, at) => decode(layout, v, at),
    write: (v, at, value) => encode(layout, value, v, at),
  }
}

/** `count` structures back to back. */
export function nestedArray<F extends Fields>(layout: StructLayout<F>, offset: number, count: number): Field<Decoded<F>[]> {
  return array((o) => nested(layout, o), offset, count)
}

/** @throws when a field does not fit or two fields overlap: the table itself is wrong. */
export function struct<F extends Fields>(name: string, size: number, fields: F): StructLayout<F> {
  const used: { key: string; from: number; to: number }[] = []
  for (const [key, field] of Object.entries(fields)) {
    const to = field.offset + field.bytes
    const clash = used.find((u) => field.offset < u.to && u.from < to)
    if (to > size || clash)
      throw new Error(`layout ${name}: field ${key} ${clash ? `overlaps ${clash.key}` : 'is outside the structure'}`)
    used.push({ key, from: field.offset, to })
  }
  return { name, size, fields }
}

/** Reads the structure at byte `at` of `view`. */
export function decode<F extends Fields>(layout: StructLayout<F>, view: DataView, at = 0): Decoded<F> {
  const value: Record<string, unknown> = {}
  for (const key in layout.fields) {
    const field = layout.fields[key]
    value[key] = field.read(view, at + field.offset)
  }
  return value as Decoded<F>
}

/** Writes the given fields of the structure at byte `at` of `view`; fields left out keep their bytes. */
export function encode<F extends Fields>(layout: StructLayout<F>, value: Partial<Decoded<F>>, view: DataView, at = 0): void {
  for (const key in value) {
    const field = layout.fields[key]
    if (field !== undefined && value[key] !== undefined) field.write(view, at + field.offset, value[key])
  }
}

/** A fresh zeroed buffer holding `value`. */
export function encoded<F extends Fields>(layout: StructLayout<F>, value: Partial<Decoded<F>>): Uint8Array {
  const buffer = new Uint8Array(layout.size)
  encode(layout, value, new DataView(buffer.buffer))
  return buffer
}
