/**
 * Which instructions with a memory operand KVM's software emulator has. The modelled processor can run every instruction on
 * MMIO; the real emulator fails on the rest, and guests and tests see that. KAPI-40; Linux 6.12 arch/x86/kvm/emulate.c
 * opcode_table, twobyte_table, opcode_map_0f_38.
 */

/** Prefix that selects between forms of an SSE opcode. */
const NONE = 1
const P66 = 2
const PF2 = 4
const PF3 = 8
const ANY = NONE | P66 | PF2 | PF3

/** ModRM.reg values, as a bit mask. */
const REGS = 0xff
const reg = (...values: number[]): number => values.reduce((mask, value) => mask | (1 << value), 0)

interface Coverage {
  readonly prefixes: number
  readonly regs: number
  /** Not with a 64-bit operand. */
  readonly not64?: true
}
const full: Coverage = { prefixes: ANY, regs: REGS }

const oneByte = new Map<number, Coverage>()
const twoByte = new Map<number, Coverage>()
const cover = (table: Map<number, Coverage>, coverage: Coverage, ...opcodes: number[]): void => {
  for (const opcode of opcodes) table.set(opcode, coverage)
}
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i)

// ADD, OR, ADC, SBB, AND, SUB, XOR, CMP with a ModRM byte.
for (let group = 0; group < 8; group++) cover(oneByte, full, ...range(group * 8, group * 8 + 3))
// MOVSXD, IMUL, group 1, TEST, XCHG, MOV, LEA, MOV to and from a segment register.
cover(oneByte, full, 0x63, 0x69, 0x6b, ...range(0x80, 0x8e))
cover(oneByte, { prefixes: ANY, regs: reg(0) }, 0x8f)
// Absolute MOV, string instructions, shifts, XLAT, groups 3 to 5.
cover(oneByte, full, 0x6c, 0x6d, 0x6e, 0x6f, ...range(0xa0, 0xa7), ...range(0xaa, 0xaf), 0xc0, 0xc1, ...range(0xd0, 0xd3), 0xd7)
cover(oneByte, { prefixes: ANY, regs: reg(0) }, 0xc6, 0xc7)
cover(oneByte, full, 0xf6, 0xf7)
cover(oneByte, { prefixes: ANY, regs: reg(0, 1) }, 0xfe)
cover(oneByte, { prefixes: ANY, regs: reg(0, 1, 2, 3, 4, 5, 6) }, 0xff)
// Of x87 only FNSTCW and FNSTSW.
cover(oneByte, { prefixes: ANY, regs: reg(7) }, 0xd9, 0xdd)

cover(twoByte, { prefixes: ANY, regs: reg(0, 1, 2, 3) }, 0x00)
cover(twoByte, { prefixes: ANY, regs: reg(0, 1, 2, 3, 4, 6, 7) }, 0x01)
// Prefetches and wide NOPs.
cover(twoByte, full, 0x0d, 0x18, 0x19, ...range(0x1c, 0x1f))
// MOVUPS, MOVAPS, MOVNTPS and their double forms; MOVQ, MOVDQA, MOVDQU; MOVNTDQ.
cover(twoByte, { prefixes: NONE | P66, regs: REGS }, 0x10, 0x11, 0x28, 0x29, 0x2b)
cover(twoByte, { prefixes: NONE | P66 | PF3, regs: REGS }, 0x6f, 0x7f)
cover(twoByte, { prefixes: P66, regs: REGS }, 0xe7)
// CMOVcc, SETcc, BT to BTC, SHLD, SHRD, IMUL, CMPXCHG, LSS to LGS, MOVZX, MOVSX, group 8, BSF, BSR, XADD, MOVNTI.
cover(twoByte, full, ...range(0x40, 0x4f), ...range(0x90, 0x9f), 0xa3, 0xa4, 0xa5, 0xab, 0xac, 0xad, 0xaf, ...range(0xb0, 0xb7))
cover(twoByte, { prefixes: ANY, regs: reg(4, 5, 6, 7) }, 0xba)
cover(twoByte, full, ...range(0xbb, 0xbf), 0xc0, 0xc1, 0xc3)
// PUSH and POP of FS and GS.
cover(twoByte, full, 0xa0, 0xa1, 0xa8, 0xa9)
// FXSAVE, FXRSTOR, CLFLUSH, CLFLUSHOPT.
cover(twoByte, { prefixes: NONE | P66, regs: reg(0, 1, 7) }, 0xae)
// CMPXCHG8B, not CMPXCHG16B.
cover(twoByte, { prefixes: ANY, regs: reg(1), not64: true }, 0xc7)

/** Stack and branch instructions whose operand memory is implied. */
const implied: ReadonlySet<number> = new Set([
  ...[0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x60, 0x61, 0x68, 0x6a, 0x9a, 0x9c, 0x9d, 0xc2, 0xc3],
  ...[0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf, 0xe8, ...range(0x50, 0x5f)],
])

const isLegacyPrefix = (byte: number): boolean =>
  byte === 0x66 ||
  byte === 0x67 ||
  byte === 0xf0 ||
  byte === 0xf2 ||
  byte === 0xf3 ||
  (byte & 0xe7) === 0x26 ||
  (byte & 0xfe) === 0x64

/**
 * @param bytes an instruction from its first prefix on
 * @param is64 it runs in 64-bit mode
 */
export function kvmEmulates(bytes: Uint8Array, is64: boolean): boolean {
  let at = 0
  let prefix = NONE
  let isWide = false
  for (; at < bytes.length && isLegacyPrefix(bytes[at]); at++) {
    if (bytes[at] === 0xf2) prefix = PF2
    else if (bytes[at] === 0xf3) prefix = PF3
    else if (bytes[at] === 0x66 && prefix === NONE) prefix = P66
  }
  if (is64 && (bytes[at] & 0xf0) === 0x40) isWide = (bytes[at++] & 8) !== 0
  const first = bytes[at]
  const field = (modrm: number): number => 1 << ((modrm >> 3) & 7)
  if (first !== 0x0f) {
    // LES and LDS where these bytes are no VEX prefix.
    if (!is64 && (first === 0xc4 || first === 0xc5)) return bytes[at + 1] < 0xc0
    if (implied.has(first)) return true
    const row = oneByte.get(first)
    return row !== undefined && (row.regs & (row.regs === REGS ? REGS : field(bytes[at + 1]))) !== 0
  }
  const second = bytes[at + 1]
  if (second === 0x38) return (bytes[at + 2] === 0xf0 || bytes[at + 2] === 0xf1) && (prefix & (NONE | P66)) !== 0
  const row = twoByte.get(second)
  if (row === undefined || (row.prefixes & prefix) === 0 || (row.not64 && isWide)) return false
  return (row.regs & (row.regs === REGS ? REGS : field(bytes[at + 2]))) !== 0
}
