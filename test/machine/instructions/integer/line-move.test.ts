import { expect, it } from 'vitest'
import { HOST_EXIT_EXCEPTION } from '../../../../src/machine/exits.ts'
import { BareHost } from '../../bare-host.ts'

/** movdir64b rax, [rbx] ; int3 */
function run(destination: number, source: number): BareHost {
  const host = BareHost.withCode([0x66, 0x0f, 0x38, 0xf8, 0x03, 0xcc])
  host.write(
    0x20ff0,
    Array.from({ length: 64 }, (_, i) => i + 1),
  )
  host.ctx.setReg(0, BigInt(destination))
  host.ctx.setReg(3, BigInt(source))
  expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
  return host
}

it('MOVDIR64B moves 64 bytes from any address to an aligned one', () => {
  const host = run(0x22040, 0x20ff0)
  expect(host.machine.processors[0].fault.vector).toBe(3)
  expect([...host.read(0x22040, 64)]).toEqual(Array.from({ length: 64 }, (_, i) => i + 1))
})

it('MOVDIR64B to an address that is not aligned to 64 bytes raises #GP', () => {
  expect(run(0x22041, 0x20ff0).machine.processors[0].fault).toMatchObject({ vector: 13, errorCode: 0 })
})
