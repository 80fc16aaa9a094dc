import { formsOf, formText, type InstanceOptions, iced, makeInstance, mnemonicOf, operandChoices, type Place } from './forms.ts'
import { type Filling, type Overrides, Random } from './initial-state.ts'
import type { Planned } from './integer-cases.ts'
import { toHex } from './record-layout.ts'

// Development only: cases of the x87 instructions, to be recorded.

/** Their results may be an ulp off (test/machine/float/x87.test.ts). */
const TRANSCENDENTAL = /^F(2XM1|YL2X|YL2XP1|PTAN|PATAN|SIN|COS|SINCOS)$/
const OTHER = /^F(X(SAVE|RSTOR)(64)?|EMMS|RSTPM)$/
const CYRIX = /^F(NSTDW|NSTSG|TSTP|RINT2|RICHOP|RINEAR)$/
/** The compares that set RFLAGS leave C1 on this processor; the SDM says they clear it. */
const KEEPS_C1 = /^FU?COMIP?$/

export function x87Cases(firstSeed = 1, states = 4): Planned[] {
  const planned: Planned[] = []
  let seed = firstSeed
  const names = new Set<string>()
  for (const [name, value] of Object.entries(iced.Mnemonic)) {
    const capitals = name.toUpperCase()
    if (typeof value === 'number' && /^F|^WAIT$/.test(capitals) && !TRANSCENDENTAL.test(capitals) && !OTHER.test(capitals))
      names.add(capitals)
  }
  for (const mode of [64, 32] as const) {
    for (const code of formsOf(names, mode)) {
      if (!isCurrent(code) || (mode === 32 && !/env|save|rstor|m80|m64int/.test(formText(code).toLowerCase()))) continue
      for (const options of variants(code, mode)) {
        const group = plan(code, seed, options, states)
        seed += states + 1
        if (group !== null) planned.push(group)
      }
    }
  }
  return planned
}

/** Not with an FWAIT before it (that is an instruction of its own), nor of a Cyrix processor. */
function isCurrent(code: number): boolean {
  const opCode = iced.CodeExt.opCode(code)
  return !opCode.fwait && !CYRIX.test(mnemonicOf(code))
}

function variants(code: number, mode: 32 | 64): InstanceOptions[] {
  const { memory, register } = operandChoices(code)
  const found: InstanceOptions[] = []
  if (register || iced.CodeExt.opCode(code).opCount === 0) for (let i = 0; i < 3; i++) found.push({ mode, memory: false })
  if (memory) {
    // In which order the parts of an environment are written is the processor's affair.
    const last = /^FN(STENV|SAVE)$/.test(mnemonicOf(code))
      ? 'read-only'
      : (['into-read-only', 'read-only', 'unmapped'] as const)[code % 3]
    const places: Place[] = ['inside', 'inside', 'across', last]
    for (const place of places) found.push({ mode, memory: true, place })
  }
  return found
}

function fillingOf(code: number): Filling {
  const text = formText(code)
  return /m32fp/.test(text) ? 'single' : /m64fp/.test(text) ? 'double' : 'bits'
}

const hex = (value: bigint, digits: number): string => value.toString(16).padStart(digits, '0')
const littleEndian = (value: bigint, bytes: number): string =>
  hex(value, bytes * 2)
    .match(/../g)!
    .reverse()
    .join('')

