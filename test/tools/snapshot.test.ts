import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { crc32 } from '../../src/tools/snapshot/crc32.ts'
import { FORMAT_VERSION, HEADER_BYTES } from '../../src/tools/snapshot/header.ts'
import { decodeSnapshot, encodeSnapshot } from '../../src/tools/snapshot/snapshot.ts'
import { SnapshotError } from '../../src/tools/snapshot/snapshot-error.ts'
import type { GuestState } from '../../src/vmm/small-vmm/guest-state.ts'
import { SmallVmm } from '../../src/vmm/small-vmm/small-vmm.ts'
import { guest, MEMORY, Recorder } from '../vmm/guests.ts'
import { testHost } from '../vmm/hosts.ts'

let state: GuestState
let file: Uint8Array
beforeAll(() => {
  // 1: inc %ebx; jmp 1b
  const vmm = SmallVmm.boot(testHost().newProcess(), guest([0xff, 0xc3, 0xeb, 0xfc]), MEMORY, new Recorder())
  vmm.run({ maxInstructions: 101 })
  state = vmm.save()
  file = encodeSnapshot(state)
})

function errorOf(bytes: Uint8Array): SnapshotError {
  try {
    decodeSnapshot(bytes)
  } catch (error) {
    if (error instanceof SnapshotError) return error
    throw error
  }
  throw new Error('the file was taken')
}

// biome-ignore lint/suspicious/noExplicitAny: what is wrong with it is the point.
type AnyDescription = any

/** The file with its description changed and everything else put right. */
function withDescription(change: (description: AnyDescription) => void, data?: Uint8Array): Uint8Array {
  const view = new DataView(file.buffer, file.byteOffset)
  const end = HEADER_BYTES + view.getUint32(28, true)
  const description = JSON.parse(new TextDecoder().decode(file.subarray(HEADER_BYTES, end)))
  change(description)
  return assembled(new TextEncoder().encode(JSON.stringify(description)), data ?? file.subarray(end))
}

function assembled(description: Uint8Array, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + description.length + data.length)
  bytes.set(file.subarray(0, HEADER_BYTES))
  bytes.set(description, HEADER_BYTES)
  bytes.set(data, HEADER_BYTES + description.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(28, description.length, true)
  view.setBigUint64(32, BigInt(data.length), true)
  view.setUint32(24, crc32(bytes.subarray(HEADER_BYTES)), true)
  return bytes
}

describe('a saved guest', () => {
  it('is read back as it was', () => {
    expect(decodeSnapshot(file)).toEqual(state)
    expect(encodeSnapshot(decodeSnapshot(file))).toEqual(file)
  })

  it('keeps what was absent apart from what was zero', () => {
    const absent = encodeSnapshot({ ...state, vcpu: { ...state.vcpu, xcr0: null } })
    expect(decodeSnapshot(absent).vcpu.xcr0).toBeNull()
    const zero = encodeSnapshot({ ...state, vcpu: { ...state.vcpu, xcr0: 0n } })
    expect(decodeSnapshot(zero).vcpu.xcr0).toBe(0n)
  })

  it('has named fields', () => {
    const text = new TextDecoder().decode(file.subarray(HEADER_BYTES, HEADER_BYTES + 20_000))
    for (const name of ['"savedOn"', '"rip":"0x', '"cr4":"0x40620"', '"msrs"', '"tscKhz"']) expect(text).toContain(name)
  })

  it('leaves out zero pages', () => {
    const bytes = state.memory[0].runs.reduce((sum, run) => sum + run.bytes.length, 0)
    expect(bytes).toBeLessThan(10 * 4096)
    expect(file.length).toBeLessThan(MEMORY / 16)
  })
})

describe('a file that is no saved guest', () => {
  const changed = (at: number, ...values: number[]): Uint8Array => {
    const bytes = file.slice()
    bytes.set(values, at)
    return bytes
  }

  it('is told by its magic, architecture and version', () => {
    expect(errorOf(new Uint8Array(0)).code).toBe('not-a-snapshot')
    expect(errorOf(new TextEncoder().encode('{"savedOn": "x"}')).code).toBe('not-a-snapshot')
    expect(errorOf(changed(14, 0x0a)).code).toBe('other-architecture')
    const other = changed(8, ...new TextEncoder().encode('aarch64\n'))
    expect(errorOf(other)).toMatchObject({ code: 'other-architecture', message: expect.stringContaining("'aarch64'") })
    expect(errorOf(changed(16, FORMAT_VERSION + 1))).toMatchObject({
      code: 'newer-version',
      message: `format version ${FORMAT_VERSION + 1}; this program reads versions 1 to ${FORMAT_VERSION}`,
    })
    expect(errorOf(changed(16, 0)).code).toBe('newer-version')
  })

  it('is refused before it is parsed when it claims too much', () => {
    expect(errorOf(changed(28, 0xff, 0xff, 0xff, 0x7f)).code).toBe('too-large')
    expect(errorOf(changed(32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)).code).toBe('too-large')
  })

  it('is refused when it ends early, or late', () => {
    for (const length of [1, 15, 16, 63, 64, 65, 5000, file.length - 1]) {
      const { code } = errorOf(file.subarray(0, length))
      expect(code, `${length} bytes`).toBe(length < 8 ? 'not-a-snapshot' : 'truncated')
    }
    const longer = new Uint8Array(file.length + 1)
    longer.set(file)
    expect(errorOf(longer).code).toBe('damaged')
  })

  it('is refused when a byte is damaged, wherever it is', () => {
    for (let at = 0; at < file.length; at += at < 100 ? 1 : 977) {
      const bytes = changed(at, file[at] ^ 0x10)
      // Bytes 20..23 and 40..63 of the header say nothing.
      if ((at >= 20 && at < 24) || (at >= 40 && at < 64)) continue
      expect(errorOf(bytes), `byte ${at}`).toBeInstanceOf(SnapshotError)
    }
  })
})

