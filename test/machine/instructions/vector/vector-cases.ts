import '../../../../src/machine/instructions/vector/index.ts'
import { vectorMnemonics } from '../../../../src/machine/instructions/vector/available.ts'
import { formsOf, iced, mnemonicOf } from '../../differential/forms.ts'
import { Random } from '../../differential/initial-state.ts'
import type { Planned } from '../../differential/integer-cases.ts'
import { toHex } from '../../differential/record-layout.ts'
import { type Encoded, FormEncoder, type Placement } from './encodings.ts'
import { FLOAT } from './float-mnemonics.ts'

// Development only: the vector instructions' cases, to be recorded.

/**
 * Where memory operands may be, when not anywhere, because the recorded processor (AMD) does something of its own:
 * - SHA: it accepts operands that are not aligned; the SDM has #GP(0) (exception class 4).
 * - MASKMOVQ: it enters MMX state (TOP = 0) even when the store faults.
 * - Gathers: after a fault the mask of the VEX forms keeps its bits (SDM: ones and zeros), and the EVEX forms have cleared
 *   the register above the vector length.
 */
function placementOf(mnemonic: string, form: FormEncoder): Placement {
  if (mnemonic.startsWith('SHA')) return 'aligned'
  if (mnemonic === 'MASKMOVQ') return 'inside'
  return form.isGather && mnemonic.includes('GATHER') ? 'inside' : 'anywhere'
}

export interface Effort {
  /** Cases with random bits, and with few different elements, of every form and operand choice. */
  random: number
  fewValues: number
  seed: number
}

const group = (mnemonic: string, mode: 32 | 64, { code, text, set }: Encoded, seed: number): Planned => ({
  mnemonic,
  text,
  mode,
  code: toHex(code),
  cases: [{ seed, set }],
})

export function vectorCases(effort: Effort = { random: 1, fewValues: 1, seed: 1 }, only = /./): Planned[] {
  const r = new Random(effort.seed)
  const planned: Planned[] = []
  const names = new Set([...vectorMnemonics].filter((name) => only.test(name) && !FLOAT.test(name)))
  for (const mode of [64, 32] as const) {
    for (const code of formsOf(names, mode)) {
      const mnemonic = mnemonicOf(code)
      const form = new FormEncoder(code, r)
      if (isOther(code)) continue
      const placement = placementOf(mnemonic, form)
      for (const memory of form.choices) {
        // 32-bit code: a sample
        if (mode === 32 && r.below(12) > 0) continue
        const count = effort.random + effort.fewValues
        for (let i = 0; i < count; i++) {
          const encoded = form.next({ mode, memory, placement, fewValues: i >= effort.random })
          planned.push(group(mnemonic, mode, encoded, r.next() & 0xffffff))
        }
      }
    }
  }
  return planned
}

/** Forms that are not defined here: the string instruction MOVSD, and what only Knights Corner has. */
function isOther(code: number): boolean {
  const name = iced.Code[code]
  return (
    name.startsWith('Movsd_m32_m32') ||
    name.startsWith('VEX_KNC') ||
    iced.CodeExt.opCode(code).encoding === iced.EncodingKind.MVEX
  )
}
