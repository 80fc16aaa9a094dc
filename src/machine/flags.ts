import type { MachineMemory } from './machine-memory.ts'
import { CC_A, CC_B, CC_OP, CC_RES } from './memory-map.ts'

export const RFLAGS_CF = 0x1
export const RFLAGS_PF = 0x4
export const RFLAGS_AF = 0x10
export const RFLAGS_ZF = 0x40
export const RFLAGS_SF = 0x80
export const RFLAGS_OF = 0x800
export const RFLAGS_ARITHMETIC = 0x8d5

/**
 * Lazy flags. CC_OP says how CF PF AF ZF SF OF follow from CC_A, CC_B, CC_RES (values zero-extended from the operation's
 * width). Low two bits of a sized operation: 0 = 8, 1 = 16, 2 = 32, 3 = 64 bits.
 *
 *   CC_FLAGS  the bits themselves, in CC_RES
 *   CC_ADD    ADD and ADC: res = a + b (+ carry)
 *   CC_SUB    SUB, SBB, CMP, NEG: res = a - b (- borrow)
 *   CC_RESULT SF ZF PF from CC_RES; CF AF OF are the bits of CC_B (logic: 0; shifts: computed)
 *   CC_INC    INC: CF is bit 0 of CC_B; the rest as for a + 1
 *   CC_DEC    DEC: likewise
 */
export const CC_FLAGS = 0
export const CC_ADD = 4
export const CC_SUB = 8
export const CC_RESULT = 12
export const CC_INC = 16
export const CC_DEC = 20

const parity = new Uint8Array(256)
for (let i = 0; i < 256; i++) {
  let ones = 0
  for (let v = i; v; v >>= 1) ones += v & 1
  parity[i] = ones & 1 ? 0 : RFLAGS_PF
}

/** CF PF AF ZF SF OF of the context at `base`, in their RFLAGS positions. */
export function materializeArithmeticFlags(mem: MachineMemory, base: number): number {
  const i32 = mem.i32
  const op = i32[(base + CC_OP) >> 2]
  const resLo = i32[(base + CC_RES) >> 2]
  if (op === CC_FLAGS) return resLo & RFLAGS_ARITHMETIC
  const resHi = i32[(base + CC_RES + 4) >> 2]
  const size = op & 3
  // Bring the operation's top bit to bit 31 of one word: the sign-carrying word of each value.
  const shift = size === 0 ? 24 : size === 1 ? 16 : 0
  const top = (lo: number, hi: number) => (size === 3 ? hi : lo << shift)
  const res = top(resLo, resHi)
  let flags = parity[resLo & 0xff]
  if (size === 3 ? (resLo | resHi) === 0 : resLo << shift === 0) flags |= RFLAGS_ZF
  if (res < 0) flags |= RFLAGS_SF
  const aLo = i32[(base + CC_A) >> 2]
  const bLo = i32[(base + CC_B) >> 2]
  const a = top(aLo, i32[(base + CC_A + 4) >> 2])
  const b = top(bLo, i32[(base + CC_B + 4) >> 2])
  switch (op & ~3) {
    case CC_ADD:
      if (((a & b) | ((a | b) & ~res)) < 0) flags |= RFLAGS_CF
      if (((a ^ res) & (b ^ res)) < 0) flags |= RFLAGS_OF
      return flags | ((aLo ^ bLo ^ resLo) & RFLAGS_AF)
    case CC_SUB:
      if (((~a & b) | ((~a | b) & res)) < 0) flags |= RFLAGS_CF
      if (((a ^ b) & (a ^ res)) < 0) flags |= RFLAGS_OF
      return flags | ((aLo ^ bLo ^ resLo) & RFLAGS_AF)
    case CC_INC:
      if (isOnlyTopBit(res, resLo, size)) flags |= RFLAGS_OF
      if ((resLo & 0xf) === 0) flags |= RFLAGS_AF
      return flags | (bLo & RFLAGS_CF)
    case CC_DEC:
      if (isMaxPositive(res, resLo, shift, size)) flags |= RFLAGS_OF
      if ((resLo & 0xf) === 0xf) flags |= RFLAGS_AF
      return flags | (bLo & RFLAGS_CF)
    default:
      return flags | (bLo & (RFLAGS_CF | RFLAGS_AF | RFLAGS_OF))
  }
}

/** INC overflowed: the result is 100…0. */
function isOnlyTopBit(res: number, resLo: number, size: number): boolean {
  return res === -0x80000000 && (size !== 3 || resLo === 0)
}

/** DEC overflowed: the result is 011…1. */
function isMaxPositive(res: number, resLo: number, shift: number, size: number): boolean {
  return res === (0x7fffffff >> shift) << shift && (size !== 3 || resLo === -1)
}
