import { Register } from '../../decoder/iced-tables.ts'
import { RFLAGS_ZF } from '../../flags.ts'
import { define } from '../../translate/definitions.ts'
import { loadInt, storeOp } from '../../translate/emitter.ts'
import {
  add,
  and,
  binary,
  type Expr,
  eq,
  eqz,
  i32,
  i64,
  load,
  or,
  select,
  shl,
  sub,
  wrap,
  xor,
  zeroExtend,
} from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { I64, W } from '../../wasm/opcodes.ts'
import { ACCUMULATOR } from './multiply.ts'

const VECTOR_GP = 13

define('XCHG', (s) => {
  const bits = s.bitsOf(0)
  if (s.isRegister(0)) {
    const first = s.read(0)
    const second = s.read(1)
    s.write(0, second)
    s.write(1, first)
    return
  }
  // With a memory operand XCHG is locked, prefix or not (SDM Vol. 2, XCHG).
  const pointer = s.modifyPointer(s.memoryAddress(), bits / 8, true)
  const old = s.e.let(loadInt(pointer, bits))
  s.e.store(storeOp(bits), pointer, 0, s.read(1))
  s.e.commit(pointer)
  s.write(1, old)
})

define('XADD', (s) => {
  let previous = i32(0)
  let sum = i32(0)
  const register = s.isRegister(0)
  s.modify(0, (a, bits) => {
    const b = s.read(1)
    sum = s.e.let(add(bits, a, b))
    s.e.flags.fromAdd(bits, a, b, sum)
    previous = a
    // With two registers the second is written first: equal registers hold the sum (SDM).
    if (register) s.write(1, previous)
    return sum
  })
  if (!register) s.write(1, previous)
})

define('CMPXCHG', (s) => {
  const bits = s.bitsOf(0)
  const accumulator = s.readGpr(ACCUMULATOR[bits])
  const compare = (old: Expr): Expr => {
    s.e.flags.fromSub(bits, accumulator, old, s.e.let(sub(bits, accumulator, old)))
    return s.e.let(eq(bits, accumulator, old))
  }
  if (s.isRegister(0)) {
    // The register that is not loaded keeps all its 64 bits (recorded on Zen 4; the SDM's pseudo-code writes it).
    const old = s.read(0)
    const source = s.read(1)
    s.e.if(
      compare(old),
      () => s.write(0, source),
      () => s.writeGpr(ACCUMULATOR[bits], old),
    )
    return
  }
  // Memory is written in any case (SDM: the destination receives a write cycle).
  const pointer = s.modifyPointer(s.memoryAddress(), bits / 8)
  const old = s.e.let(loadInt(pointer, bits))
  const equal = compare(old)
  s.e.store(storeOp(bits), pointer, 0, select(equal, s.read(1), old))
  s.e.commit(pointer)
  s.e.if(eqz(32, equal), () => s.writeGpr(ACCUMULATOR[bits], old))
})

function setZero(s: InstructionSite, zero: Expr): void {
  s.e.flags.replace(RFLAGS_ZF, shl(32, zero, i32(Math.log2(RFLAGS_ZF))))
}

define('CMPXCHG8B', (s) => {
  const e = s.e
  const pair = (high: number, low: number) =>
    or(64, shl(64, zeroExtend(32, 64, s.readGpr(high)), i64(32)), zeroExtend(32, 64, s.readGpr(low)))
  const expected = e.let(pair(Register.EDX, Register.EAX))
  const replacement = e.let(pair(Register.ECX, Register.EBX))
  const pointer = s.modifyPointer(s.memoryAddress(), 8)
  const old = e.let(loadInt(pointer, 64))
  const equal = e.let(eq(64, old, expected))
  e.store(W.i64_store, pointer, 0, select(equal, replacement, old))
  e.commit(pointer)
  setZero(s, equal)
  e.if(eqz(32, equal), () => {
    s.writeGpr(Register.EAX, wrap(old))
    s.writeGpr(Register.EDX, wrap(binary(W.i64_shr_u, I64, old, i64(32))))
  })
})

define('CMPXCHG16B', (s) => {
  const e = s.e
  const address = s.memoryAddress()
  s.raiseIf(and(32, wrap(address), i32(15)), VECTOR_GP)
  const pointer = s.modifyPointer(address, 16)
  const oldLow = e.let(loadInt(pointer, 64))
  const oldHigh = e.let(load(W.i64_load, I64, pointer, 8))
  const differs = or(64, xor(64, oldLow, s.readGpr(Register.RAX)), xor(64, oldHigh, s.readGpr(Register.RDX)))
  const equal = e.let(eqz(64, differs))
  e.store(W.i64_store, pointer, 0, select(equal, s.readGpr(Register.RBX), oldLow))
  e.store(W.i64_store, pointer, 8, select(equal, s.readGpr(Register.RCX), oldHigh))
  e.commit(pointer)
  setZero(s, equal)
  e.if(eqz(32, equal), () => {
    s.writeGpr(Register.RAX, oldLow)
    s.writeGpr(Register.RDX, oldHigh)
  })
})
