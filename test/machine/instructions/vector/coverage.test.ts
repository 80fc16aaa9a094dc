import { expect, it } from 'vitest'
import '../../../../src/machine/instructions/vector/index.ts'
import { vectorMnemonics } from '../../../../src/machine/instructions/vector/available.ts'
import { iced, mnemonicOf } from '../../differential/forms.ts'
import { FLOAT } from './float-mnemonics.ts'

const F = iced.CpuidFeature
/** Features all of whose instructions are integer or data movement: none may be missing. */
const WHOLE_FEATURES = new Set([
  F.MMX,
  F.AES,
  F.PCLMULQDQ,
  F.SHA,
  F.GFNI,
  F.VAES,
  F.VPCLMULQDQ,
  F.AVX_VNNI,
  F.AVX_IFMA,
  F.AVX512CD,
  F.AVX512_VBMI,
  F.AVX512_VBMI2,
  F.AVX512_VNNI,
  F.AVX512_BITALG,
  F.AVX512_VPOPCNTDQ,
  F.AVX512_IFMA,
  F.AVX512_VP2INTERSECT,
  F.AVX2,
  F.AVX512BW,
])
function missing(wanted: (mnemonic: string, features: ReadonlySet<number>) => boolean): string[] {
  const found = new Set<string>()
  for (const code of Object.values(iced.Code)) {
    if (typeof code !== 'number') continue
    const info = iced.CodeExt.opCode(code)
    if (!info.isInstruction || info.encoding === iced.EncodingKind.MVEX || iced.Code[code].startsWith('VEX_KNC')) continue
    const instruction = iced.Instruction.create(code)
    const features = new Set(Array.from(instruction.cpuidFeatures()))
    instruction.free()
    const mnemonic = mnemonicOf(code)
    if (!vectorMnemonics.has(mnemonic) && wanted(mnemonic, features)) found.add(mnemonic)
  }
  return [...found].sort()
}

it('every instruction of the integer vector extensions is defined', () => {
  expect(missing((_mnemonic, features) => [...features].some((f) => WHOLE_FEATURES.has(f)))).toEqual(['EMMS'])
})

it('of the other vector extensions only floating-point arithmetic and state management are defined elsewhere', () => {
  const others = new Set([F.SSE, F.SSE2, F.SSE3, F.SSSE3, F.SSE4_1, F.SSE4_2, F.SSE4A, F.AVX, F.AVX512F, F.AVX512DQ])
  const left = missing((mnemonic, features) => [...features].some((f) => others.has(f)) && !FLOAT.test(mnemonic))
  const elsewhere =
    'CRC32 FISTTP LDMXCSR LFENCE MFENCE MOVNTI PREFETCHNTA PREFETCHT0 PREFETCHT1 PREFETCHT2 SFENCE STMXCSR VLDMXCSR VSTMXCSR'
  /** No CPU model has them. */
  const undefinedHere = 'VSHA512MSG1 VSHA512MSG2 VSHA512RNDS2 VSM3MSG1 VSM3MSG2 VSM3RNDS2 VSM4KEY4 VSM4RNDS4'
  expect(left).toEqual([...elsewhere.split(' '), ...undefinedHere.split(' ')].sort())
})
