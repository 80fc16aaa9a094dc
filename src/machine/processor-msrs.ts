import type { CpuModel } from '../isa/cpu-model.ts'
import * as msr from '../isa/msr-index.ts'
import { msrByIndex, msrExists, msrResetValue, msrWritableMask } from '../isa/msrs.ts'
import { cetMsrFault } from './cet.ts'
import { PL0_SSP, PL3_SSP, U_CET, XFD, XFD_ERR, XSS } from './memory-map.ts'
import type { Processor } from './processor.ts'

/** MSRs that are words of the register file. */
const REGISTER_FILE_MSRS = new Map<number, number>([
  [msr.MSR_IA32_XFD, XFD],
  [msr.MSR_IA32_XFD_ERR, XFD_ERR],
  [msr.MSR_IA32_XSS, XSS],
])

/** MSRs that are 64-bit places of the register file. */
const REGISTER_FILE_MSRS_64 = new Map<number, number>([
  [msr.MSR_IA32_U_CET, U_CET],
  [msr.MSR_IA32_PL0_SSP, PL0_SSP],
  [msr.MSR_IA32_PL1_SSP, PL0_SSP + 8],
  [msr.MSR_IA32_PL2_SSP, PL0_SSP + 16],
  [msr.MSR_IA32_PL3_SSP, PL3_SSP],
])

/** The reset values of every MSR the model has. */
export function resetMsrs(model: CpuModel): Map<number, bigint> {
  const values = new Map<number, bigint>()
  for (const [index, facts] of msrByIndex) if (msrExists(facts, model)) values.set(index, msrResetValue(facts, model))
  for (const [index, value] of model.msrs) values.set(index, value)
  return values
}

/** RDMSR by the kernel; undefined is #GP(0): the model has no such register, or it is write-only. */
export function readMsr(p: Processor, index: number): bigint | undefined {
  return readKnown(p, index) ?? (p.machine.model.emulator.unknownMsrsAreZero ? 0n : undefined)
}

function readKnown(p: Processor, index: number): bigint | undefined {
  const word = REGISTER_FILE_MSRS.get(index)
  const facts = msrByIndex.get(index)
  if (facts !== undefined && (!msrExists(facts, p.machine.model) || facts.access === 'wo')) return undefined
  if (word !== undefined) return BigInt(p.registerFile32(word) >>> 0)
  const wide = REGISTER_FILE_MSRS_64.get(index)
  if (wide !== undefined) return p.machine.mem.u64At(p.registerFile + wide)
  if (index === msr.MSR_IA32_TSC) return BigInt(p.tsc())
  return p.msrs.get(index)
}

/** WRMSR by the kernel: 0, or 13 for #GP(0) (no such register, read-only, a reserved bit, an address that is not canonical). */
export function writeMsr(p: Processor, index: number, value: bigint): number {
  const { model } = p.machine
  const facts = msrByIndex.get(index)
  if (facts === undefined || !msrExists(facts, model)) return model.emulator.unknownMsrsAreZero ? 0 : 13
  if (facts.access === 'ro') return 13
  if ((value & ~msrWritableMask(facts, model)) !== 0n) return 13
  const canonical = facts.rule === 'canonical' || facts.rule === 'canonical-aligned4'
  if (canonical && BigInt.asUintN(64, BigInt.asIntN(model.linearAddrBits, value)) !== value) return 13
  if (facts.rule === 'canonical-aligned4' && (value & 3n) !== 0n) return 13
  if (facts.rule === 'cet' && cetMsrFault(model, index, half(value), half(value >> 32n)) !== null) return 13
  const word = REGISTER_FILE_MSRS.get(index)
  const wide = REGISTER_FILE_MSRS_64.get(index)
  if (word !== undefined) p.setRegisterFile32(word, Number(value))
  else if (wide !== undefined) p.machine.mem.setU64At(p.registerFile + wide, value)
  else for (const thread of facts.scope === 'core' ? p.core : [p]) thread.msrs.set(index, value)
  return 0
}
const half = (value: bigint): number => Number(BigInt.asIntN(32, value))
