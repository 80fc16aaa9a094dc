import {
  CC_ADD,
  CC_DEC,
  CC_FLAGS,
  CC_INC,
  CC_RESULT,
  CC_SUB,
  RFLAGS_AF,
  RFLAGS_CF,
  RFLAGS_OF,
  RFLAGS_PF,
  RFLAGS_SF,
  RFLAGS_ZF,
} from '../flags.ts'
import { CC_A, CC_B, CC_OP, CC_RES } from '../memory-map.ts'
import { I32, I64, W } from '../wasm/opcodes.ts'
import type { Emitter } from './emitter.ts'
import { FN_FLAGS, LOCAL_CC_A, LOCAL_CC_B, LOCAL_CC_OP, LOCAL_CC_RES, Sequence } from './emitter.ts'
import {
  and,
  type Bits,
  binary,
  Expr,
  eq,
  eqz,
  geU,
  gtU,
  i32,
  i64,
  leS,
  leU,
  load,
  local,
  low,
  ltS,
  ltU,
  ne,
  not,
  or,
  signBit,
  unary,
  zeroExtend,
} from './expr.ts'

const SIZE: Record<Bits, number> = { 8: 0, 16: 1, 32: 2, 64: 3 }

/**
 * The lazy flags inside a region: four locals, and what is known at translation time about the operation that set them
 * last in this block (`known`), so that a condition becomes a comparison of its operands.
 */
export class FlagState {
  private readonly e: Emitter
  /** False: every condition goes through the general flags routine. */
  fused = true
  /** CC_ADD (without carry in), CC_SUB (without borrow in), CC_RESULT, ... of the last setter, or -1 when unknown. */
  private known = -1
  private bits: Bits = 32
  /** The last operation was logic: CF = OF = 0. */
  private logic = false
  /** ADC/SBB: comparisons of the operands do not tell the carry. */
  private withCarry = false

  constructor(emitter: Emitter) {
    this.e = emitter
  }

  /** At a block's start: nothing is known. */
  forget(): void {
    this.known = -1
  }

  private set(local_: number, value: Expr): void {
    this.e.assign(local(local_, local_ === LOCAL_CC_OP ? I32 : I64), value)
  }
  private begin(op: number, bits: Bits): void {
    this.e.usesFlags = this.e.dirtyFlags = true
    this.set(LOCAL_CC_OP, i32(op === CC_FLAGS ? op : op | SIZE[bits]))
    this.known = this.fused ? op : -1
    this.bits = bits
    this.logic = this.withCarry = false
  }

  /** Flags of res = a + b (+ carry in). All three must be leaves. */
  fromAdd(bits: Bits, a: Expr, b: Expr, res: Expr, withCarry = false): void {
    this.begin(CC_ADD, bits)
    this.withCarry = withCarry
    this.setOperands(bits, a, b, res)
  }
  /** Flags of res = a - b (- borrow in). */
  fromSub(bits: Bits, a: Expr, b: Expr, res: Expr, withBorrow = false): void {
    this.begin(CC_SUB, bits)
    this.withCarry = withBorrow
    this.setOperands(bits, a, b, res)
  }
  private setOperands(bits: Bits, a: Expr, b: Expr, res: Expr): void {
    this.set(LOCAL_CC_A, zeroExtend(bits, 64, a))
    this.set(LOCAL_CC_B, zeroExtend(bits, 64, b))
    this.set(LOCAL_CC_RES, zeroExtend(bits, 64, res))
  }
  /** AND, OR, XOR, TEST: CF = OF = AF = 0 (AF is undefined by the SDM; zero as processors do). */
  fromLogic(bits: Bits, res: Expr): void {
    this.begin(CC_RESULT, bits)
    this.logic = true
    this.set(LOCAL_CC_B, i64(0))
    this.set(LOCAL_CC_RES, zeroExtend(bits, 64, res))
  }
  /** SF ZF PF from the result; CF AF OF are those bits of `rest` (i32 leaf or expression in RFLAGS positions). */
  fromResult(bits: Bits, res: Expr, rest: Expr): void {
    this.begin(CC_RESULT, bits)
    this.set(LOCAL_CC_B, unary(W.i64_extend_i32_u, I64, rest))
    this.set(LOCAL_CC_RES, zeroExtend(bits, 64, res))
  }
  /** INC and DEC keep CF: `carry` is the i32 0/1 read before. */
  fromInc(bits: Bits, carry: Expr, res: Expr): void {
    this.begin(CC_INC, bits)
    this.set(LOCAL_CC_B, unary(W.i64_extend_i32_u, I64, carry))
    this.set(LOCAL_CC_RES, zeroExtend(bits, 64, res))
  }
  fromDec(bits: Bits, carry: Expr, res: Expr): void {
    this.begin(CC_DEC, bits)
    this.set(LOCAL_CC_B, unary(W.i64_extend_i32_u, I64, carry))
    this.set(LOCAL_CC_RES, zeroExtend(bits, 64, res))
  }
  /** The six flags are these bits (an i32 in RFLAGS positions, other bits clear). */
  fromBits(flags: Expr): void {
    this.e.usesFlags = this.e.dirtyFlags = true
    const kept = this.e.let(flags)
    this.set(LOCAL_CC_OP, i32(CC_FLAGS))
    this.set(LOCAL_CC_RES, unary(W.i64_extend_i32_u, I64, kept))
    this.known = CC_FLAGS
  }

