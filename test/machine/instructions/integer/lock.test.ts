import { describe, expect, it } from 'vitest'
import { parseCpuSpec } from '../../../../src/isa/cpu-grammar.ts'
import { HOST_EXIT_EXCEPTION } from '../../../../src/machine/exits.ts'
import { Machine } from '../../../../src/machine/machine.ts'
import { BareHost, icedModule } from '../../bare-host.ts'

const MSR_TEST_CTRL = 0x33
const RBX = 3
const ADD = [0xf0, 0x48, 0x83, 0x03, 1] // lock add qword ptr [rbx], 1
const XCHG = [0x48, 0x87, 0x03] // xchg [rbx], rax
const PLAIN_ADD = ADD.slice(1)
const CMPXCHG16B = [0xf0, 0x48, 0x0f, 0xc7, 0x0b] // lock cmpxchg16b [rbx]

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
  ])('%s across a line raises #AC(0) with detection on, before memory changes [SLD-02]', (_, code) => {
    const { vector, errorCode, host } = run(code, 0x2007c, true)
    expect([vector, errorCode, host.ctx.rip]).toEqual([17, 0, 0x10000n])
    expect(host.ctx.reg(0)).toBe(0x1234n)
    expect([...host.read(0x2007c, 8)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0])
  })

  it('with detection off it is executed [SLD-03]', () => {
    const { vector, host } = run(ADD, 0x2007c, false)
    expect(vector).toBe(3)
    expect(host.read(0x2007c, 1)[0]).toBe(1)
  })

  it('misaligned inside one line, or without LOCK, is not split [SLD-01]', () => {
    // The last eight bytes of a line end with it; one byte further they do not.
    for (const address of [0x20040, 0x20071, 0x20077, 0x20078]) expect(run(ADD, address, true).vector).toBe(3)
    for (const address of [0x20079, 0x2007f]) expect(run(ADD, address, true).vector).toBe(17)
    expect(run(PLAIN_ADD, 0x2007c, true).vector).toBe(3)
  })

  it.each([
    ['inside a line', 0x20008],
    ['across lines', 0x20038],
  ])('a misaligned CMPXCHG16B %s is #GP, not #AC, with and without detection and LOCK [SLD-04]', (_, address) => {
    for (const code of [CMPXCHG16B, CMPXCHG16B.slice(1)])
      for (const detection of [true, false]) expect(run(code, address, detection)).toMatchObject({ vector: 13, errorCode: 0 })
    expect(run(CMPXCHG16B, 0x20040, true).vector).toBe(3)
  })
})

describe('MSR_TEST_CTRL and MSR_IA32_CORE_CAPS', () => {
  const MSR_IA32_CORE_CAPS = 0xcf
  const GP = 13
  const processorOf = (spec: string) => {
    const options = { model: parseCpuSpec(spec), decoder: icedModule(), processors: 1, physicalBytes: 1 << 20 }
    return new Machine(options).processors[0]
  }

  it('bits 29 and 31 can be written, any other is #GP; the capabilities cannot be [SLD-07]', () => {
    const processor = processorOf('SapphireRapids')
    for (const bit of [29n, 31n]) {
      expect(processor.wrmsr(MSR_TEST_CTRL, 1n << bit)).toBe(0)
      expect(processor.rdmsr(MSR_TEST_CTRL)).toBe(1n << bit)
    }
    const before = processor.rdmsr(MSR_TEST_CTRL)
    for (let bit = 0n; bit < 64n; bit++)
      if (bit !== 29n && bit !== 31n) expect(processor.wrmsr(MSR_TEST_CTRL, 1n << bit), `bit ${bit}`).toBe(GP)
    expect(processor.rdmsr(MSR_TEST_CTRL)).toBe(before)
    expect(processor.rdmsr(MSR_IA32_CORE_CAPS)).toBe(0x20n)
    for (const value of [0n, 0x20n]) expect(processor.wrmsr(MSR_IA32_CORE_CAPS, value)).toBe(GP)
  })

  it.each([
    ['Skylake-Server', false, false],
    ['EPYC-Genoa', false, false],
    ['Icelake-Server', true, false],
    ['SapphireRapids', true, true],
  ])('%s: RDMSR of the first works: %s, of the second: %s; else #GP [SLD-07]', (spec, control, capabilities) => {
    const processor = processorOf(spec)
    expect([processor.hasMsr(MSR_TEST_CTRL), processor.hasMsr(MSR_IA32_CORE_CAPS)]).toEqual([control, capabilities])
    if (!control) expect(processor.wrmsr(MSR_TEST_CTRL, 0n)).toBe(GP)
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
