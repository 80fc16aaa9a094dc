import {
  formsOf,
  formText,
  type Instance,
  type InstanceOptions,
  iced,
  makeInstance,
  mnemonicOf,
  operandChoices,
  type Place,
  UnknownOperand,
} from './forms.ts'
import type { Filling, Overrides } from './initial-state.ts'
import { Random } from './initial-state.ts'
import type { Planned } from './integer-cases.ts'
import { toHex } from './record-layout.ts'

// Development only: cases of the SSE, AVX and AVX-512 floating-point instructions, to be recorded.

const FLOAT =
  /^V?(?:(?:ADD|SUB|MUL|DIV|SQRT|MIN|MAX|CMP|ADDSUB|HADD|HSUB|DP|ROUND|RNDSCALE|REDUCE|RANGE|GETEXP|GETMANT|SCALEF|FIXUPIMM|FPCLASS|COMI|UCOMI)(?:PS|PD|SS|SD|PH|SH|S[SDH])|CVT.*|DPBF16PS|FN?M(?:ADD|SUB|ADDSUB|SUBADD)(?:132|213|231)[PS][SDH])$/
/** Results differ between vendors: see float/approximate.ts. */
export const APPROXIMATE = /^V?R(?:CP|SQRT)(?:14)?[PS][SD]$/

/** The mnemonics that match, in capitals. */
function mnemonics(pattern: RegExp): Set<string> {
  const found = new Set<string>()
  for (const [name, value] of Object.entries(iced.Mnemonic)) {
    if (typeof value === 'number' && pattern.test(name.toUpperCase())) found.add(name.toUpperCase())
  }
  return found
}

/** Cases of one sort: how many instances of a form and how many states of each. */
export interface Amount {
  instances: number
  states: number
}

export function floatCases(
  firstSeed = 1,
  { instances, states }: Amount = { instances: 1, states: 3 },
  only: RegExp = FLOAT,
): Planned[] {
  const planned: Planned[] = []
  let seed = firstSeed
  for (const code of formsOf(mnemonics(only), 64)) {
    // not the string instruction, nor Knights Corner's
    if (formText(code) === 'CMPSD' || iced.CodeExt.opCode(code).encoding === iced.EncodingKind.MVEX) continue
    const all = variants(code)
    // what is committed is a sample; other seeds try everything
    const chosen = firstSeed === 1 ? all.filter((_, i) => (i + code) % 2 === 0) : all
    for (const options of chosen) {
      for (let i = 0; i < instances; i++) {
        const group = plan(code, seed, options, states)
        seed += states + 1
        if (group !== null) planned.push(group)
      }
    }
  }
  return planned
}

const isEvex = (code: number): boolean => iced.CodeExt.opCode(code).opCodeString.startsWith('EVEX')

function variants(code: number): InstanceOptions[] {
  const opCode = iced.CodeExt.opCode(code)
  const { memory, register } = operandChoices(code)
  const evex = isEvex(code)
  const found: InstanceOptions[] = []
  const base: InstanceOptions = { mode: 64, memory: false, highVectors: evex }
  if (register) {
    found.push({ ...base, finish: mask(false) })
    if (evex) found.push({ ...base, finish: mask(true) })
    if (opCode.canUseRoundingControl || opCode.canSuppressAllExceptions)
      found.push({ ...base, finish: control(opCode.canUseRoundingControl) })
  }
  if (memory) {
    const places: Place[] = ['inside', (['across', 'into-read-only', 'unmapped'] as const)[code % 3]]
    for (const place of places) found.push({ ...base, memory: true, place, finish: mask(evex) })
    if (opCode.canBroadcast) found.push({ ...base, memory: true, place: 'inside', finish: broadcast })
  }
  return found
}

type Finish = NonNullable<InstanceOptions['finish']>
const mask =
  (wanted: boolean): Finish =>
  (instruction, r) => {
    const opCode = iced.CodeExt.opCode(instruction.code)
    if (!wanted || !opCode.canUseOpMaskRegister) return
    instruction.opMask = iced.Register.K1 + r.below(7)
    if (opCode.canUseZeroingMasking && r.below(2) === 0) instruction.zeroingMasking = true
  }
const control =
  (rounding: boolean): Finish =>
  (instruction, r) => {
    if (rounding) instruction.roundingControl = iced.RoundingControl.RoundToNearest + r.below(4)
    else instruction.suppressAllExceptions = true
    if (r.below(2) === 0) mask(true)(instruction, r)
  }
const broadcast: Finish = (instruction, r) => {
  instruction.isBroadcast = true
  if (r.below(2) === 0) mask(true)(instruction, r)
}

/** What registers are filled with: the format of the elements that are read. */
function fillingOf(code: number): Filling {
  const name = mnemonicOf(code)
  const source = /^V?CVTT?(?:NE2?)?([A-Z]+?)2/.exec(name)?.[1]
  if (source !== undefined)
    return ({ PS: 'single', SS: 'single', PD: 'double', SD: 'double', PH: 'half', SH: 'half' }[source] as Filling) ?? 'bits'
  return name.endsWith('D') ? 'double' : name.endsWith('H') ? 'half' : 'single'
}

/** Mostly what makes native results possible; all rounding modes, DAZ, FTZ and unmasked exceptions too. */
function mxcsr(r: Random): number {
  const kind = r.below(8)
  if (kind < 3) return 0x1fa0
  if (kind < 4) return 0x1f80
  if (kind < 6) return 0x1f80 | (r.below(4) << 13) | (r.below(2) * 0x20)
  if (kind < 7) return 0x1f80 | (r.below(4) << 13) | (r.below(2) * 0x40) | (r.below(2) * 0x8000) | r.below(64)
  return (0x1f80 & ~(r.next() & r.next() & 0x1f80)) | (r.below(4) << 13) | (r.below(2) * 0x20)
}

function plan(code: number, seed: number, options: InstanceOptions, states: number): Planned | null {
  const r = new Random(seed)
  const instance = instanceOf(code, r, options)
  if (instance === null) return null
  const cases = []
  for (let i = 0; i < states; i++) {
    const set: Overrides = { ...instance.set, mxcsr: mxcsr(r).toString(16) }
    if (Object.keys(set.g ?? {}).length === 0) delete set.g
    if (isEvex(code) && r.below(3) === 0) set.k = { [1 + r.below(7)]: r.pick(['0', '1', '2', 'ff', 'aa', 'ffff']) }
    cases.push({ seed: seed + i, set })
  }
  return {
    mnemonic: mnemonicOf(code),
    text: instance.text,
    mode: 64,
    code: toHex(instance.code),
    filling: fillingOf(code),
    cases,
  }
}

/** Legacy instances with 16 bytes of memory are mostly aligned. */
function instanceOf(code: number, r: Random, options: InstanceOptions): Instance | null {
  const legacy = iced.CodeExt.opCode(code).encoding === iced.EncodingKind.Legacy
  const anywhere = r.below(5) === 0
  try {
    for (let tries = 0; tries < 200; tries++) {
      const instance = makeInstance(code, r, options)
      if (instance === null) continue
      const aligned = instance.memoryOffset === null || instance.memoryBytes !== 16 || (instance.memoryOffset & 15) === 0
      if (!legacy || anywhere || aligned || options.place !== 'inside') return instance
    }
  } catch (error) {
    if (!(error instanceof UnknownOperand)) throw error
  }
  return null
}