  /** Changes the flags in `mask` to those bits of `bits` (an i32 with no others set) and leaves the rest as they are. */
  replace(mask: number, bits: Expr): void {
    if (this.known === CC_RESULT && (mask & ~(RFLAGS_CF | RFLAGS_AF | RFLAGS_OF)) === 0) {
      const rest = and(64, local(LOCAL_CC_B, I64), i64(~mask))
      this.set(LOCAL_CC_B, binary(W.i64_or, I64, rest, unary(W.i64_extend_i32_u, I64, bits)))
      this.logic = false
    } else this.fromBits(binary(W.i32_or, I32, and(32, this.all(), i32(~mask)), bits))
  }

  /** All six flags as an i32 in RFLAGS positions. */
  all(): Expr {
    this.e.usesFlags = true
    if (this.known === CC_FLAGS) return unary(W.i32_wrap_i64, I32, local(LOCAL_CC_RES, I64))
    return new Expr(
      W.call,
      I32,
      local(LOCAL_CC_OP, I32),
      local(LOCAL_CC_A, I64),
      new Sequence(local(LOCAL_CC_B, I64), local(LOCAL_CC_RES, I64)),
      FN_FLAGS,
      0,
    )
  }
  private bit(flag: number): Expr {
    return and(32, this.all(), i32(flag))
  }

  private operand(slot: number): Expr {
    this.e.usesFlags = true
    return low(64, this.bits, local(slot, I64))
  }

  /** i32, 0 or 1. */
  carry(): Expr {
    switch (this.known) {
      case CC_ADD:
        if (!this.withCarry) return ltU(this.bits, this.operand(LOCAL_CC_RES), this.operand(LOCAL_CC_A))
        return this.carryOfThree(this.operand(LOCAL_CC_A), not(this.bits, this.operand(LOCAL_CC_RES)))
      case CC_SUB:
        if (!this.withCarry) return ltU(this.bits, this.operand(LOCAL_CC_A), this.operand(LOCAL_CC_B))
        return this.carryOfThree(not(this.bits, this.operand(LOCAL_CC_A)), this.operand(LOCAL_CC_RES))
      case CC_RESULT:
        if (this.logic) return i32(0)
        this.e.usesFlags = true
        return and(32, unary(W.i32_wrap_i64, I32, local(LOCAL_CC_B, I64)), i32(1))
      case CC_INC:
      case CC_DEC:
        this.e.usesFlags = true
        return unary(W.i32_wrap_i64, I32, local(LOCAL_CC_B, I64))
    }
    return this.bit(RFLAGS_CF)
  }
  /** Carry of ADC and borrow of SBB: the top bit of (a & b) | ((a | b) & r), with a complemented for SBB and r for ADC. */
  private carryOfThree(a: Expr, r: Expr): Expr {
    const bits = this.bits
    const kept = this.e.let(a)
    const either = or(bits, kept, this.operand(LOCAL_CC_B))
    return signBit(bits, or(bits, and(bits, kept, this.operand(LOCAL_CC_B)), and(bits, either, r)))
  }
  zero(): Expr {
    if (this.known === CC_SUB && !this.withCarry) return eq(this.bits, this.operand(LOCAL_CC_A), this.operand(LOCAL_CC_B))
    if (this.known > CC_FLAGS) return eqz(this.bits, this.operand(LOCAL_CC_RES))
    return ne(32, this.bit(RFLAGS_ZF), i32(0))
  }
  sign(): Expr {
    if (this.known > CC_FLAGS) return signBit(this.bits, this.operand(LOCAL_CC_RES))
    return ne(32, this.bit(RFLAGS_SF), i32(0))
  }

