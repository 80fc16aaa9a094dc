import { describe, expect, it } from 'vitest'
import { EngineRunner } from '../../differential/engine-runner.ts'
import { initialState } from '../../differential/initial-state.ts'
import { toHex } from '../../differential/record-layout.ts'

// Instructions the recorded processor does not have.
const engine = new EngineRunner()
const run = (code: number[], set: Parameters<typeof initialState>[4] = {}) => {
  const before = initialState(64, Uint8Array.from(code), 7, 'bits', set)
  const after = engine.run(before)
  expect(after.vector).toBe(3)
  return { before, after }
}
const doublewords = (...values: number[]): string => toHex(new Uint8Array(Uint32Array.from(values).buffer))

describe('AVX-VNNI and AVX-IFMA give what the recorded EVEX forms give', () => {
  // [name, opcode map and byte, W]: op ymm1, ymm2, ymm3
  it.each([
    ['VPDPBUSD', 0x50, 0],
    ['VPDPBUSDS', 0x51, 0],
    ['VPDPWSSD', 0x52, 0],
    ['VPDPWSSDS', 0x53, 0],
    ['VPMADD52LUQ', 0xb4, 1],
    ['VPMADD52HUQ', 0xb5, 1],
  ])('%s', (_name, opcode, w) => {
    const vex = run([0xc4, 0xe2, 0x6d | (w << 7), opcode, 0xcb]).after.zmm(1)
    const evex = run([0x62, 0xf2, 0x6d | (w << 7), 0x28, opcode, 0xcb]).after.zmm(1)
    expect(toHex(vex)).toBe(toHex(evex))
  })
})

describe('VP2INTERSECT', () => {
  it('marks the elements of each source that occur in the other, in a pair of opmasks', () => {
    // vp2intersectd k2, ymm1, ymm2
    const { after } = run([0x62, 0xf2, 0x77, 0x28, 0x68, 0xd2], {
      z: { 1: doublewords(1, 2, 3, 4, 5, 6, 7, 1), 2: doublewords(9, 7, 9, 1, 0, 0, 3, 3) },
    })
    expect(after.opmask(2)).toBe(0b11000101n)
    expect(after.opmask(3)).toBe(0b11001010n)
  })
  it('writes the pair an odd register number belongs to', () => {
    // vp2intersectq k3, zmm1, zmm1
    const { before, after } = run([0x62, 0xf2, 0xf7, 0x48, 0x68, 0xd9])
    expect([after.opmask(2), after.opmask(3)]).toEqual([0xffn, 0xffn])
    expect(after.opmask(4)).toBe(before.opmask(4))
  })
})

describe('AVX512-FP16 moves', () => {
  it('VMOVW xmm, r32 clears all above 16 bits; VMOVW r32, xmm zero-extends', () => {
    // vmovw xmm1, esi ; vmovw edi, xmm1
    const { after } = run([0x62, 0xf5, 0x7d, 0x08, 0x6e, 0xce, 0x62, 0xf5, 0x7d, 0x08, 0x7e, 0xcf], { g: { 6: '1234abcd' } })
    expect(toHex(after.zmm(1))).toBe(`cdab${'00'.repeat(62)}`)
    expect(after.gpr(7)).toBe(0xabcdn)
  })
  it('VMOVSH merges the low word by bit 0 of the opmask and copies the rest of the first source', () => {
    // vmovsh xmm1{k1}, xmm2, xmm3
    for (const k of ['0', '1']) {
      const { before, after } = run([0x62, 0xf5, 0x6e, 0x09, 0x10, 0xcb], { k: { 1: k } })
      const low = before.zmm(k === '1' ? 3 : 1).subarray(0, 2)
      expect(toHex(after.zmm(1))).toBe(toHex(low) + toHex(before.zmm(2).subarray(2, 16)) + '00'.repeat(48))
    }
  })
})
