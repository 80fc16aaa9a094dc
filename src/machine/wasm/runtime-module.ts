import { CC_ADD, CC_DEC, CC_FLAGS, CC_INC, CC_SUB } from '../flags.ts'
import {
  BOUNCE,
  CONTEXT_TAG,
  JUMP_CACHE_BASE,
  JUMP_CACHE_BITS,
  JUMP_ENTRY_SIZE,
  RIP,
  TLB_ENTRY_SIZE,
  TLB_MASK,
  TLB_POINTER,
} from '../memory-map.ts'
import { binary, type Expr, i32, i64, load, local, unary, writeExpr } from '../translate/expr.ts'
import { CodeBuffer } from './code.ts'
import { I32, I64, VOID, W } from './opcodes.ts'

/** Return code of `run` when RIP has no compiled entry: EXIT_MISS of emitter.ts. */
const MISS = 5

/**
 * The module that alone owns the function table: `run(ctx, fpu)` chains regions through the jump cache, and the routines
 * that regions import: flags, the high half of products, and the software-TLB lookup of cold code.
 */
export function runtimeModule(tableSize: number): Uint8Array {
  const out = new CodeBuffer(4096)
  for (const b of [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) out.byte(b)
  out.section(
    1,
    contents((s) => vector(s, TYPES, ([params, results]) => functionType(s, params, results))),
  )
  out.section(2, contents(writeImports))
  out.section(
    3,
    contents((s) => vector(s, FUNCTIONS, ({ type }) => s.u32(type))),
  )
  out.section(
    4,
    contents((s) => {
      for (const value of [1, 0x70, 1]) s.byte(value)
      s.u32(tableSize)
      s.u32(tableSize)
    }),
  )
  out.section(
    7,
    contents((s) => {
      s.u32(FUNCTIONS.length + 1)
      exported(s, 'table', 1, 0)
      FUNCTIONS.forEach(({ name }, i) => {
        exported(s, name, 0, SLOW_PATHS.length + i)
      })
    }),
  )
  out.section(
    10,
    contents((s) =>
      vector(s, FUNCTIONS, ({ body }) => {
        const written = body()
        s.u32(written.length)
        s.append(written.view())
      }),
    ),
  )
  return out.view()
}

/** Types by index: region, run, flags, multiply, pointer, slow path. */
const TYPES: [number[], number[]][] = [
  [[I32, I32, I32], [I32]],
  [[I32, I32], [I32]],
  [[I32, I64, I64, I64], [I32]],
  [[I64, I64], [I64]],
  [[I32, I64, I32], [I32]],
  [[I32, I32, I32, I32], [I32]],
]
/** Imported functions, indices 0 and 1. */
const SLOW_PATHS = ['readSlow', 'modifySlow']
const FUNCTIONS: { name: string; type: number; body: () => CodeBuffer }[] = [
  { name: 'run', type: 1, body: runBody },
  { name: 'flags', type: 2, body: flagsBody },
  { name: 'mulHighU', type: 3, body: () => mulHighBody(false) },
  { name: 'mulHighS', type: 3, body: () => mulHighBody(true) },
  { name: 'readPointer', type: 4, body: () => pointerBody(0, (s) => callSlow(s, 0)) },
  { name: 'modifyPointer', type: 4, body: () => pointerBody(8, (s) => callSlow(s, 1)) },
  {
    name: 'storePointer',
    type: 4,
    body: () => pointerBody(8, (s) => writeExpr(s, binary(W.i32_add, I32, local(0, I32), i32(BOUNCE)))),
  },
]

function writeImports(s: CodeBuffer): void {
  s.u32(SLOW_PATHS.length + 1)
  for (const name of SLOW_PATHS) {
    s.name('m')
    s.name(name)
    s.byte(0)
    s.u32(5)
  }
  s.name('m')
  s.name('memory')
  for (const value of [2, 0, 1]) s.byte(value)
}

/**
 * The software-TLB lookup that cold regions call: (ctx, linear, accessInfo) -> wasm address, or what `miss` leaves (a slow
 * path's pointer, 0 after a fault; for stores the bounce buffer).
 */
function pointerBody(tagOffset: number, miss: (s: CodeBuffer) => void): CodeBuffer {
  const s = new CodeBuffer(128)
  s.u32(1)
  s.u32(1)
  s.byte(I32)
  const [ctx, linear, info, entry] = [local(0, I32), local(1, I64), local(2, I32), local(3, I32)]
  const wrap = (e: Expr) => unary(W.i32_wrap_i64, I32, e)
  const shift = 12 - Math.log2(TLB_ENTRY_SIZE)
  const index = binary(W.i32_and, I32, binary(W.i32_shr_u, I32, wrap(linear), i32(shift)), load(W.i32_load, I32, ctx, TLB_MASK))
  set(s, 3, binary(W.i32_add, I32, index, load(W.i32_load, I32, ctx, TLB_POINTER)))
  const bytes = unary(W.i64_extend_i32_u, I64, binary(W.i32_and, I32, info, i32(0x7f)))
  const last = binary(W.i64_sub, I64, binary(W.i64_add, I64, linear, bytes), i64(1))
  const hit = binary(W.i64_eq, I32, load(W.i64_load, I64, entry, tagOffset), binary(W.i64_and, I64, last, i64(-4096)))
  writeExpr(s, hit)
  s.byte(W.if)
  s.byte(VOID)
  writeExpr(s, binary(W.i32_add, I32, wrap(linear), load(W.i32_load, I32, entry, 16)))
  s.byte(W.return)
  s.byte(W.end)
  miss(s)
  s.byte(W.end)
  return s
}
function callSlow(s: CodeBuffer, fn: number): void {
  writeExpr(s, local(0, I32))
  writeExpr(s, unary(W.i32_wrap_i64, I32, local(1, I64)))
  writeExpr(s, unary(W.i32_wrap_i64, I32, binary(W.i64_shr_u, I64, local(1, I64), i64(32))))
  writeExpr(s, local(2, I32))
  s.byte(W.call)
  s.u32(fn)
}

function vector<T>(s: CodeBuffer, items: readonly T[], write: (item: T) => void): void {
  s.u32(items.length)
  for (const item of items) write(item)
}
function contents(write: (s: CodeBuffer) => void): CodeBuffer {
  const s = new CodeBuffer(512)
  write(s)
  return s
}
function functionType(s: CodeBuffer, params: number[], results: number[]): void {
  s.byte(0x60)
  s.u32(params.length)
  for (const p of params) s.byte(p)
  s.u32(results.length)
  for (const r of results) s.byte(r)
}
function exported(s: CodeBuffer, name: string, kind: number, index: number): void {
  s.name(name)
  s.byte(kind)
  s.u32(index)
}
const set = (s: CodeBuffer, index: number, e: Expr) => {
  writeExpr(s, e)
  s.byte(W.local_set)
  s.u32(index)
}

/** loop: look RIP and the context's tag up in the jump cache; call the region; stop unless it says EXIT_JUMP. */
function runBody(): CodeBuffer {
  const s = new CodeBuffer(256)
  s.u32(3)
  for (const [count, type] of [
    [1, I64],
    [2, I32],
    [1, I32],
  ]) {
    s.u32(count)
    s.byte(type)
  }
  const ctx = local(0, I32)
  const rip = local(2, I64)
  const entry = local(3, I32)
  const target = local(4, I32)
  const result = local(5, I32)
  s.byte(W.loop)
  s.byte(VOID)
  set(s, 2, load(W.i64_load, I64, ctx, RIP))
  set(s, 3, jumpCacheEntry(rip))
  // miss unless entry.rip == rip and entry.tag == ctx.tag
  const hit = binary(
    W.i32_and,
    I32,
    binary(W.i64_eq, I32, load(W.i64_load, I64, entry, 0), rip),
    binary(W.i32_eq, I32, load(W.i32_load, I32, entry, 8), load(W.i32_load, I32, ctx, CONTEXT_TAG)),
  )
  writeExpr(s, unary(W.i32_eqz, I32, hit))
  s.byte(W.if)
  s.byte(VOID)
  writeExpr(s, i32(MISS))
  s.byte(W.return)
  s.byte(W.end)
  set(s, 4, load(W.i32_load, I32, entry, 12))
  writeExpr(s, ctx)
  writeExpr(s, local(1, I32))
  writeExpr(s, binary(W.i32_shr_u, I32, target, i32(16)))
  writeExpr(s, binary(W.i32_and, I32, target, i32(0xffff)))
  s.byte(W.call_indirect)
  s.u32(0)
  s.u32(0)
  s.byte(W.local_tee)
  s.u32(5)
  s.byte(W.i32_eqz)
  s.byte(W.br_if)
  s.u32(0)
  s.byte(W.end)
  writeExpr(s, result)
  s.byte(W.end)
  return s
}

/** Jump-cache slot of a RIP: TypeScript's `jumpCacheOffset` computes the same. */
export function jumpCacheEntry(rip: Expr): Expr {
  const lo = unary(W.i32_wrap_i64, I32, rip)
  const mixed = binary(W.i32_xor, I32, lo, binary(W.i32_shr_u, I32, unary(W.i32_wrap_i64, I32, rip), i32(JUMP_CACHE_BITS)))
  const index = binary(W.i32_and, I32, mixed, i32((1 << JUMP_CACHE_BITS) - 1))
  return binary(W.i32_add, I32, binary(W.i32_mul, I32, index, i32(JUMP_ENTRY_SIZE)), i32(JUMP_CACHE_BASE))
}
export const jumpCacheOffset = (ripLo: number): number =>
  JUMP_CACHE_BASE + ((ripLo ^ (ripLo >>> JUMP_CACHE_BITS)) & ((1 << JUMP_CACHE_BITS) - 1)) * JUMP_ENTRY_SIZE

/** The six arithmetic flags of a lazy operation; the same as materializeArithmeticFlags. */
function flagsBody(): CodeBuffer {
  const s = new CodeBuffer(512)
  s.u32(2)
  s.u32(3)
  s.byte(I32)
  s.u32(3)
  s.byte(I64)
  const op = local(0, I32)
  const [a, b, res] = [local(1, I64), local(2, I64), local(3, I64)]
  const [kind, flags, shift] = [local(4, I32), local(5, I32), local(6, I32)]
  const [ta, tb, tr] = [local(7, I64), local(8, I64), local(9, I64)]
  const returnIf = (cond: Expr, value: () => Expr) => {
    writeExpr(s, cond)
    s.byte(W.if)
    s.byte(VOID)
    writeExpr(s, value())
    s.byte(W.return)
    s.byte(W.end)
  }
  const wrap = (e: Expr) => unary(W.i32_wrap_i64, I32, e)
  const bitIf = (cond: Expr, bit: number) => binary(W.i32_shl, I32, cond, i32(Math.log2(bit)))
  const or = (...list: Expr[]) => list.reduce((x, y) => binary(W.i32_or, I32, x, y))
  const negative = (e: Expr) => binary(W.i64_lt_s, I32, e, i64(0))
  const xor = (x: Expr, y: Expr) => binary(W.i64_xor, I64, x, y)
  const and = (x: Expr, y: Expr) => binary(W.i64_and, I64, x, y)
  const not = (x: Expr) => binary(W.i64_xor, I64, x, i64(-1, -1))

  returnIf(unary(W.i32_eqz, I32, op), () => wrap(res))
  void CC_FLAGS
  // Values shifted so that the operation's top bit is bit 63.
  set(s, 6, binary(W.i32_sub, I32, i32(64), binary(W.i32_shl, I32, i32(8), binary(W.i32_and, I32, op, i32(3)))))
  set(s, 4, binary(W.i32_and, I32, op, i32(-4)))
  const wide = () => unary(W.i64_extend_i32_u, I64, shift)
  set(s, 7, binary(W.i64_shl, I64, a, wide()))
  set(s, 8, binary(W.i64_shl, I64, b, wide()))
  set(s, 9, binary(W.i64_shl, I64, res, wide()))
  // PF: even number of ones in the low byte
  const ones = unary(W.i32_popcnt, I32, binary(W.i32_and, I32, wrap(res), i32(0xff)))
  const pf = bitIf(binary(W.i32_xor, I32, binary(W.i32_and, I32, ones, i32(1)), i32(1)), 4)
  set(s, 5, or(pf, bitIf(unary(W.i64_eqz, I32, tr), 0x40), bitIf(negative(tr), 0x80)))
  const af = () => binary(W.i32_and, I32, wrap(xor(xor(a, b), res)), i32(0x10))
  returnIf(binary(W.i32_eq, I32, kind, i32(CC_ADD)), () => {
    const carry = negative(binary(W.i64_or, I64, and(ta, tb), and(binary(W.i64_or, I64, ta, tb), not(tr))))
    return or(flags, carry, bitIf(negative(and(xor(ta, tr), xor(tb, tr))), 0x800), af())
  })
  returnIf(binary(W.i32_eq, I32, kind, i32(CC_SUB)), () => {
    const borrow = negative(binary(W.i64_or, I64, and(not(ta), tb), and(binary(W.i64_or, I64, not(ta), tb), tr)))
    return or(flags, borrow, bitIf(negative(and(xor(ta, tb), xor(ta, tr))), 0x800), af())
  })
  const lowNibble = () => binary(W.i32_and, I32, wrap(res), i32(0xf))
  const oldCarry = () => binary(W.i32_and, I32, wrap(b), i32(1))
  returnIf(binary(W.i32_eq, I32, kind, i32(CC_INC)), () => {
    const overflow = binary(W.i64_eq, I32, tr, i64(0, 0x80000000 | 0))
    return or(flags, oldCarry(), bitIf(overflow, 0x800), bitIf(unary(W.i32_eqz, I32, lowNibble()), 0x10))
  })
  returnIf(binary(W.i32_eq, I32, kind, i32(CC_DEC)), () => {
    const max = binary(W.i64_shl, I64, binary(W.i64_shr_u, I64, i64(-1, 0x7fffffff), wide()), wide())
    const overflow = binary(W.i64_eq, I32, tr, max)
    return or(flags, oldCarry(), bitIf(overflow, 0x800), bitIf(binary(W.i32_eq, I32, lowNibble(), i32(0xf)), 0x10))
  })
  writeExpr(s, or(flags, binary(W.i32_and, I32, wrap(b), i32(0x811))))
  s.byte(W.end)
  return s
}

/** High 64 bits of a 64 x 64 product, from 32-bit parts (Knuth 4.3.1); signed: corrected by the operands' signs. */
function mulHighBody(signed: boolean): CodeBuffer {
  const s = new CodeBuffer(256)
  s.u32(1)
  s.u32(3)
  s.byte(I64)
  const [a, b] = [local(0, I64), local(1, I64)]
  const [t, w1, w2] = [local(2, I64), local(3, I64), local(4, I64)]
  const lo = (e: Expr) => binary(W.i64_and, I64, e, i64(-1, 0))
  const hi = (e: Expr) => binary(W.i64_shr_u, I64, e, i64(32))
  const mul = (x: Expr, y: Expr) => binary(W.i64_mul, I64, x, y)
  const add = (x: Expr, y: Expr) => binary(W.i64_add, I64, x, y)
  set(s, 2, add(mul(hi(a), lo(b)), hi(mul(lo(a), lo(b)))))
  set(s, 3, add(lo(t), mul(lo(a), hi(b))))
  set(s, 4, add(mul(hi(a), hi(b)), add(hi(t), hi(w1))))
  let result: Expr = w2
  if (signed) {
    const sign = (x: Expr) => binary(W.i64_shr_s, I64, x, i64(63))
    result = binary(W.i64_sub, I64, result, binary(W.i64_and, I64, sign(a), b))
    result = binary(W.i64_sub, I64, result, binary(W.i64_and, I64, sign(b), a))
  }
  writeExpr(s, result)
  s.byte(W.end)
  return s
}
