import { expect, it } from 'vitest'
import { HOST_EXIT_EXCEPTION } from '../../../../src/machine/exits.ts'
import { BareHost } from '../../bare-host.ts'

// Results the SDM leaves undefined and on which vendors differ, so that the recordings do not cover them.

function run(code: number[], registers: Record<number, bigint>): BareHost {
  const host = BareHost.withCode([...code, 0xcc])
  for (const [register, value] of Object.entries(registers)) host.ctx.setReg(Number(register), value)
  expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
  expect(host.machine.processors[0].fault.vector).toBe(3)
  return host
}

it('SHLD of 16 bits by more than 16 shifts through destination:source:destination', () => {
  // shld ax, bx, 20
  expect(run([0x66, 0x0f, 0xa4, 0xd8, 20], { 0: 0x1234n, 3: 0x5678n }).ctx.reg(0)).toBe(0x6781n)
})

it('SHRD of 16 bits by more than 16 shifts through destination:source:destination', () => {
  // shrd ax, bx, 20
  expect(run([0x66, 0x0f, 0xac, 0xd8, 20], { 0: 0x1234n, 3: 0x5678n }).ctx.reg(0)).toBe(0x4567n)
})
