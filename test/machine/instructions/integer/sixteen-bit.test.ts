import { describe, expect, it } from 'vitest'
import { HOST_EXIT_EXCEPTION } from '../../../../src/machine/exits.ts'
import { SEGMENT } from '../../../../src/machine/memory-map.ts'
import { BareHost } from '../../bare-host.ts'

/** 16-bit protected-mode code at 0x10000; data and stack segments with base 0x20000, a 16-bit stack. */
function run(code: number[], registers: Record<number, number>, memory: [offset: number, bytes: number[]][] = []): BareHost {
  const host = BareHost.withCode([...code, 0xcc])
  const { ctx } = host
  ctx.setSegment(SEGMENT.CS, 0x0f, 0x00fb, 0xffff, 0x10000, 0)
  for (const seg of [SEGMENT.SS, SEGMENT.DS, SEGMENT.ES]) ctx.setSegment(seg, 0x17, 0x00f3, 0xffff, 0x20000, 0)
  ctx.rip = 0n
  for (const [register, value] of Object.entries(registers)) ctx.setReg(Number(register), BigInt(value))
  for (const [offset, bytes] of memory) host.write(0x20000 + offset, bytes)
  expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
  expect(host.machine.processors[0].fault.vector).toBe(3)
  return host
}
const reg = (host: BareHost, n: number): number => Number(host.ctx.reg(n))

describe('16-bit code', () => {
  it('effective addresses wrap at 64 KiB', () => {
    // mov ax, [bx+si+0x10]
    const host = run([0x8b, 0x40, 0x10], { 0: 0x11110000, 3: 0x8008, 6: 0x7ff8 }, [[0x10, [0x34, 0x12]]])
    expect(reg(host, 0)).toBe(0x11111234)
  })

  it('PUSH and POP wrap SP and leave the upper half of ESP', () => {
    // push ax ; push cx ; pop dx
    const host = run([0x50, 0x51, 0x5a], { 0: 0xaaaa, 1: 0xbbbb, 2: 0, 4: 0xdead0000 })
    expect([...host.read(0x2fffc, 4)]).toEqual([0xbb, 0xbb, 0xaa, 0xaa])
    expect(reg(host, 2)).toBe(0xbbbb)
    expect(reg(host, 4)).toBe(0xdeadfffe)
  })

  it('a 32-bit operand is pushed whole with the prefix', () => {
    // push eax (66 50)
    const host = run([0x66, 0x50], { 0: 0x12345678, 4: 0x100 })
    expect([...host.read(0x200fc, 4)]).toEqual([0x78, 0x56, 0x34, 0x12])
  })

  it('PUSHA and POPA move eight words, SP as it was', () => {
    // pusha ; pop ax ... first popped is DI
    const host = run([0x60, 0x58], { 0: 1, 1: 2, 2: 3, 3: 4, 4: 0x100, 5: 5, 6: 6, 7: 7 })
    expect([...host.read(0x200f0, 16)].filter((_, i) => i % 2 === 0)).toEqual([7, 6, 5, 0, 4, 3, 2, 1])
    expect(host.read(0x200f7, 1)[0]).toBe(1)
    expect(reg(host, 0)).toBe(7)
  })

  it('REP MOVSB uses CX, SI and DI and wraps them', () => {
    // rep movsb
    const host = run([0xf3, 0xa4], { 1: 0x55550004, 6: 0x6666fffe, 7: 0x77770100 }, [
      [0xfffe, [1, 2]],
      [0, [3, 4]],
    ])
    expect([...host.read(0x20100, 4)]).toEqual([1, 2, 3, 4])
    expect([reg(host, 1), reg(host, 6), reg(host, 7)]).toEqual([0x55550000, 0x66660002, 0x77770104])
  })

  it('a 32-bit address uses all of ESI and EDI', () => {
    // rep movsb with 67h
    const host = run([0x67, 0xf3, 0xa4], { 1: 3, 6: 0x40, 7: 0x80 }, [[0x40, [9, 8, 7]]])
    expect([...host.read(0x20080, 3)]).toEqual([9, 8, 7])
  })

  it('LEAVE takes SP from BP; ENTER makes a frame', () => {
    // enter 8, 0 ; leave
    const entered = run([0xc8, 8, 0, 0], { 4: 0x100, 5: 0x1234 })
    expect([reg(entered, 4), reg(entered, 5)]).toEqual([0xf6, 0xfe])
    const left = run([0xc8, 8, 0, 0, 0xc9], { 4: 0x100, 5: 0x1234 })
    expect([reg(left, 4), reg(left, 5)]).toEqual([0x100, 0x1234])
  })
})
