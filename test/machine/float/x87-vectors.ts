import { X87 } from '../../../src/machine/float/x87.ts'
import { X87_REGISTERS } from '../../../src/machine/memory-map.ts'

const RECORD = 73
const BASE = 0x1000
const MEM = 64

export interface X87Group {
  opcode: number
  count: number
  start: number
}

export interface X87Outcome {
  fcw: number
  fsw: number
  tags: number
  st0: string
  st1: string
  mem: string
  rflags: number
}

export interface X87Vector {
  opcode: number
  fcw: number
  fsw: number
  used: number
  st0: string
  st1: string
  mem: string
  rflags: number
  expected: X87Outcome
  actual: X87Outcome
}

export function readX87Groups(bytes: Uint8Array): X87Group[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const groups: X87Group[] = []
  for (let at = 0; at < bytes.length; ) {
    const opcode = view.getUint16(at, true)
    const count = view.getUint32(at + 4, true)
    groups.push({ opcode, count, start: at + 8 })
    at += 8 + count * RECORD
  }
  return groups
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0'))
    .reverse()
    .join('')
}

/** Executes record `index` of a group; the hardware's outcome stands beside ours. */
export function runX87(file: Uint8Array, group: X87Group, index: number): X87Vector {
  const at = group.start + index * RECORD
  const record = file.subarray(at, at + RECORD)
  const u16 = (offset: number) => record[offset] | (record[offset + 1] << 8)
  const memory = new Uint8Array(0x1400)
  const x87 = new X87(memory.buffer, BASE)
  x87.fcw = u16(0)
  x87.fsw = u16(2)
  const top = x87.top
  const used = record[4]
  const one = Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f])
  for (let i = 0; i < 8; i++) {
    const value =
      i === 0 ? record.subarray(5, 15) : i === 1 ? record.subarray(15, 25) : (used >> i) & 1 ? one : record.subarray(5, 15)
    memory.set(value, BASE + X87_REGISTERS + 16 * ((top + i) & 7))
    if ((used >> i) & 1) x87.abridgedTags |= 1 << ((top + i) & 7)
  }
  memory.set(record.subarray(25, 35), MEM)
  const rflags = record[35]
  x87.execute(group.opcode, MEM, rflags, 0)
  const st = (i: number) => {
    const offset = BASE + X87_REGISTERS + 16 * ((x87.top + i) & 7)
    return hex(memory.subarray(offset, offset + 10))
  }
  return {
    opcode: group.opcode,
    fcw: u16(0),
    fsw: u16(2),
    used,
    st0: hex(record.subarray(5, 15)),
    st1: hex(record.subarray(15, 25)),
    mem: hex(record.subarray(25, 35)),
    rflags,
    expected: {
      fcw: u16(36),
      fsw: u16(38),
      tags: u16(40),
      st0: hex(record.subarray(42, 52)),
      st1: hex(record.subarray(52, 62)),
      mem: hex(record.subarray(62, 72)),
      rflags: record[72],
    },
    actual: {
      fcw: x87.fcw,
      fsw: x87.fsw,
      tags: x87.tags,
      st0: st(0),
      st1: st(1),
      mem: hex(memory.subarray(MEM, MEM + 10)),
      rflags: x87.rflags < 0 ? rflags : x87.rflags,
    },
  }
}
