import type { RecordedGroup } from './fixture.ts'
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
import { initialState, type Overrides, Random } from './initial-state.ts'
import { type CaseRecord, toHex, WINDOW } from './record-layout.ts'

// Development only: the integer instructions' cases, to be recorded.

/** A group before it is recorded. */
export interface Planned extends Omit<RecordedGroup, 'cases'> {
  cases: { seed: number; set: Overrides }[]
}

const STRING = ['MOVS', 'STOS', 'LODS', 'SCAS', 'CMPS'].flatMap((name) => ['B', 'W', 'D', 'Q'].map((size) => name + size))
const CONDITIONS = ['O', 'NO', 'B', 'AE', 'E', 'NE', 'BE', 'A', 'S', 'NS', 'P', 'NP', 'L', 'GE', 'LE', 'G']
const INTEGER = new Set([
  ...(
    'MOV MOVZX MOVSX MOVSXD LEA XCHG XADD CMPXCHG CMPXCHG8B CMPXCHG16B BSWAP MOVBE PUSH POP PUSHA PUSHAD POPA POPAD ENTER LEAVE ' +
    'CBW CWDE CDQE CWD CDQ CQO LAHF SAHF XLATB MOVNTI ADD ADC SUB SBB AND OR XOR NOT NEG INC DEC CMP TEST MUL IMUL DIV IDIV ADCX ADOX MULX ' +
    'SHL SAL SHR SAR ROL ROR RCL RCR SHLD SHRD RORX SARX SHLX SHRX BT BTS BTR BTC BSF BSR TZCNT LZCNT POPCNT ANDN BEXTR BLSI BLSMSK BLSR BZHI ' +
    'PDEP PEXT CRC32 CLC STC CMC CLD STD DAA DAS AAA AAS AAM AAD BOUND SALC NOP CLFLUSH CLFLUSHOPT CLWB PREFETCHT0 PREFETCHW'
  ).split(' '),
  ...CONDITIONS.map((cc) => `CMOV${cc}`),
  ...CONDITIONS.map((cc) => `SET${cc}`),
  ...STRING,
])
/** Forms of 64-bit mode that are tried in 32-bit code too, beside those that exist only there. */
const ALSO_32 = new Set([
  'PUSH',
  'POP',
  'ENTER',
  'LEAVE',
  'LEA',
  'XLATB',
  'MOVSB',
  'MOVSD',
  'STOSW',
  'CMPSB',
  'SCASD',
  'LODSB',
  'BT',
  'BTS',
  'MOV',
  'IMUL',
  'CWDE',
])

const INSTANCES = 3
const STATES = 3

export function integerCases(firstSeed = 1): Planned[] {
  const planned: Planned[] = []
  let seed = firstSeed
  const add = (code: number, options: InstanceOptions) => {
    const group = plan(code, seed, options)
    seed += STATES + 1
    if (group !== null) planned.push(group)
  }
  for (const mode of [64, 32] as const) {
    for (const code of formsOf(INTEGER, mode)) {
      if (!isOurs(code) || (mode === 32 && iced.CodeExt.opCode(code).mode64 && !ALSO_32.has(mnemonicOf(code)))) continue
      for (const options of variants(code, mode)) add(code, options)
    }
  }
  return planned
}

/** Not the SSE instructions of the same name, nor control, debug and segment registers as destination. */
function isOurs(code: number): boolean {
  const opCode = iced.CodeExt.opCode(code)
  const K = iced.OpCodeOperandKind
  if (/XMM|CR\d|DR\d|TR\d|cr,|dr,|, cr|, dr/i.test(formText(code))) return false
  if (mnemonicOf(code) === 'POP' && opCode.opKind(0) !== K.r64_opcode && /[CDEFGS]S$/.test(formText(code))) return false
  return opCode.opCount === 0 || opCode.opKind(0) !== K.seg_reg
}