describe('a description that is not right', () => {
  /** What is changed, and where the message says it is. */
  const WRONG: [string, (d: AnyDescription) => void, RegExp][] = [
    ['a missing register', (d) => delete d.vcpu.regs.r15, /^vcpu\.regs\.r15: /],
    ['a register that is a number', (d) => (d.vcpu.regs.rip = 5), /^vcpu\.regs\.rip: /],
    [
      'a register of 65 bits',
      (d) => (d.vcpu.regs.rip = '0x1ffffffffffffffff'),
      /^vcpu\.regs\.rip: a 64-bit number is written 0x/,
    ],
    ['a field nobody knows', (d) => (d.vcpu.fast = true), /^vcpu\.fast: /],
    ['an MSR index of 33 bits', (d) => (d.vcpu.msrs[0].index = 2 ** 32), /^vcpu\.msrs\.0\.index: /],
    ['too many CPUID entries', (d) => (d.vcpu.cpuid = Array(257).fill(d.vcpu.cpuid[0])), /^vcpu\.cpuid: /],
    ['an XSAVE image outside', (d) => (d.vcpu.xsave.offset = 2 ** 40), /^vcpu\.xsave lies outside the data/],
    ['an XSAVE image too short', (d) => (d.vcpu.xsave.length = 100), /^vcpu\.xsave has 100 bytes/],
    ['no memory', (d) => (d.memory = []), /^memory: /],
    ['half a page of memory', (d) => (d.memory[0].size = 2048), /^memory\.0\.size: /],
    ['memory of negative size', (d) => (d.memory[0].size = -4096), /^memory\.0\.size: /],
    ['a run outside its region', (d) => (d.memory[0].runs[0].firstPage = 1 << 20), /^memory\.0\.runs\.0 ends beyond the region/],
    ['a run outside the data', (d) => (d.memory[0].runs[0].at.offset = 2 ** 50), /^memory\.0\.runs\.0 lies outside the data/],
    [
      'a run that is no whole page',
      (d) => (d.memory[0].runs[0].at.length = 100),
      /^memory\.0\.runs\.0 is not made of whole pages/,
    ],
    ['overlapping runs', (d) => d.memory[0].runs.splice(1, 0, d.memory[0].runs[0]), /^memory\.0\.runs\.1 overlaps/],
  ]
  it.each(WRONG)('%s: the message says where', (_what, change, words) => {
    const error = errorOf(withDescription(change))
    expect(error.code).toBe('malformed')
    expect(error.message).toMatch(words)
    expect(error.message).not.toMatch(/\n/)
  })

  it('no JSON, or no UTF-8', () => {
    expect(errorOf(assembled(new TextEncoder().encode('{"savedOn":'), new Uint8Array(0)))).toMatchObject({ code: 'malformed' })
    expect(errorOf(assembled(Uint8Array.of(0xff, 0xfe), new Uint8Array(0)))).toMatchObject({ code: 'malformed' })
    expect(errorOf(assembled(new TextEncoder().encode('null'), new Uint8Array(0)))).toMatchObject({ code: 'malformed' })
  })
})

describe('files of every version ever written', () => {
  it('version 1 still runs', () => {
    const saved = decodeSnapshot(readFileSync(new URL('../fixtures/snapshots/v1.wsguest', import.meta.url)))
    const vmm = SmallVmm.restore(testHost().newProcess(), saved, new Recorder())
    const before = vmm.vcpu.getRegs()
    expect(before).toMatchObject({ rip: 0x400002n, rbx: 51n })
    vmm.run({ maxInstructions: 100 })
    expect(vmm.vcpu.getRegs()).toMatchObject({ rip: 0x400002n, rbx: 101n })
  })
})