const SPECIAL: [se: number, significand: bigint][] = [
  [0, 0n],
  [0x8000, 0n],
  [0x3fff, 1n << 63n],
  [0xbfff, 1n << 63n],
  [0x7fff, 1n << 63n],
  [0xffff, 1n << 63n],
  [0x7fff, 3n << 62n],
  [0xffff, 3n << 62n],
  [0x7fff, (1n << 63n) | 5n],
  [0, 1n],
  [0x8000, (1n << 63n) - 1n],
  [0, 1n << 63n],
  [1, 1n << 63n],
  [0x7ffe, (1n << 64n) - 1n],
  [0x4000, 1n],
  [0x7fff, 5n],
  [0x401e, 1n << 63n],
  [0x403e, 1n << 63n],
  [0xc03e, 1n << 63n],
  [0x3ffe, 1n << 63n],
  [0x3c00, 1n << 63n],
  [0x3f80, 1n << 63n],
  [0x43ff, (1n << 64n) - 1n],
]
/** Ten bytes of a number: special, of moderate size, a small integer, or anything. */
function extended(r: Random): string {
  let se: number
  let significand: bigint
  switch (r.below(6)) {
    case 0:
      ;[se, significand] = r.pick(SPECIAL)
      break
    case 1:
      significand = BigInt(r.below(1000) + 1) << 54n
      while ((significand & (1n << 63n)) === 0n) significand <<= 1n
      se = 0x3fff + r.below(12) + r.below(2) * 0x8000
      break
    case 2:
      significand = r.u64() | (1n << 63n)
      se = r.next() & 0xffff
      break
    default:
      significand = (r.u64() | (1n << 63n)) & (r.below(2) ? ~0n : ~((1n << 40n) - 1n))
      se = 0x3fff - 6 + r.below(13) + r.below(2) * 0x8000
  }
  return littleEndian(significand, 8) + littleEndian(BigInt(se), 2)
}

/** Control, status and tag words and the registers, from ST(0) on. */
function state(r: Random, name: string): string {
  let fcw = 0x37f
  if (r.below(2) === 0) fcw = 0x40 | (r.pick([0, 2, 3, 3]) << 8) | (r.below(4) << 10) | 0x3f
  if (r.below(5) === 0) fcw &= ~(r.next() & 0x3f)
  let fsw = (r.below(8) << 11) | (r.next() & 0x4700)
  if (r.below(4) === 0) fsw |= r.next() & 0x7f
  if (KEEPS_C1.test(name)) fsw &= ~0x200
  const pending = (fsw & ~fcw & 0x3f) !== 0
  if (pending) fsw |= 0x8080
  const tags = r.below(4) === 0 ? r.below(256) : r.below(8) === 0 ? 0 : 0xff
  const pointers = pending
    ? `${littleEndian(BigInt(r.below(0x800)), 2)}${littleEndian(0x12345678n, 8)}${littleEndian(0x10000040n, 8)}`
    : '00'.repeat(18)
  let text =
    littleEndian(BigInt(fcw), 2) + littleEndian(BigInt(fsw), 2) + littleEndian(BigInt(tags), 2) + pointers + '00'.repeat(8)
  for (let i = 0; i < 8; i++) text += `${extended(r)}${'00'.repeat(6)}`
  return text
}

/** What lies in memory for operands that random bytes would not do for. */
function operand(r: Random, code: number, offset: number): [number, string][] {
  const text = formText(code)
  if (offset < 0 || offset > 8000) return []
  if (/m80fp/.test(text)) return [[offset, extended(r)]]
  if (/m80bcd/.test(text)) {
    let digits = ''
    for (let i = 0; i < 9; i++) digits += `${r.below(10)}${r.below(10)}`
    return [[offset, `${digits}${r.below(2) ? '00' : '80'}`]]
  }
  return []
}

function plan(code: number, seed: number, options: InstanceOptions, states: number): Planned | null {
  const r = new Random(seed)
  for (let tries = 0; tries < 20; tries++) {
    const instance = makeInstance(code, r, options)
    if (instance === null) continue
    const cases = []
    for (let i = 0; i < states; i++) {
      const set: Overrides = { ...instance.set, x87: state(r, mnemonicOf(code)) }
      if (Object.keys(set.g ?? {}).length === 0) delete set.g
      if (instance.memoryOffset !== null) set.m = operand(r, code, instance.memoryOffset)
      if (set.m?.length === 0) delete set.m
      cases.push({ seed: seed + i, set })
    }
    return {
      mnemonic: mnemonicOf(code),
      text: instance.text,
      mode: options.mode,
      code: toHex(instance.code),
      filling: fillingOf(code),
      cases,
    }
  }
  return null
}
