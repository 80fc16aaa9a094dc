import type { Decoded } from '../../decoder/decoder.ts'
import { EncodingKind } from '../../decoder/iced-tables.ts'
import { CTL } from '../../execution-context.ts'
import { CONTROL, X87_FSW, X87_FTW } from '../../memory-map.ts'
import { MODE_AVX_UD, MODE_AVX512_UD, MODE_REAL, MODE_SSE_UD, MODE_TS, MODE_X87_NM } from '../../mode.ts'
import { define } from '../../translate/definitions.ts'
import { and, i32, load } from '../../translate/expr.ts'
import type { InstructionSite } from '../../translate/instruction.ts'
import { isMmx, isOpmask, VectorInstruction } from '../../translate/vector-operands.ts'
import { I32, W } from '../../wasm/opcodes.ts'

const UD = 6
const NM = 7
const MF = 16
const CR0_EM = 4
const FSW_ES = 0x80
const FSW_TOP = 0x3800

/** Defines what vector or opmask instructions do, after the checks of CR0, CR4 and XCR0 they share. */
export function defineVector(
  mnemonics: string | readonly string[],
  definition: (x: VectorInstruction) => void,
  applies?: (d: Decoded) => boolean,
): void {
  const translate = (s: InstructionSite) => {
    const registers = operandRegisters(s)
    if (!stateIsEnabled(s, registers)) return
    definition(new VectorInstruction(s))
    if (registers.mmx) leaveMmxState(s)
  }
  for (const mnemonic of typeof mnemonics === 'string' ? [mnemonics] : mnemonics) {
    define(mnemonic, translate, applies)
    vectorMnemonics.add(mnemonic)
  }
}
/** What has been defined here, for tests and reports. */
export const vectorMnemonics = new Set<string>()

interface OperandRegisters {
  mmx: boolean
  xmm: boolean
  opmask: boolean
}

function operandRegisters(s: InstructionSite): OperandRegisters {
  const found = { mmx: false, xmm: false, opmask: false }
  for (let i = 0; i < s.d.opCount; i++) {
    if (!s.isRegister(i)) continue
    const register = s.d.opRegister[i]
    if (isMmx(register)) found.mmx = true
    else if (isOpmask(register)) found.opmask = true
    else found.xmm = true
  }
  return found
}

/**
 * #UD and #NM by the modes of the code (SDM Vol. 2, tables 2-18 ff. and 2-39 ff.; MMX: Vol. 3, table 24-3).
 * @returns false when the instruction always faults here, with the fault written
 */
function stateIsEnabled(s: InstructionSite, { mmx, xmm, opmask }: OperandRegisters): boolean {
  const has = (bit: number) => (s.mode & bit) !== 0
  const { encoding } = s.d
  if (encoding !== EncodingKind.Legacy) {
    const disabled = encoding === EncodingKind.EVEX || opmask ? MODE_AVX512_UD : MODE_AVX_UD
    if (has(disabled) || has(MODE_REAL)) return fault(s, UD)
  } else if (mmx && !xmm) return mmxIsEnabled(s)
  else if (has(MODE_SSE_UD)) return fault(s, UD)
  if (has(MODE_TS)) return fault(s, NM)
  if (mmx) pendingX87Error(s)
  return true
}

function fault(s: InstructionSite, vector: number): false {
  s.raise(vector)
  return false
}

function mmxIsEnabled(s: InstructionSite): boolean {
  if (s.mode & MODE_X87_NM) {
    const cr0 = s.e.ctx32(CONTROL + CTL.CR0 * 8)
    s.raiseIf(and(32, cr0, i32(CR0_EM)), UD)
    return fault(s, NM)
  }
  pendingX87Error(s)
  return true
}
function pendingX87Error(s: InstructionSite): void {
  s.raiseIf(and(32, load(W.i32_load16_u, I32, s.e.fpu, X87_FSW), i32(FSW_ES)), MF)
}

/** What every MMX instruction but EMMS does to the x87 state: TOP = 0, all registers valid (SDM Vol. 1, 9.2). */
function leaveMmxState(s: InstructionSite): void {
  const e = s.e
  e.store(W.i32_store16, e.fpu, X87_FSW, and(32, load(W.i32_load16_u, I32, e.fpu, X87_FSW), i32(~FSW_TOP)))
  e.store(W.i32_store8, e.fpu, X87_FTW, i32(0xff))
}

/** EMMS: the x87 registers are empty. */
define('EMMS', (s) => {
  if (mmxIsEnabled(s)) s.e.store(W.i32_store8, s.e.fpu, X87_FTW, i32(0))
})
