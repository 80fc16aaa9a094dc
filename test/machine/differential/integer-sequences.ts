import { formsOf, type Instance, iced, makeInstance, mnemonicOf, operandChoices, rflagsBits } from './forms.ts'
import { Random } from './initial-state.ts'
import type { Planned } from './integer-cases.ts'
import { CODE, CODE_OFFSET, toHex } from './record-layout.ts'

// Development only: short straight-line programs, so that flags (and partial registers) flow from one instruction to the next.

const CONDITIONS = ['O', 'NO', 'B', 'AE', 'E', 'NE', 'BE', 'A', 'S', 'NS', 'P', 'NP', 'L', 'GE', 'LE', 'G']
const PRODUCERS =
  'ADD SUB AND OR XOR NEG INC DEC CMP TEST IMUL SHL SHR SAR ROL ROR SHLD SHRD BT BTS BTR BTC BSF BSR TZCNT LZCNT POPCNT ANDN BEXTR BLSI BLSMSK BLSR BZHI ' +
  'XADD CMPXCHG STC CLC SAHF MOV MOVZX XCHG BSWAP LEA NOT CWDE CDQE'
const CONSUMERS = [
  'ADC',
  'SBB',
  'ADCX',
  'ADOX',
  'RCL',
  'RCR',
  'INC',
  'DEC',
  'CMC',
  'LAHF',
  'ROL',
  'ROR',
  'BT',
  ...CONDITIONS.flatMap((cc) => [`CMOV${cc}`, `SET${cc}`]),
]

const SEQUENCES = 1500
const STATES = 4
const MOST_BYTES = 60
/** Arithmetic flags. */
const ALL = 0x8d5

export function integerSequences(firstSeed = 100_000): Planned[] {
  const producers = usable(new Set(PRODUCERS.split(' ')))
  const consumers = usable(new Set(CONSUMERS))
  const planned: Planned[] = []
  for (let i = 0; i < SEQUENCES; i++) planned.push(sequence(producers, consumers, firstSeed + i * STATES))
  return planned
}

/** Forms by mnemonic, so that those with many forms do not crowd out the rest. */
function usable(mnemonics: ReadonlySet<string>): number[][] {
  const byMnemonic = new Map<string, number[]>()
  for (const code of formsOf(mnemonics, 64)) {
    const opCode = iced.CodeExt.opCode(code)
    const K = iced.OpCodeOperandKind
    if (opCode.encoding === iced.EncodingKind.MVEX || opCode.encoding === iced.EncodingKind.XOP) continue
    if (/KNC|cr|dr|Sreg|moffs|486/i.test(opCode.instructionString + iced.Code[code])) continue
    if (opCode.opCount > 0 && (opCode.opKind(0) === K.seg_reg || opCode.opKind(1) === K.seg_reg)) continue
    const name = mnemonicOf(code)
    byMnemonic.set(name, [...(byMnemonic.get(name) ?? []), code])
  }
  return [...byMnemonic.values()]
}

function sequence(producers: number[][], consumers: number[][], seed: number): Planned {
  const r = new Random(seed)
  const bytes: number[] = []
  const texts: string[] = []
  let undefinedFlags = 0
  const wanted = 3 + r.below(6)
  for (let tries = 0; texts.length < wanted && tries < 200; tries++) {
    const code = r.pick(r.pick(r.below(5) < 2 ? consumers : producers))
    const { memory, register } = operandChoices(code)
    const inMemory = memory && (!register || r.below(4) === 0)
    const instance = makeInstance(code, r, {
      mode: 64,
      memory: inMemory,
      ip: CODE + CODE_OFFSET + bytes.length,
      ripRelative: true,
      keepStack: true,
    })
    if (instance === null || bytes.length + instance.code.length > MOST_BYTES || !fits(instance)) continue
    const { instruction } = instance
    if (rflagsBits(instruction.rflagsRead) & undefinedFlags) continue
    undefinedFlags = undefinedAfter(instance, undefinedFlags)
    bytes.push(...instance.code)
    texts.push(instance.text)
  }
  const cases = Array.from({ length: STATES }, (_, i) => ({ seed: seed + i, set: {} }))
  return {
    mnemonic: 'sequence',
    text: texts.join('; '),
    mode: 64,
    code: toHex(Uint8Array.from(bytes)),
    undefined: undefinedFlags,
    cases,
  }
}

/** No result is undefined, and no bit string leaves the window. */
function fits(instance: Instance): boolean {
  const { instruction, text } = instance
  if (/^bt[src]? /.test(text) && instance.memoryOffset !== null && instruction.op1Kind === iced.OpKind.Register) return false
  if (/^sh[lr]d /.test(text) && iced.RegisterExt.size(instruction.op1Register) === 2) return false
  return true
}

function undefinedAfter(instance: Instance, before: number): number {
  const { instruction } = instance
  const written = rflagsBits(instruction.rflagsWritten | instruction.rflagsCleared | instruction.rflagsSet)
  // A shift by CL may leave every flag as it was; an undefined one may then show too.
  const variable = /,cl$/.test(instance.text)
  return ((variable ? before : before & ~written) | instance.undefinedFlags) & ALL
}
