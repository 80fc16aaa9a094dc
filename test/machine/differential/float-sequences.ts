import { formsOf, type InstanceOptions, iced, makeInstance, mnemonicOf, operandChoices } from './forms.ts'
import { Random } from './initial-state.ts'
import type { Planned } from './integer-cases.ts'
import { CODE, CODE_OFFSET, toHex } from './record-layout.ts'

// Development only: short loops of vector and floating-point instructions on few registers, so that values, parts of
// registers and MXCSR flow from one instruction to the next and around the loop.

const MNEMONICS =
  'MOVAPS MOVUPS MOVSS MOVSD MOVLPS MOVHPS MOVHLPS MOVLHPS MOVDDUP MOVD MOVQ PINSRW PINSRD PEXTRQ PXOR PAND PADDD PSHUFD PUNPCKLQDQ PALIGNR PSLLDQ ' +
  'BLENDVPD BLENDPS INSERTPS PCMPESTRM PCMPEQD PMOVMSKB ADDPS ADDPD ADDSS ADDSD SUBSD SUBPS MULSS MULSD MULPD DIVSD SQRTSD MINSD MAXPS CMPSD ' +
  'HADDPD ADDSUBPS UCOMISD COMISS CVTSI2SD CVTSI2SS CVTTSD2SI CVTSD2SS CVTSS2SD CVTPS2PD CVTPD2PS CVTDQ2PS CVTTPS2DQ ROUNDSD UNPCKLPS SHUFPD ' +
  'VZEROUPPER VZEROALL VMOVAPS VMOVUPS VMOVSS VMOVSD VMOVD VMOVQ VMOVHPD VPXOR VPADDQ VADDPS VADDPD VADDSS VADDSD VSUBPD VMULPS VMULSD VDIVPD ' +
  'VSQRTSS VMAXSD VCMPPS VHADDPS VCVTPS2PD VCVTPD2PS VCVTSI2SD VCVTTSD2SI VFMADD231SD VFMADD213PD VFNMADD132PS VFMSUB231SS VROUNDPD VBLENDPS ' +
  'VINSERTF128 VEXTRACTF128 VBROADCASTSS VPERMILPD VPSHUFB VUNPCKHPS VMASKMOVPS VPBLENDD VPERM2F128 VANDPD VPTERNLOGD VPEXPANDD VCOMPRESSPD ' +
  'VEXPANDPS VPMOVQD VMOVDQU8 VPBROADCASTD VRNDSCALEPD VSCALEFPS VGETEXPPD'

const SEQUENCES = 300
const STATES = 3
const MOST_BYTES = 58

export function floatSequences(firstSeed = 700_000): Planned[] {
  const byMnemonic = new Map<string, number[]>()
  for (const code of formsOf(new Set(MNEMONICS.split(' ')), 64)) {
    const { encoding, instructionString } = iced.CodeExt.opCode(code)
    if (encoding === iced.EncodingKind.MVEX || /^(MOV|CMP)SD$|\bmm\b|mm\//.test(instructionString)) continue
    const name = mnemonicOf(code)
    byMnemonic.set(name, [...(byMnemonic.get(name) ?? []), code])
  }
  const forms = [...byMnemonic.values()]
  return Array.from({ length: SEQUENCES }, (_, i) => sequence(forms, firstSeed + i * STATES))
}

/** Vector registers are a few neighbours: dependencies, and some registers above 15. */
const fewRegisters: NonNullable<InstanceOptions['finish']> = (instruction, r) => {
  const { Register, OpKind, RegisterExt } = iced
  for (let i = 0; i < instruction.opCount; i++) {
    if (instruction.opKind(i) !== OpKind.Register) continue
    const register = instruction.opRegister(i)
    const first = [Register.XMM0, Register.YMM0, Register.ZMM0].find((base) => register >= base && register < base + 32)
    if (first !== undefined) instruction.setOpRegister(i, first + r.pick([0, 1, 2, 3]))
    // the loop counter and the stack pointer stay
    else if (RegisterExt.isGPR(register) && [1, 4].includes(RegisterExt.number(register) & 7))
      instruction.setOpRegister(i, register + 1)
  }
  const opCode = iced.CodeExt.opCode(instruction.code)
  if (!opCode.canUseOpMaskRegister || r.below(2) === 0) return
  instruction.opMask = Register.K1 + r.below(7)
  if (opCode.canUseZeroingMasking && r.below(2) === 0) instruction.zeroingMasking = true
}

function sequence(forms: number[][], seed: number): Planned {
  const r = new Random(seed)
  const bytes: number[] = []
  const texts: string[] = []
  const wanted = 4 + r.below(8)
  for (let tries = 0; texts.length < wanted && tries < 100; tries++) {
    const code = r.pick(r.pick(forms))
    const { memory, register } = operandChoices(code)
    const instance = makeInstance(code, r, {
      mode: 64,
      memory: memory && (!register || r.below(5) === 0),
      ip: CODE + CODE_OFFSET + bytes.length,
      ripRelative: true,
      keepStack: true,
      finish: fewRegisters,
    })
    if (instance === null || bytes.length + instance.code.length > MOST_BYTES) continue
    if (instance.memoryOffset !== null && (instance.memoryOffset & 15) !== 0 && r.below(20) > 0) continue
    bytes.push(...instance.code)
    texts.push(instance.text)
  }
  bytes.push(0x83, 0xe9, 0x01, 0x75, -(bytes.length + 5) & 0xff) // sub ecx, 1; jnz to the start
  const mxcsr = r.pick(['1fa0', '1fa0', '1f80', '3f80', '9fe0'])
  const cases = Array.from({ length: STATES }, (_, i) => ({ seed: seed + i, set: { mxcsr, g: { 1: (1 + i).toString(16) } } }))
  return {
    mnemonic: 'sequence',
    text: texts.join('; '),
    mode: 64,
    code: toHex(Uint8Array.from(bytes)),
    filling: r.pick(['single', 'double']),
    cases,
  }
}
