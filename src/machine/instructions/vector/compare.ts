import { RFLAGS_CF, RFLAGS_ZF } from '../../flags.ts'
import { type Bits, binary, type Expr, eqz, i32 } from '../../translate/expr.ts'
import { andNot, anyTrue, EQ, GT_S, LE_S, LT_S, ltU, NE, ones, signBits, vand, vec2, vnot, zero } from '../../translate/lanes.ts'
import { I32, W } from '../../wasm/opcodes.ts'
import { defineVector } from './available.ts'
import { both, defineComparison, readOperands, wasm2 } from './forms.ts'

const WIDTHS: [suffix: string, bits: Bits][] = [
  ['B', 8],
  ['W', 16],
  ['D', 32],
  ['Q', 64],
]

/** Predicates 0..7 of VPCMP and VPCMPU: EQ LT LE FALSE NE NLT NLE TRUE. */
function compare(predicate: number, signed: boolean, bits: Bits, a: Expr, b: Expr): Expr {
  switch (predicate) {
    case 0:
      return vec2(EQ[bits], a, b)
    case 1:
      return signed ? vec2(LT_S[bits], a, b) : ltU(bits, a, b)
    case 2:
      return signed ? vec2(LE_S[bits], a, b) : vnot(ltU(bits, b, a))
    case 3:
      return zero()
    case 4:
      return vec2(NE[bits], a, b)
    case 7:
      return ones()
    default: // NLT, NLE
      return vnot(compare(predicate - 4, signed, bits, a, b))
  }
}

for (const [suffix, bits] of WIDTHS) {
  defineComparison(both(`PCMPEQ${suffix}`), bits, wasm2(EQ[bits]))
  defineComparison(both(`PCMPGT${suffix}`), bits, wasm2(GT_S[bits]))
  defineComparison(`VPCMP${suffix}`, bits, ({ immediate }, a, b) => compare(immediate & 7, true, bits, a, b))
  defineComparison(`VPCMPU${suffix}`, bits, ({ immediate }, a, b) => compare(immediate & 7, false, bits, a, b))
  defineComparison(`VPTESTM${suffix}`, bits, (_x, a, b) => vec2(NE[bits], vand(a, b), zero()))
  defineComparison(`VPTESTNM${suffix}`, bits, (_x, a, b) => vec2(EQ[bits], vand(a, b), zero()))
}

/** ZF: no selected bit of a AND b; CF: none of b AND NOT a. The other flags become 0. */
function defineTest(mnemonics: string[], selected: (bits: Expr) => Expr): void {
  defineVector(mnemonics, (x) => {
    const [a, b] = readOperands(x, 0, 2, {})
    const any = (chunkOf: (c: number) => Expr) => {
      let all = i32(0)
      for (let c = 0; c < x.chunks; c++) all = binary(W.i32_or, I32, all, anyTrue(selected(chunkOf(c))))
      return eqz(32, all)
    }
    const zf = any((c) => vand(a.chunk(c), b.chunk(c)))
    const cf = any((c) => andNot(b.chunk(c), a.chunk(c)))
    x.e.flags.fromBits(
      binary(W.i32_or, I32, binary(W.i32_mul, I32, zf, i32(RFLAGS_ZF)), binary(W.i32_mul, I32, cf, i32(RFLAGS_CF))),
    )
  })
}
defineTest(both('PTEST'), (bits) => bits)
defineTest(['VTESTPS'], (bits) => vand(bits, signBits(32)))
defineTest(['VTESTPD'], (bits) => vand(bits, signBits(64)))
