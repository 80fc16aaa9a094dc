import { describe, expect, it } from 'vitest'
import { HOST_EXIT_EXCEPTION } from '../../../../src/machine/exits.ts'
import { BareHost } from '../../bare-host.ts'

const MSR_TEST_CTRL = 0x33
const RBX = 3
const ADD = [0xf0, 0x48, 0x83, 0x03, 1] // lock add qword ptr [rbx], 1
const XCHG = [0x48, 0x87, 0x03] // xchg [rbx], rax
const PLAIN_ADD = ADD.slice(1)

function run(code: number[], address: number, detection: boolean): { vector: number; errorCode: number; host: BareHost } {
  const host = BareHost.withCode([...code, 0xcc])
  if (detection) host.machine.processors[0].msrs.set(MSR_TEST_CTRL, 1n << 29n)
  host.ctx.setReg(RBX, BigInt(address))
  host.ctx.setReg(0, 0x1234n)
  expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
  const { vector, errorCode } = host.machine.processors[0].fault
  return { vector, errorCode, host }
}

describe('split locks', () => {
  it.each([
    ['LOCK ADD', ADD],
    ['XCHG with memory', XCHG],
  ])('[SLD-02] %s across a line raises #AC(0) with detection on, before memory changes', (_, code) => {
    const { vector, errorCode, host } = run(code, 0x2007c, true)
    expect([vector, errorCode, host.ctx.rip]).toEqual([17, 0, 0x10000n])
    expect(host.ctx.reg(0)).toBe(0x1234n)
    expect([...host.read(0x2007c, 8)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0])
  })

  it('[SLD-03] with detection off it is executed', () => {
    const { vector, host } = run(ADD, 0x2007c, false)
    expect(vector).toBe(3)
    expect(host.read(0x2007c, 1)[0]).toBe(1)
  })

  it('[SLD-01] misaligned inside one line, or without LOCK, is not split', () => {
    expect(run(ADD, 0x20071, true).vector).toBe(3)
    expect(run(PLAIN_ADD, 0x2007c, true).vector).toBe(3)
  })
})

describe('the LOCK prefix', () => {
  it.each([
    ['a load', [0xf0, 0x48, 0x8b, 0x03]],
    ['CMP', [0xf0, 0x48, 0x39, 0x03]],
    ['BT', [0xf0, 0x48, 0x0f, 0xa3, 0x03]],
    ['a register destination', [0xf0, 0x48, 0x01, 0xc3]],
    ['a shift', [0xf0, 0x48, 0xd1, 0x23]],
  ])('on %s raises #UD', (_, code) => {
    expect(run(code, 0x20000, false).vector).toBe(6)
  })
})