function variants(code: number, mode: 32 | 64): InstanceOptions[] {
  const opCode = iced.CodeExt.opCode(code)
  const { memory, register } = operandChoices(code)
  const found: InstanceOptions[] = []
  if (STRING.includes(mnemonicOf(code))) {
    for (const rep of [undefined, 'rep', 'repne'] as const) {
      for (const stringAddress of mode === 64 ? ([64, 32] as const) : ([32] as const)) {
        const base: InstanceOptions = { mode, memory: false, stringAddress }
        const options: InstanceOptions = rep === undefined ? base : { ...base, rep }
        for (let i = 0; i < (rep === undefined ? 1 : 2); i++) found.push(options)
      }
    }
    return found
  }
  if (register) for (let i = 0; i < (opCode.opCount === 0 ? 2 : INSTANCES); i++) found.push({ mode, memory: false })
  if (memory) {
    const places: Place[] = ['inside', 'across', (['into-read-only', 'read-only', 'unmapped'] as const)[code % 3]]
    for (const place of places) found.push({ mode, memory: true, place })
    if (opCode.canUseLockPrefix) found.push({ mode, memory: true, place: 'inside', lock: true })
  }
  return found
}

function plan(code: number, seed: number, options: InstanceOptions): Planned | null {
  const r = new Random(seed)
  let instance: Instance | null = null
  try {
    for (let tries = 0; tries < 20 && instance === null; tries++) instance = usable(makeInstance(code, r, options))
  } catch (error) {
    if (error instanceof UnknownOperand) return null
    throw error
  }
  if (instance === null) return null
  const mnemonic = mnemonicOf(code)
  const cases = []
  for (let i = 0; i < STATES; i++) {
    const set = adjust(mnemonic, instance, initialState(options.mode, instance.code, seed + i, 'bits', instance.set), r)
    cases.push({ seed: seed + i, set })
  }
  const undefined_ = instance.undefinedFlags
  return {
    mnemonic,
    text: instance.text,
    mode: options.mode,
    code: toHex(instance.code),
    ...(undefined_ ? { undefined: undefined_ } : {}),
    cases,
  }
}

/** An instance whose adjustments would contradict its addressing is tried again. */
function usable(instance: Instance | null): Instance | null {
  if (instance === null) return instance
  const { instruction } = instance
  // 16-bit double shifts by more than the width: the result is undefined, and differs.
  if (
    /^sh[lr]d /.test(instance.text) &&
    instruction.op2Kind === iced.OpKind.Immediate8 &&
    iced.RegisterExt.size(instruction.op1Register) === 2
  ) {
    if ((instruction.immediate8 & 31) > 16) return null
  }
  if (instance.memoryOffset === null) return instance
  const isBitTest = /^bt[src]? /.test(instance.text)
  if (isBitTest && instruction.op1Kind === iced.OpKind.Register) {
    const full = iced.RegisterExt.number(instruction.op1Register)
    for (const register of [instruction.memoryBase, instruction.memoryIndex]) {
      if (register !== iced.Register.None && register !== iced.Register.RIP && iced.RegisterExt.number(register) === full)
        return null
    }
  }
  return instance
}

const hex = (value: bigint, bits = 64): string => BigInt.asUintN(bits, value).toString(16)

/** Makes a case say something: quotients that fit, equal operands, indices inside the window. */
function adjust(mnemonic: string, instance: Instance, state: CaseRecord, r: Random): Overrides {
  const g = { ...instance.set.g }
  const set: Overrides = { ...instance.set, g }
  const { instruction } = instance
  if (mnemonic === 'DIV' || mnemonic === 'IDIV') adjustDivision(state, r, set)
  else if (/^BT[SRC]?$/.test(mnemonic) && instance.memoryOffset !== null && instruction.op1Kind === iced.OpKind.Register) {
    const bits = instance.memoryBytes * 8
    const index = BigInt((r.below(0xe00 - 0x100) + 0x100 - instance.memoryOffset) * 8 + r.below(8))
    const kept = state.gpr(iced.RegisterExt.number(instruction.op1Register)) & ~((1n << BigInt(bits)) - 1n)
    g[iced.RegisterExt.number(instruction.op1Register)] = hex(kept | BigInt.asUintN(bits, index))
  } else if (mnemonic.startsWith('CMPXCHG')) adjustExchange(mnemonic, instance, state, r, set)
  else if (STRING.includes(mnemonic)) adjustString(mnemonic, instance, r, set)
  else if (/^SH[LR]D$/.test(mnemonic)) {
    // The register that holds the count may be an operand too.
    if (instruction.op2Register === iced.Register.CL && iced.RegisterExt.size(instruction.op1Register) === 2)
      g[1] = hex((r.u64() & ~0x1fn) | BigInt(r.below(17)))
  } else if (mnemonic === 'ENTER' || mnemonic === 'LEAVE') {
    g[5] = hex(BigInt(WINDOW + 0x400 + r.below(0x800)))
  } else if (/^(DAA|DAS|AAA|AAS)$/.test(mnemonic)) g[0] = hex(r.u64())
  if (Object.keys(g).length === 0) delete set.g
  return set
}