  /**
   * Condition code 0..15 as in Jcc's opcode (SDM Vol. 1, Appendix B): O NO B AE E NE BE A S NS P NP L GE LE G. An i32
   * that is non-zero when it holds.
   */
  condition(code: number): Expr {
    const e = this.positive(code >> 1)
    return code & 1 ? unary(W.i32_eqz, I32, e) : e
  }
  private positive(pair: number): Expr {
    const compare = this.known === CC_SUB && !this.withCarry
    const a = () => this.operand(LOCAL_CC_A)
    const b = () => this.operand(LOCAL_CC_B)
    switch (pair) {
      case 0:
        return this.logic && this.known === CC_RESULT ? i32(0) : this.bit(RFLAGS_OF)
      case 1:
        return this.carry()
      case 2:
        return this.zero()
      case 3:
        if (compare) return leU(this.bits, a(), b())
        if (this.known === CC_RESULT && this.logic) return this.zero()
        return this.bit(RFLAGS_CF | RFLAGS_ZF)
      case 4:
        return this.sign()
      case 5:
        return this.bit(RFLAGS_PF)
      case 6:
        if (compare) return ltS(this.bits, a(), b())
        if (this.known === CC_RESULT && this.logic) return this.sign()
        return this.signDiffersFromOverflow(this.e.let(this.all()))
      default: {
        if (compare) return leS(this.bits, a(), b())
        if (this.known === CC_RESULT && this.logic)
          return leS(this.bits, this.operand(LOCAL_CC_RES), this.bits === 64 ? i64(0) : i32(0))
        const flags = this.e.let(this.all())
        return binary(W.i32_or, I32, this.signDiffersFromOverflow(flags), and(32, flags, i32(RFLAGS_ZF)))
      }
    }
  }
  private signDiffersFromOverflow(flags: Expr): Expr {
    // SF is bit 7, OF bit 11
    const moved = binary(W.i32_shr_u, I32, flags, i32(4))
    return and(32, binary(W.i32_xor, I32, moved, flags), i32(RFLAGS_SF))
  }

  spill(): void {
    this.e.setCtx32(CC_OP, local(LOCAL_CC_OP, I32))
    this.e.setCtx64(CC_A, local(LOCAL_CC_A, I64))
    this.e.setCtx64(CC_B, local(LOCAL_CC_B, I64))
    this.e.setCtx64(CC_RES, local(LOCAL_CC_RES, I64))
  }
  reload(): void {
    this.e.assign(local(LOCAL_CC_OP, I32), load(W.i32_load, I32, this.e.ctx, CC_OP))
    this.e.assign(local(LOCAL_CC_A, I64), load(W.i64_load, I64, this.e.ctx, CC_A))
    this.e.assign(local(LOCAL_CC_B, I64), load(W.i64_load, I64, this.e.ctx, CC_B))
    this.e.assign(local(LOCAL_CC_RES, I64), load(W.i64_load, I64, this.e.ctx, CC_RES))
  }
}

/** Flag bits assembled from i32 0/1 values. */
export const flagBits = { cf: RFLAGS_CF, pf: RFLAGS_PF, af: RFLAGS_AF, zf: RFLAGS_ZF, sf: RFLAGS_SF, of: RFLAGS_OF, geU, gtU }
