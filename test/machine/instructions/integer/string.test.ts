import { describe, expect, it } from 'vitest'
import { HOST_EXIT_BUDGET, HOST_EXIT_EXCEPTION } from '../../../../src/machine/exits.ts'
import { BareHost } from '../../bare-host.ts'

const RAX = 0
const RCX = 1
const RSI = 6
const RDI = 7
const REP_MOVSB = [0xf3, 0xa4]
const REP_MOVSQ = [0xf3, 0x48, 0xa5]
const REP_STOSQ = [0xf3, 0x48, 0xab]
const REP_STOSW = [0xf3, 0x66, 0xab]

/** Data pages at 0x400000, 16 of them, physically in reverse order; then nothing. */
const DATA = 0x400000
const PAGES = 16
function hostWith(code: number[], registers: Record<number, number | bigint>): BareHost {
  const host = BareHost.withCode(code)
  for (let page = 0; page < PAGES; page++) host.map(DATA + page * 4096, 0x800000 + (PAGES - 1 - page) * 4096, 1)
  for (const [register, value] of Object.entries(registers)) host.ctx.setReg(Number(register), BigInt(value))
  return host
}
const physical = (address: number): number => 0x800000 + (PAGES - 1 - ((address - DATA) >> 12)) * 4096 + (address & 0xfff)
function put(host: BareHost, address: number, bytes: Uint8Array): void {
  bytes.forEach((byte, i) => {
    host.write(physical(address + i), [byte])
  })
}
const get = (host: BareHost, address: number, length: number): number[] =>
  Array.from({ length }, (_, i) => host.read(physical(address + i), 1)[0])
const pattern = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 0xff)

describe('REP MOVS', () => {
  it.each([
    ['bytes', REP_MOVSB, 1],
    ['quadwords', REP_MOVSQ, 8],
  ])('copies %s over many pages, unaligned, as one instruction', (_, code, size) => {
    const count = Math.floor(20000 / size)
    const host = hostWith(code, { [RCX]: count, [RSI]: DATA + 0x123, [RDI]: DATA + 0x8765 })
    put(host, DATA + 0x123, pattern(count * size))
    expect(host.run(1)).toBe(HOST_EXIT_BUDGET)
    expect(host.machine.processors[0].retired).toBe(1)
    expect(get(host, DATA + 0x8765, count * size)).toEqual([...pattern(count * size)])
    expect(host.ctx.reg(RCX)).toBe(0n)
    expect(host.ctx.reg(RSI)).toBe(BigInt(DATA + 0x123 + count * size))
    expect(host.ctx.reg(RDI)).toBe(BigInt(DATA + 0x8765 + count * size))
  })

  it.each([1, 3, 8, 100])('repeats the first bytes when the destination is %i bytes above the source', (distance) => {
    const host = hostWith(REP_MOVSB, { [RCX]: 9000, [RSI]: DATA + 0xf00, [RDI]: DATA + 0xf00 + distance })
    const seed = pattern(distance)
    put(host, DATA + 0xf00, seed)
    host.run(1)
    expect(get(host, DATA + 0xf00, 9000 + distance)).toEqual(
      Array.from({ length: 9000 + distance }, (_, i) => seed[i % distance]),
    )
  })

  it('moves a block down onto itself intact', () => {
    const host = hostWith(REP_MOVSB, { [RCX]: 9000, [RSI]: DATA + 0x205, [RDI]: DATA + 0x200 })
    put(host, DATA + 0x205, pattern(9000))
    host.run(1)
    expect(get(host, DATA + 0x200, 9000)).toEqual([...pattern(9000)])
  })

  it('stops at a page it may not write with registers at the first byte not copied', () => {
    const end = DATA + PAGES * 4096
    const host = hostWith(REP_MOVSB, { [RCX]: 10000, [RSI]: DATA, [RDI]: end - 5000 })
    put(host, DATA, pattern(5000))
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(host.machine.processors[0].fault).toMatchObject({ vector: 14, errorCode: 6, addressLo: end })
    expect(host.machine.processors[0].retired).toBe(0)
    expect(host.ctx.rip).toBe(0x10000n)
    expect([host.ctx.reg(RCX), host.ctx.reg(RSI), host.ctx.reg(RDI)]).toEqual([5000n, BigInt(DATA + 5000), BigInt(end)])
    expect(get(host, end - 5000, 5000)).toEqual([...pattern(5000)])
  })

  it('that overwrites the instruction after it is followed by the new one', () => {
    // rep movsb ; mov eax, 1 ; hlt-like end: the copy replaces the immediate
    const host = hostWith([...REP_MOVSB, 0xb8, 1, 0, 0, 0, 0xcc], { [RCX]: 4, [RSI]: DATA, [RDI]: 0x10003 })
    put(host, DATA, Uint8Array.of(5, 6, 7, 8))
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(host.machine.processors[0].fault.vector).toBe(3)
    expect(host.ctx.reg(RAX)).toBe(0x08070605n)
  })
})

describe('REP STOS', () => {
  it.each([
    ['quadwords that are one byte repeated', REP_STOSQ, 8, 0x4242424242424242n],
    ['other quadwords', REP_STOSQ, 8, 0x1122334455667788n],
    ['words', REP_STOSW, 2, 0xbeefn],
  ])('fills %s over many pages', (_, code, size, value) => {
    const count = Math.floor(20000 / size)
    const host = hostWith(code, { [RAX]: value, [RCX]: count, [RDI]: DATA + 0x7fd })
    host.run(1)
    const element = Array.from({ length: size }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn))
    expect(get(host, DATA + 0x7fd, count * size)).toEqual(Array.from({ length: count * size }, (_, i) => element[i % size]))
    expect(get(host, DATA + 0x7fd + count * size, 1)).toEqual([0])
    expect([host.ctx.reg(RCX), host.ctx.reg(RDI)]).toEqual([0n, BigInt(DATA + 0x7fd + count * size)])
  })
})

describe('single step (RFLAGS.TF)', () => {
  const RFLAGS_TF = 0x100
  /** RIP and RCX after each trap. */
  function steps(code: number[], registers: Record<number, number>): [number, number][] {
    const host = hostWith([...code, 0x90], registers)
    host.ctx.rflags |= RFLAGS_TF
    const seen: [number, number][] = []
    for (let i = 0; i < 8 && host.ctx.rip < 0x10000n + BigInt(code.length); i++) {
      expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
      expect(host.machine.processors[0].fault.vector).toBe(1)
      seen.push([Number(host.ctx.rip - 0x10000n), Number(host.ctx.reg(RCX))])
    }
    return seen
  }

  it('traps after each iteration of a repeated instruction, at the instruction until it is done', () => {
    expect(steps(REP_MOVSB, { [RCX]: 3, [RSI]: DATA, [RDI]: DATA + 64 })).toEqual([
      [0, 2],
      [0, 1],
      [2, 0],
    ])
    expect(steps(REP_MOVSB, { [RCX]: 0, [RSI]: DATA, [RDI]: DATA + 64 })).toEqual([[2, 0]])
  })

  it('ends at the iteration that ends the comparison', () => {
    // repne scasb with AL = 0 finds the zero in memory at once
    expect(steps([0xf2, 0xae], { [RAX]: 0, [RCX]: 5, [RDI]: DATA })).toEqual([[2, 4]])
    // repe scasb goes on while equal
    expect(steps([0xf3, 0xae], { [RAX]: 0, [RCX]: 3, [RDI]: DATA })).toEqual([
      [0, 2],
      [0, 1],
      [2, 0],
    ])
  })
})