function adjustDivision(state: CaseRecord, r: Random, set: Overrides): void {
  switch (r.below(4)) {
    case 0:
      set.g![2] = '0'
      break
    case 1:
      set.g![2] = hex(BigInt.asIntN(64, state.gpr(0)) < 0n ? -1n : 0n)
      break
    case 2:
      set.g![2] = hex(BigInt(r.below(64) - 32))
      set.g![0] = hex(r.u64() & 0xff7fn)
      break
  }
}

function adjustExchange(mnemonic: string, instance: Instance, state: CaseRecord, r: Random, set: Overrides): void {
  const equal = r.below(2) === 0
  const { instruction, memoryOffset } = instance
  if (mnemonic === 'CMPXCHG16B' && memoryOffset !== null && r.below(4) > 0) {
    // Aligned, by moving the address; only where one register carries it.
    const base = instruction.memoryBase
    if (base >= iced.Register.RAX && base <= iced.Register.R15) {
      const n = iced.RegisterExt.number(base)
      set.g![n] = hex(state.gpr(n) - BigInt(memoryOffset & 15))
      if (equal && memoryOffset >= 0 && memoryOffset < 8176)
        set.m = [[memoryOffset & ~15, bytesOf(state.gpr(0), 8) + bytesOf(state.gpr(2), 8)]]
    }
    return
  }
  if (!equal) return
  if (memoryOffset === null) {
    const register = instruction.op0Register
    if (iced.RegisterExt.size(register) > 1) set.g![0] = hex(state.gpr(iced.RegisterExt.number(register)))
  } else if (memoryOffset >= 0 && memoryOffset < 8180) {
    const accumulator = mnemonic === 'CMPXCHG8B' ? (state.gpr(0) & 0xffffffffn) | (state.gpr(2) << 32n) : state.gpr(0)
    set.m = [[memoryOffset, bytesOf(accumulator, Math.min(instance.memoryBytes, 8192 - memoryOffset))]]
  }
}

function bytesOf(value: bigint, bytes: number): string {
  const out = new Uint8Array(bytes)
  for (let i = 0; i < bytes; i++) out[i] = Number((value >> BigInt(8 * i)) & 0xffn)
  return toHex(out)
}

function adjustString(mnemonic: string, instance: Instance, r: Random, set: Overrides): void {
  const size = { B: 1, W: 2, D: 4, Q: 8 }[mnemonic.at(-1)!]!
  const narrow = instance.code.includes(0x67)
  const upper = () => (narrow ? r.u64() & 0xffffffff00000000n : 0n)
  const down = r.below(4) === 0
  const count = [0, 1, 2, 3, 17, 40, 300, 4000][r.below(8)]
  const source = 0x100 + r.below(0x1600)
  const near = r.below(3) === 0
  const destination = near ? source + r.below(40) - 10 : 0x100 + r.below(0x1d00)
  set.f = (0x202 | (r.next() & 0x8d5) | (down ? 0x400 : 0)).toString(16)
  set.g![6] = hex(BigInt(WINDOW + source) | upper())
  set.g![7] = hex(BigInt(WINDOW + destination) | upper())
  set.g![1] = hex(BigInt(count) | upper())
  if (!/^(CMPS|SCAS)/.test(mnemonic)) return
  const equalBytes = size * r.below(12)
  const value = toHex(Uint8Array.from({ length: Math.max(equalBytes, 1) }, () => 0x5a))
  set.g![0] = '5a5a5a5a5a5a5a5a'
  set.m = down
    ? []
    : [
        [source, value],
        [destination, value],
      ]
}
