import { expect, test } from 'vitest'
import { HOST_EXIT_EXCEPTION, HOST_EXIT_SYSCALL } from '../../src/machine/exits.ts'
import { BareHost } from './bare-host.ts'

/** mov eax, imm32 with its last three bytes on the next page; syscall. */
const FIRST = [0xb8, 0x11]
const tail = (byte: number) => [byte, byte, byte, 0x0f, 0x05]
const ENTRY = 0x10ffe

function run(host: BareHost): number {
  host.ctx.rip = BigInt(ENTRY)
  host.ctx.setReg(0, 0n)
  return host.run()
}

test('an instruction that crosses a page is read anew when the second page is another one', () => {
  const host = new BareHost()
  host.map(0x10000, 0x10000, 1)
  host.map(0x11000, 0x20000, 1)
  host.write(ENTRY, FIRST)
  host.write(0x20000, tail(0x22))
  host.write(0x30000, tail(0x33))
  expect([run(host), host.ctx.reg(0)]).toEqual([HOST_EXIT_SYSCALL, 0x22222211n])
  host.map(0x11000, 0x30000, 1)
  expect([run(host), host.ctx.reg(0)]).toEqual([HOST_EXIT_SYSCALL, 0x33333311n])
  host.map(0x11000, 0x20000, 1)
  expect([run(host), host.ctx.reg(0)]).toEqual([HOST_EXIT_SYSCALL, 0x22222211n])
})

test('its fetch faults when the second page is gone', () => {
  const host = new BareHost()
  host.map(0x10000, 0x10000, 1)
  host.map(0x11000, 0x20000, 1)
  host.write(ENTRY, FIRST)
  host.write(0x20000, tail(0x22))
  expect(run(host)).toBe(HOST_EXIT_SYSCALL)
  host.map(0x11000, 0x20000, 1, { present: false })
  expect(run(host)).toBe(HOST_EXIT_EXCEPTION)
  const { fault } = host.machine.processors[0]
  expect([fault.vector, fault.addressLo, host.ctx.rip]).toEqual([14, 0x11000, BigInt(ENTRY)])
})

test('writes to either page are noticed', () => {
  const host = new BareHost()
  host.map(0x10000, 0x10000, 1)
  host.map(0x11000, 0x20000, 1)
  host.write(ENTRY, FIRST)
  host.write(0x20000, tail(0x22))
  run(host)
  host.write(0x20001, [0x77])
  expect([run(host), host.ctx.reg(0)]).toEqual([HOST_EXIT_SYSCALL, 0x22772211n])
  host.write(ENTRY + 1, [0x99])
  expect([run(host), host.ctx.reg(0)]).toEqual([HOST_EXIT_SYSCALL, 0x22772299n])
})
