import { describe, expect, it } from 'vitest'
import { HOST_EXIT_SYSCALL } from '../../../../src/machine/exits.ts'
import { FLOAT_OP, FloatUnit } from '../../../../src/machine/float/float-unit.ts'
import { VECTOR } from '../../../../src/machine/memory-map.ts'
import { BareHost } from '../../bare-host.ts'
import { iced } from '../../differential/forms.ts'
import { instruction, SYSCALL } from './assemble.ts'

const { Code, Register } = iced

/** Every interval at several exponents, and the numbers the native way leaves to TypeScript. */
function operands(): number[] {
  const found = [
    0, 0x80000000, 1, 0x807fffff, 0x00800000, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00001, 0xffa00000, 0x3f800000, 0xbf800000,
  ]
  for (const exponent of [1, 2, 3, 126, 127, 128, 129, 251, 252, 253, 254]) {
    for (let k = 0; k < 2048; k += exponent === 127 || exponent === 128 ? 1 : 61)
      found.push(((exponent << 23) | (k << 12) | ((k * 41) & 0xfff)) >>> 0)
  }
  return found
}

describe.each([
  ['RCPPS', Code.Rcpps_xmm_xmmm128, FLOAT_OP.RCP],
  ['RSQRTPS', Code.Rsqrtps_xmm_xmmm128, FLOAT_OP.RSQRT],
])('%s', (_name, code, op) => {
  it('gives natively what the exact unit gives', () => {
    const host = BareHost.withCode([...instruction(code, Register.XMM1, Register.XMM2), ...SYSCALL])
    const { mem } = host.machine
    const at = host.machine.processors[0].registerFile + VECTOR
    const memory = new ArrayBuffer(512)
    const unit = new FloatUnit(memory)
    const words = new Int32Array(memory)
    const all = operands()
    for (let i = 0; i + 4 <= all.length; i += 4) {
      words.set(all.slice(i, i + 4), 16)
      mem.i32.set(all.slice(i, i + 4), (at + 128) >> 2)
      unit.packed(op, 32, 4, 64, 64, 128, 0x1f80, 15, 0)
      host.ctx.rip = 0x10000n
      expect(host.run()).toBe(HOST_EXIT_SYSCALL)
      expect([...mem.i32.subarray((at + 64) >> 2, (at + 80) >> 2)]).toEqual([...words.subarray(32, 36)])
    }
  })
})

it('RCPSS of 1 is what Intel processors give', () => {
  const host = BareHost.withCode([...instruction(Code.Rcpss_xmm_xmmm32, Register.XMM1, Register.XMM2), ...SYSCALL])
  const at = host.machine.processors[0].registerFile + VECTOR
  host.machine.mem.view.setFloat32(at + 128, 1, true)
  host.run()
  expect(host.machine.mem.view.getUint32(at + 64, true)).toBe(0x3f7ff000)
})
