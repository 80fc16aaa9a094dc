import { OpKind, Register } from '../../decoder/iced-tables.ts'
import { SEGMENTS } from '../../memory-map.ts'
import { define } from '../../translate/definitions.ts'
import {
  add,
  and,
  type Bits,
  binary,
  constant,
  type Expr,
  i32,
  i64,
  load,
  low,
  or,
  shl,
  shrU,
  signExtend,
  zeroExtend,
} from '../../translate/expr.ts'
import { gprNumber, type InstructionSite } from '../../translate/instruction.ts'
import { I32, I64, W } from '../../wasm/opcodes.ts'

export const isSegmentRegister = (register: number): boolean => register >= Register.ES && register <= Register.GS

// CR, DR and segment loads are forms of MOV that the system instructions define.
define('MOV', (s) => s.write(0, s.read(1)))
define('MOV', storeSelector, (d) => d.opKind[1] === OpKind.Register && isSegmentRegister(d.opRegister[1]))

/** MOV r/m, Sreg: zero-extended into a register, 16 bits into memory whatever the operand size (SDM Vol. 2, MOV). */
function storeSelector(s: InstructionSite): void {
  const value = selector(s, s.d.opRegister[1])
  if (s.isMemory(0)) s.e.storeInt(s.memoryAddress(), 16, value)
  else {
    const bits = s.bitsOf(0)
    s.write(0, zeroExtend(16, bits, value))
  }
}

/** The 16-bit selector in a segment register (iced number). */
export const selector = (s: InstructionSite, register: number): Expr =>
  load(W.i32_load16_u, I32, s.e.ctx, SEGMENTS + (register - Register.ES) * 16)

define('MOVZX', (s) => s.write(0, zeroExtend(s.bitsOf(1), s.bitsOf(0), s.read(1))))
const moveSignExtended = (s: InstructionSite): void => s.write(0, signExtend(s.bitsOf(1), s.bitsOf(0), s.read(1)))
define('MOVSX', moveSignExtended)
define('MOVSXD', moveSignExtended)

// Non-temporal and direct stores are plain stores in this memory model.
define('MOVNTI', (s) => s.write(0, s.read(1)))
define('MOVDIRI', (s) => s.write(0, s.read(1)))

define('LEA', (s) => s.write(0, low(64, s.bitsOf(0), s.effectiveAddress())))

define('XLATB', (s) => {
  const bits = s.addressBits()
  const table = s.e.gprNow(gprNumber(Register.RBX))
  const index = zeroExtend(8, 64, s.readGpr(Register.AL))
  const sum = add(64, table, index)
  const effective = bits === 64 ? sum : and(64, sum, i64(bits === 32 ? -1 : 0xffff, 0))
  s.writeGpr(Register.AL, s.e.loadInt(s.linear(effective, s.d.memorySegment), 8))
})

/** The bytes of a leaf in reverse order. */
export function swapBytes(bits: Bits, a: Expr): Expr {
  switch (bits) {
    case 64: {
      const swapped = or(
        64,
        rotated(64, a, 8, W.i64_rotl, [0x000000ff, 0x000000ff]),
        rotated(64, a, 24, W.i64_rotl, [0x0000ff00, 0x0000ff00]),
      )
      const upper = or(
        64,
        rotated(64, a, 40, W.i64_rotl, [0x00ff0000, 0x00ff0000]),
        rotated(64, a, 56, W.i64_rotl, [-0x01000000, -0x01000000]),
      )
      return or(64, swapped, upper)
    }
    case 32:
      return or(32, rotated(32, a, 8, W.i32_rotl, [0x00ff00ff, 0]), rotated(32, a, 24, W.i32_rotl, [-0x00ff0100, 0]))
    default:
      return or(32, shl(16, a, i32(8)), shrU(32, a, i32(8)))
  }
}
const rotated = (bits: 32 | 64, a: Expr, count: number, op: number, mask: [number, number]): Expr =>
  and(bits, binary(op, bits === 64 ? I64 : I32, a, constant(bits, count)), bits === 64 ? i64(mask[0], mask[1]) : i32(mask[0]))

define('BSWAP', (s) => {
  const bits = s.bitsOf(0)
  // With a 16-bit operand the result is undefined (SDM); processors clear the register's low word.
  s.write(0, bits === 16 ? i32(0) : swapBytes(bits, s.read(0)))
})
define('MOVBE', (s) => s.write(0, swapBytes(s.bitsOf(0), s.read(1))))

// Sign extension inside the accumulator.
define('CBW', (s) => s.writeGpr(Register.AX, signExtend(8, 16, s.readGpr(Register.AL))))
define('CWDE', (s) => s.writeGpr(Register.EAX, signExtend(16, 32, s.readGpr(Register.AX))))
define('CDQE', (s) => s.writeGpr(Register.RAX, signExtend(32, 64, s.readGpr(Register.EAX))))
define('CWD', (s) => {
  const sign = signExtend(16, 32, s.readGpr(Register.AX))
  s.writeGpr(Register.DX, and(32, binary(W.i32_shr_s, I32, sign, i32(31)), i32(0xffff)))
})
define('CDQ', (s) => s.writeGpr(Register.EDX, binary(W.i32_shr_s, I32, s.readGpr(Register.EAX), i32(31))))
define('CQO', (s) => s.writeGpr(Register.RDX, binary(W.i64_shr_s, I64, s.readGpr(Register.RAX), i64(63))))
