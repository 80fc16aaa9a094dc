import { type CaseRecord, CODE, CODE_OFFSET, fromHex, toHex, VECTOR_BP } from './record-layout.ts'

/** What a case changed, relative to the state before it. Absent members: unchanged. */
export interface Outcome {
  /** Vector and error code of the fault that ended the case, with CR2 of a page fault. Absent: it ran to its end. */
  fault?: [vector: number, error: number, address?: string]
  /** RIP relative to the case's code when it is not the code's end (or, after a fault, its start). */
  rip?: number
  /** RFLAGS, the bits in COMPARED_FLAGS. */
  f?: string
  g?: Record<string, string>
  m?: [number, string][]
  z?: Record<string, string>
  k?: Record<string, string>
  mxcsr?: string
  x87?: string
}

/** CF PF AF ZF SF OF DF. */
export const COMPARED_FLAGS = 0xcd5

const hex = (v: bigint | number): string => v.toString(16)

/** RIP after a case relative to its code: of the instruction after the last one executed, or of the one that faulted. */
function ripOffset(after: CaseRecord): number {
  return Number(BigInt.asIntN(64, after.rip - BigInt(CODE + CODE_OFFSET))) - (after.vector === VECTOR_BP ? 1 : 0)
}

export function outcomeOf(before: CaseRecord, after: CaseRecord, withX87: boolean): Outcome {
  const out: Outcome = {}
  if (after.vector !== VECTOR_BP) {
    out.fault = after.vector === 14 ? [14, after.error, hex(after.faultAddress)] : [after.vector, after.error]
  }
  const rip = ripOffset(after)
  if (rip !== (out.fault === undefined ? before.code.length : 0)) out.rip = rip
  if ((after.rflags ^ before.rflags) & COMPARED_FLAGS) out.f = hex(after.rflags & COMPARED_FLAGS)
  for (let n = 0; n < 16; n++) {
    if (after.gpr(n) !== before.gpr(n)) (out.g ??= {})[n] = hex(after.gpr(n))
  }
  for (let k = 0; k < 8; k++) {
    if (after.opmask(k) !== before.opmask(k)) (out.k ??= {})[k] = hex(after.opmask(k))
  }
  for (let n = 0; n < 32; n++) {
    const changed = difference(before.zmm(n), after.zmm(n))
    // From byte 0 on, so that a register reads as a whole.
    if (changed !== null) (out.z ??= {})[n] = toHex(after.zmm(n).subarray(0, changed[1]))
  }
  memoryDifferences(before.memory, after.memory, out)
  if (after.mxcsr !== before.mxcsr) out.mxcsr = hex(after.mxcsr)
  if (withX87 && difference(before.x87, after.x87) !== null) out.x87 = toHex(after.x87)
  return out
}

/** First and one past the last differing byte. */
function difference(a: Uint8Array, b: Uint8Array): [number, number] | null {
  let first = 0
  while (first < a.length && a[first] === b[first]) first++
  if (first === a.length) return null
  let end = a.length
  while (a[end - 1] === b[end - 1]) end--
  return [first, end]
}

function memoryDifferences(before: Uint8Array, after: Uint8Array, out: Outcome): void {
  for (let at = 0; at < before.length; at++) {
    if (before[at] === after[at]) continue
    let end = at + 1
    // Runs of up to three equal bytes do not end a piece.
    for (let i = end; i < Math.min(before.length, end + 4); i++) if (before[i] !== after[i]) end = i + 1
    ;(out.m ??= []).push([at, toHex(after.subarray(at, end))])
    at = end - 1
  }
}

/** The state after a case. */
export function stateAfter(before: CaseRecord, out: Outcome): CaseRecord {
  const after = before.copy()
  after.vector = out.fault?.[0] ?? VECTOR_BP
  after.error = out.fault?.[1] ?? 0
  after.faultAddress = BigInt(`0x${out.fault?.[2] ?? '0'}`)
  const offset = out.rip ?? (out.fault === undefined ? before.code.length : 0)
  after.rip = BigInt(CODE + CODE_OFFSET + offset + (out.fault === undefined ? 1 : 0))
  if (out.f !== undefined) after.rflags = (before.rflags & ~COMPARED_FLAGS) | Number.parseInt(out.f, 16)
  for (const [n, v] of Object.entries(out.g ?? {})) after.setGpr(Number(n), BigInt(`0x${v}`))
  for (const [n, v] of Object.entries(out.k ?? {})) after.setOpmask(Number(n), BigInt(`0x${v}`))
  for (const [n, v] of Object.entries(out.z ?? {})) after.zmm(Number(n)).set(fromHex(v))
  for (const [offset_, bytes] of out.m ?? []) after.memory.set(fromHex(bytes), offset_)
  if (out.mxcsr !== undefined) after.mxcsr = Number.parseInt(out.mxcsr, 16)
  if (out.x87 !== undefined) after.x87.set(fromHex(out.x87))
  return after
}

/** What differs between the expected and the actual state after a case, in words; flags in `undefinedFlags` do not count. */
export function mismatches(expected: CaseRecord, actual: CaseRecord, undefinedFlags: number, withX87: boolean): string[] {
  const found: string[] = []
  const differ = (what: string, a: string | number, b: string | number) => {
    if (a !== b) found.push(`${what}: expected ${a}, got ${b}`)
  }
  const fault = (r: CaseRecord) =>
    r.vector === VECTOR_BP ? 'none' : `#${r.vector}(${r.error})${r.vector === 14 ? ` at ${hex(r.faultAddress)}` : ''}`
  differ('fault', fault(expected), fault(actual))
  differ('RIP', ripOffset(expected), ripOffset(actual))
  const flags = COMPARED_FLAGS & ~undefinedFlags
  differ('flags', hex(expected.rflags & flags), hex(actual.rflags & flags))
  for (let n = 0; n < 16; n++) if (expected.gpr(n) !== actual.gpr(n)) differ(`r${n}`, hex(expected.gpr(n)), hex(actual.gpr(n)))
  for (let n = 0; n < 8; n++)
    if (expected.opmask(n) !== actual.opmask(n)) differ(`k${n}`, hex(expected.opmask(n)), hex(actual.opmask(n)))
  for (let n = 0; n < 32; n++) {
    if (difference(expected.zmm(n), actual.zmm(n)) !== null) differ(`zmm${n}`, toHex(expected.zmm(n)), toHex(actual.zmm(n)))
  }
  const memory = difference(expected.memory, actual.memory)
  if (memory !== null)
    differ(`memory+0x${hex(memory[0])}`, toHex(expected.memory.subarray(...memory)), toHex(actual.memory.subarray(...memory)))
  differ('mxcsr', hex(expected.mxcsr), hex(actual.mxcsr))
  if (withX87) differ('x87', toHex(expected.x87), toHex(actual.x87))
  return found
}
