import { describe, expect, it } from 'vitest'
import { HOST_EXIT_EXCEPTION, HOST_EXIT_SYSCALL } from '../../../../src/machine/exits.ts'
import { OPMASK, VECTOR } from '../../../../src/machine/memory-map.ts'
import { BareHost } from '../../bare-host.ts'
import { iced } from '../../differential/forms.ts'
import { instruction, SYSCALL } from './assemble.ts'

const { Code, Register } = iced

/** Numbers whose halves have few bits. */
function half(value: number): number {
  if (value === 0) return Object.is(value, -0) ? 0x8000 : 0
  const exponent = Math.floor(Math.log2(Math.abs(value)))
  const fraction = (Math.abs(value) / 2 ** exponent - 1) * 1024
  return (value < 0 ? 0x8000 : 0) | ((exponent + 15) << 10) | fraction
}
const halves = (bytes: Uint8Array): number[] => {
  const words = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2)
  return Array.from(words, (w) => {
    const magnitude = (w & 0x7c00) === 0 ? (w & 0x3ff) * 2 ** -24 : (1 + (w & 0x3ff) / 1024) * 2 ** (((w >> 10) & 31) - 15)
    return w & 0x8000 ? -magnitude : magnitude
  })
}

/** Registers 1, 2, 3 from numbers; returns the first `count` of register 1 afterwards. */
function run(code: Uint8Array, registers: number[][], count: number, mask = -1n): number[] {
  const host = BareHost.withCode([...code, ...SYSCALL])
  const { mem } = host.machine
  const file = host.machine.processors[0].registerFile
  for (const [i, values] of registers.entries()) {
    for (const [k, value] of values.entries()) mem.view.setUint16(file + VECTOR + (i + 1) * 64 + k * 2, half(value), true)
  }
  mem.setU64At(file + OPMASK + 8, mask)
  expect(host.run()).toBe(HOST_EXIT_SYSCALL)
  return halves(mem.u8.slice(file + VECTOR + 64, file + VECTOR + 64 + count * 2))
}

describe('AVX512-FP16', () => {
  const [one, two, three] = [Register.XMM1, Register.XMM2, Register.XMM3]

  it('adds and multiplies eight halves', () => {
    const a = [1, 2, 3, 4, 5, 6, 7, 8]
    const b = [0.5, 0.25, -3, 8, 16, -32, 64, 1.5]
    expect(run(instruction(Code.EVEX_Vaddph_xmm_k1z_xmm_xmmm128b16, one, two, three), [[], a, b], 8)).toEqual(
      a.map((x, i) => x + b[i]),
    )
    expect(run(instruction(Code.EVEX_Vmulph_xmm_k1z_xmm_xmmm128b16, one, two, three), [[], a, b], 8)).toEqual(
      a.map((x, i) => x * b[i]),
    )
  })

  it('scalar forms keep the rest of the first source', () => {
    expect(run(instruction(Code.EVEX_Vsubsh_xmm_k1z_xmm_xmmm16_er, one, two, three), [[], [5, 9, 10], [2, 3, 4]], 3)).toEqual([
      3, 9, 10,
    ])
  })

  it('complex numbers are multiplied, conjugated and accumulated in pairs', () => {
    const a = [1, 2, 3, -1, 0.5, 4, 0, 1]
    const b = [3, 4, 2, 2, 2, -1, 0, 1]
    const products = [0, 2, 4, 6].flatMap((i) => [a[i] * b[i] - a[i + 1] * b[i + 1], a[i + 1] * b[i] + a[i] * b[i + 1]])
    const conjugated = [0, 2, 4, 6].flatMap((i) => [a[i] * b[i] + a[i + 1] * b[i + 1], a[i + 1] * b[i] - a[i] * b[i + 1]])
    expect(run(instruction(Code.EVEX_Vfmulcph_xmm_k1z_xmm_xmmm128b32, one, two, three), [[], a, b], 8)).toEqual(products)
    expect(run(instruction(Code.EVEX_Vfcmulcph_xmm_k1z_xmm_xmmm128b32, one, two, three), [[], a, b], 8)).toEqual(conjugated)
    const before = [100, 200, 1, 2, 3, 4, 5, 6]
    const sums = products.map((x, i) => x + before[i])
    expect(run(instruction(Code.EVEX_Vfmaddcph_xmm_k1z_xmm_xmmm128b32, one, two, three), [before, a, b], 8)).toEqual(sums)
    expect(run(instruction(Code.EVEX_Vfmulcsh_xmm_k1z_xmm_xmmm32_er, one, two, three), [[], a, b], 4)).toEqual([
      ...products.slice(0, 2),
      3,
      -1,
    ])
  })

  it('complex instructions whose destination is a source are undefined', () => {
    const host = BareHost.withCode([...instruction(Code.EVEX_Vfmulcph_xmm_k1z_xmm_xmmm128b32, one, one, three), ...SYSCALL])
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(host.machine.processors[0].fault.vector).toBe(6)
  })
})
