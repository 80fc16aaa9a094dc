import { VECTOR } from '../../memory-map.ts'
import type { Emitter } from '../../translate/emitter.ts'
import { add, and, binary, type Expr, i32, load, or, shrU, xor } from '../../translate/expr.ts'
import { extractLane, replaceLane, shuffle, splat, vxor } from '../../translate/lanes.ts'
import { I32, V, V128, W } from '../../wasm/opcodes.ts'
import { defineLanes } from './forms.ts'

/** SHA-1 and SHA-256 steps (FIPS 180-4; SDM Vol. 2B, "SHA1MSG1" ff.). Word 0 is the lowest 32 bits. */

const rotl = (x: Expr, n: number): Expr => binary(W.i32_rotl, I32, x, i32(n))
const rotr = (x: Expr, n: number): Expr => binary(W.i32_rotr, I32, x, i32(n))
const sum = (first: Expr, ...rest: Expr[]): Expr => rest.reduce((total, x) => add(32, total, x), first)
const xor3 = (a: Expr, b: Expr, c: Expr): Expr => xor(32, xor(32, a, b), c)

/** The four words of a vector as leaves. */
function words(e: Emitter, source: Expr): Expr[] {
  const kept = e.let(source)
  return [0, 1, 2, 3].map((i) => e.let(extractLane(32, kept, i)))
}
const vector = (w: readonly Expr[]): Expr => w.slice(1).reduce((v, x, i) => replaceLane(32, v, i + 1, x), splat(32, w[0]))

/** (x AND y) XOR (NOT x AND z), and the majority of three. */
const choose = (x: Expr, y: Expr, z: Expr): Expr => xor(32, z, and(32, x, xor(32, y, z)))
const majority = (x: Expr, y: Expr, z: Expr): Expr => or(32, and(32, x, y), and(32, z, or(32, x, y)))

// ---- SHA-256 ----
/** XMM0 holds two words of message plus constant; operand 0 is C D G H, operand 1 A B E F (highest word first). */
defineLanes('SHA256RNDS2', 32, 2, ({ e }, first, second) => {
  const [h0, g0, d0, c0] = words(e, first)
  const [f0, e0, b0, a0] = words(e, second)
  const message = words(e, load(V.load, V128, e.fpu, VECTOR))
  let [a, b, c, d, ee, f, g, h] = [a0, b0, c0, d0, e0, f0, g0, h0]
  for (let round = 0; round < 2; round++) {
    const t = e.let(sum(h, choose(ee, f, g), xor3(rotr(ee, 6), rotr(ee, 11), rotr(ee, 25)), message[round]))
    const u = sum(t, majority(a, b, c), xor3(rotr(a, 2), rotr(a, 13), rotr(a, 22)))
    ;[h, g, f, ee, d, c, b, a] = [g, f, ee, e.let(add(32, t, d)), c, b, a, e.let(u)]
  }
  return vector([f, ee, b, a])
})
defineLanes('SHA256MSG1', 32, 2, ({ e }, first, second) => {
  const w = [...words(e, first), e.let(extractLane(32, second, 0))]
  const sigma0 = (x: Expr) => xor3(rotr(x, 7), rotr(x, 18), shrU(32, x, i32(3)))
  return vector([0, 1, 2, 3].map((i) => add(32, w[i], sigma0(w[i + 1]))))
})
defineLanes('SHA256MSG2', 32, 2, ({ e }, first, second) => {
  const w = words(e, first)
  const [, , w14, w15] = words(e, second)
  const sigma1 = (x: Expr) => xor3(rotr(x, 17), rotr(x, 19), shrU(32, x, i32(10)))
  const w16 = e.let(add(32, w[0], sigma1(w14)))
  const w17 = e.let(add(32, w[1], sigma1(w15)))
  return vector([w16, w17, add(32, w[2], sigma1(w16)), add(32, w[3], sigma1(w17))])
})

// ---- SHA-1: word 3 is the first ----
const CONSTANTS = [0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6]
defineLanes('SHA1RNDS4', 32, 2, ({ e, immediate }, first, second) => {
  let [d, c, b, a] = words(e, first)
  const message = words(e, second)
  const kind = immediate & 3
  const f = (x: Expr, y: Expr, z: Expr) => (kind === 0 ? choose(x, y, z) : kind === 2 ? majority(x, y, z) : xor3(x, y, z))
  // E of the first round is already in the message word
  let next: Expr = i32(0)
  for (let round = 0; round < 4; round++) {
    const t = e.let(sum(f(b, c, d), rotl(a, 5), message[3 - round], next, i32(CONSTANTS[kind])))
    next = d
    ;[d, c, b, a] = [c, e.let(rotl(b, 30)), a, t]
  }
  return vector([d, c, b, a])
})
defineLanes('SHA1NEXTE', 32, 2, ({ e }, first, second) => {
  const w = words(e, second)
  return vector([w[0], w[1], w[2], add(32, w[3], rotl(extractLane(32, first, 3), 30))])
})
defineLanes('SHA1MSG1', 32, 2, ({ e }, first, second) => {
  const a = e.let(first)
  return vxor(a, shuffle(64, second, a, [1, 2]))
})
defineLanes('SHA1MSG2', 32, 2, ({ e }, first, second) => {
  const w = words(e, first)
  const m = words(e, second)
  const w16 = e.let(rotl(xor(32, w[3], m[2]), 1))
  const w17 = rotl(xor(32, w[2], m[1]), 1)
  const w18 = rotl(xor(32, w[1], m[0]), 1)
  return vector([rotl(xor(32, w[0], w16), 1), w18, w17, w16])
})
