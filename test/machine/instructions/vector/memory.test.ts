import { describe, expect, it } from 'vitest'
import { HOST_EXIT_EXCEPTION, HOST_EXIT_SYSCALL } from '../../../../src/machine/exits.ts'
import { OPMASK, VECTOR } from '../../../../src/machine/memory-map.ts'
import { BareHost } from '../../bare-host.ts'

const SYSCALL = [0x0f, 0x05]
/** The first page after the mapped data. */
const END = 0x30000

function hostWith(code: number[]): BareHost {
  return BareHost.withCode([...code, ...SYSCALL])
}
const vector = (host: BareHost, n: number): Int32Array => {
  const at = host.machine.processors[0].registerFile + VECTOR + n * 64
  return host.machine.mem.i32.subarray(at >> 2, (at >> 2) + 16)
}
const opmask = (host: BareHost, k: number): bigint =>
  host.machine.mem.u64At(host.machine.processors[0].registerFile + OPMASK + k * 8)
const setOpmask = (host: BareHost, k: number, value: bigint): void =>
  host.machine.mem.setU64At(host.machine.processors[0].registerFile + OPMASK + k * 8, value)
const words = (...values: number[]): Uint8Array => new Uint8Array(Int32Array.from(values).buffer)

describe('masked moves', () => {
  // vmovdqu32 zmm1{k1}{z}, [rsi]
  const LOAD = [0x62, 0xf1, 0x7e, 0xc9, 0x6f, 0x0e]
  // vmovdqu32 [rsi]{k1}, zmm1
  const STORE = [0x62, 0xf1, 0x7e, 0x49, 0x7f, 0x0e]

  it('a load does not touch the page behind elements that are masked off', () => {
    const host = hostWith(LOAD)
    host.write(END - 8, words(11, 12))
    host.ctx.setReg(6, BigInt(END - 8))
    setOpmask(host, 1, 3n)
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect([...vector(host, 1)]).toEqual([11, 12, ...new Array(14).fill(0)])
  })

  it('a load whose first element in the next page is selected reports that page', () => {
    const host = hostWith(LOAD)
    host.ctx.setReg(6, BigInt(END - 8))
    setOpmask(host, 1, 0x8005n)
    vector(host, 1).fill(77)
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(host.machine.processors[0].fault).toMatchObject({ vector: 14, errorCode: 4, addressLo: END })
    expect([...vector(host, 1)]).toEqual(new Array(16).fill(77))
  })

  it('a store that faults in its last element has stored nothing', () => {
    const host = hostWith(STORE)
    host.write(END - 60, words(...new Array(15).fill(5)))
    host.ctx.setReg(6, BigInt(END - 60))
    setOpmask(host, 1, 0xffffn)
    vector(host, 1).fill(9)
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(host.machine.processors[0].fault).toMatchObject({ vector: 14, errorCode: 6, addressLo: END })
    expect([...new Int32Array(host.read(END - 60, 60).buffer)]).toEqual(new Array(15).fill(5))
  })

  it('a store across two pages writes only selected elements', () => {
    const host = hostWith(STORE)
    host.ctx.setReg(6, 0x20ff0n)
    setOpmask(host, 1, 0b110110n)
    vector(host, 1).set(Array.from({ length: 16 }, (_, i) => i + 1))
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect([...new Int32Array(host.read(0x20ff0, 32).buffer)]).toEqual([0, 2, 3, 0, 5, 6, 0, 0])
  })
})

describe('gathers and scatters', () => {
  it('a gather that faults keeps the elements it has and goes on with the others', () => {
    // vpgatherdd zmm1{k1}, [rsi+zmm2*4]
    const host = hostWith([0x62, 0xf2, 0x7d, 0x49, 0x90, 0x0c, 0x96])
    host.write(0x20000, words(...Array.from({ length: 16 }, (_, i) => 100 + i)))
    host.ctx.setReg(6, 0x20000n)
    vector(host, 1).fill(-1)
    vector(host, 2).set(Array.from({ length: 16 }, (_, i) => i))
    vector(host, 2)[5] = (END - 0x20000) / 4
    setOpmask(host, 1, 0xff7fn)
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(host.machine.processors[0].fault).toMatchObject({ vector: 14, addressLo: END })
    expect(opmask(host, 1)).toBe(0xff60n)
    expect([...vector(host, 1)]).toEqual([100, 101, 102, 103, 104, ...new Array(11).fill(-1)])

    host.map(END, 0x28000, 1)
    host.write(0x28000, words(55))
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect(opmask(host, 1)).toBe(0n)
    expect([...vector(host, 1)]).toEqual([100, 101, 102, 103, 104, 55, 106, -1, 108, 109, 110, 111, 112, 113, 114, 115])
  })

  it('a VEX gather has cleared the mask and the upper half when it completes', () => {
    // vpgatherdd xmm1, [rsi+xmm2*4], xmm3
    const host = hostWith([0xc4, 0xe2, 0x61, 0x90, 0x0c, 0x96])
    host.write(0x20000, words(1, 2, 3, 4))
    host.ctx.setReg(6, 0x20000n)
    vector(host, 1).fill(-1)
    vector(host, 2).set([3, 2, 1, 0])
    vector(host, 3).set([-1, 0, -1, 0x7fffffff, -1])
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect([...vector(host, 1)]).toEqual([4, -1, 2, -1, ...new Array(12).fill(0)])
    expect([...vector(host, 3)]).toEqual(new Array(16).fill(0))
  })

  it('a scatter that faults has cleared the bits of what it stored; the highest of equal addresses wins', () => {
    // vpscatterdd [rsi+zmm2*4]{k1}, zmm1
    const host = hostWith([0x62, 0xf2, 0x7d, 0x49, 0xa0, 0x0c, 0x96])
    host.ctx.setReg(6, 0x20000n)
    vector(host, 1).set(Array.from({ length: 16 }, (_, i) => i + 1))
    vector(host, 2).fill(0)
    vector(host, 2)[9] = (END - 0x20000) / 4
    setOpmask(host, 1, 0xffffn)
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(opmask(host, 1)).toBe(0xfe00n)
    expect(new Int32Array(host.read(0x20000, 4).buffer)[0]).toBe(9)
    host.map(END, 0x28000, 1)
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect(new Int32Array(host.read(0x20000, 4).buffer)[0]).toBe(16)
    expect(new Int32Array(host.read(0x28000, 4).buffer)[0]).toBe(10)
  })
})

describe('alignment', () => {
  it.each([
    ['MOVAPS', [0x0f, 0x28, 0x06], true],
    ['PADDB xmm, m128', [0x66, 0x0f, 0xfc, 0x06], true],
    ['SHA1MSG1 (exception class 4)', [0x0f, 0x38, 0xc9, 0x06], true],
    ['MOVUPS', [0x0f, 0x10, 0x06], false],
    ['PCMPISTRI', [0x66, 0x0f, 0x3a, 0x63, 0x06, 0], false],
    ['VPADDB xmm, m128', [0xc5, 0xf1, 0xfc, 0x06], false],
    ['VMOVDQA ymm, m256', [0xc5, 0xfd, 0x6f, 0x06], true],
  ])('%s', (_name, code, faults) => {
    const host = hostWith(code)
    host.ctx.setReg(6, 0x20008n)
    expect(host.run()).toBe(faults ? HOST_EXIT_EXCEPTION : HOST_EXIT_SYSCALL)
    if (faults) expect(host.machine.processors[0].fault).toMatchObject({ vector: 13, errorCode: 0 })
  })
})
