import {
  CONVERT_IGNORE_DENORMAL,
  CONVERT_TRUNCATE,
  conversion,
  FLOAT_OP,
  FLOAT_UNMASKED,
  FloatUnit,
} from '../../../src/machine/float/float-unit.ts'
import * as element from '../../../src/machine/float/sse-convert.ts'

/** Byte offsets of the operands in a test's memory. */
const A = 64
const B = 128
const C = 192
const OUT = 256

export interface Group {
  name: string
  sizes: [number, number, number, number]
  count: number
  /** Offset of the first record. */
  start: number
  recordSize: number
}

export interface Mismatch {
  group: string
  mxcsr: string
  a: string
  b: string
  c: string
  expected: string
  actual: string
}

/** Reads the group headers of a file written by test/fixtures/float/gen.c. */
export function readGroups(bytes: Uint8Array): Group[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const groups: Group[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = bytes[at]
    const name = String.fromCharCode(...bytes.subarray(at + 1, at + 1 + length))
    at += 1 + length
    const sizes: Group['sizes'] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
    const count = view.getUint32(at + 4, true)
    at += 8
    const recordSize = 3 + sizes[0] + sizes[1] + sizes[2] + sizes[3]
    groups.push({ name, sizes, count, start: at, recordSize })
    at += count * recordSize
  }
  return groups
}

type Run = (unit: FloatUnit, mxcsr: number) => number

const ELEMENTS: Record<string, number> = {
  '64': element.ELEMENT_F64,
  '32': element.ELEMENT_F32,
  i32: element.ELEMENT_I32,
  u32: element.ELEMENT_U32,
  i64: element.ELEMENT_I64,
  u64: element.ELEMENT_U64,
}

/** The call of `FloatUnit` that a group's name stands for. */
function runOf(group: Group): Run {
  const [text, immediate = '0'] = group.name.split(':')
  const imm = Number.parseInt(immediate, 16)
  const [first, from, to] = text.split('.')
  if (from !== undefined) {
    const how = conversion(ELEMENTS[from], ELEMENTS[to], first === 'cvtt' ? CONVERT_TRUNCATE : 0)
    return (unit, mxcsr) => unit.convert(how, 1, A, OUT, mxcsr, 1, 0)
  }
  if (text === 'cvtph2ps') {
    return (unit, mxcsr) =>
      unit.convert(conversion(element.ELEMENT_F16, element.ELEMENT_F32, CONVERT_IGNORE_DENORMAL), 4, A, OUT, mxcsr, 15, 0)
  }
  if (text === 'cvtps2ph') {
    const how = conversion(element.ELEMENT_F32, element.ELEMENT_F16)
    return (unit, mxcsr) => unit.convert(how, 4, A, OUT, imm & 4 ? mxcsr : (mxcsr & ~0x6000) | ((imm & 3) << 13), 15, 0)
  }
  if (text === 'cvtneps2bf16') {
    return (unit) => {
      unit.convertToBfloat16(4, A, OUT, 15)
      return 0
    }
  }
  if (text === 'dpbf16ps') {
    return (unit) => {
      for (let i = 0; i < 4; i++) unit['i32'][(OUT >> 2) + i] = unit['i32'][(C >> 2) + i]
      unit.dotProductBfloat16(4, A, B, OUT, 15)
      return 0
    }
  }
  const parsed = /^(k?[a-z]+(?:14_|213_|132_)?)(32|64)(?:x(\d))?$/.exec(text)
  if (!parsed) throw new Error(`group ${group.name}`)
  const bits = Number(parsed[2])
  const lanes = Number(parsed[3] ?? 1)
  const name = parsed[1].replace(/_$/, '').replace(/(213|132)$/, '')
  switch (name) {
    case 'comis':
    case 'ucomis':
      return (unit, mxcsr) => {
        const result = unit.compareFlags(bits, name === 'comis' ? 1 : 0, A, B, mxcsr)
        unit['i32'][OUT >> 2] = result >>> 16
        return result & 0xffff
      }
    case 'dp':
      return (unit, mxcsr) => unit.dotProduct(bits, imm, A, B, OUT, mxcsr)
    case 'kcmp':
      return (unit, mxcsr) => unit.compareToMask(imm, bits, lanes, A, B, OUT, mxcsr, 15)
    case 'fpclass':
      return (unit, mxcsr) => {
        unit['i32'][OUT >> 2] = unit.classify(imm, bits, 1, A, mxcsr, 1)
        return 0
      }
  }
  const op = FLOAT_OP[name.toUpperCase() as keyof typeof FLOAT_OP] | (imm << 8)
  // 213 multiplies its second by its first operand.
  if (text.includes('213_')) return (unit, mxcsr) => unit.packed3(op, bits, lanes, B, A, C, OUT, mxcsr, 15, 0)
  if (group.sizes[2] !== 0) return (unit, mxcsr) => unit.packed3(op, bits, lanes, A, B, C, OUT, mxcsr, 15, 0)
  return (unit, mxcsr) => unit.packed(op, bits, lanes, A, B, OUT, mxcsr, 15, 0)
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0'))
    .reverse()
    .join('')
}

/** Runs all records of a group; returns those whose result or flags differ, at most `limit`, and their number. */
export function replay(file: Uint8Array, group: Group, limit = 5): { failures: number; first: Mismatch[] } {
  const memory = new Uint8Array(512)
  const unit = new FloatUnit(memory.buffer)
  const run = runOf(group)
  const [aSize, bSize, cSize, outSize] = group.sizes
  const first: Mismatch[] = []
  let failures = 0
  for (let i = 0; i < group.count; i++) {
    let at = group.start + i * group.recordSize
    const mxcsr = file[at] | (file[at + 1] << 8)
    const a = file.subarray(at + 2, at + 2 + aSize)
    const b = file.subarray((at += 2 + aSize), at + bSize)
    const c = file.subarray((at += bSize), at + cSize)
    const flags = file[(at += cSize)]
    const out = file.subarray(at + 1, at + 1 + outSize)
    memory.fill(0)
    memory.set(a, A)
    memory.set(b, B)
    memory.set(c, C)
    const result = run(unit, mxcsr)
    const actualFlags = (result & 0x3f) | (result & FLOAT_UNMASKED ? 0x80 : 0)
    const actual = memory.subarray(OUT, OUT + outSize)
    if (actualFlags === flags && (flags & 0x80 || out.every((byte, n) => byte === actual[n]))) continue
    failures++
    if (first.length >= limit) continue
    first.push({
      group: group.name,
      mxcsr: mxcsr.toString(16),
      a: hex(a),
      b: hex(b),
      c: hex(c),
      expected: `${hex(out)} ${flags.toString(16)}`,
      actual: `${hex(actual)} ${actualFlags.toString(16)}`,
    })
  }
  return { failures, first }
}
