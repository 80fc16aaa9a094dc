/**
 * Exceptions and interrupts 0..31. SDM Vol. 3A Table 6-1 (class, error code), Table 6-4 (which pairs make a double fault).
 *
 * class: a `fault` reports the instruction itself, a `trap` the next one, an `abort` nothing reliable. #DB is a fault or a trap
 * by cause (instruction breakpoints and general detect are faults); its row says trap, as for single step and data breakpoints.
 */

export const X86_TRAP_DE = 0
export const X86_TRAP_DB = 1
export const X86_TRAP_NMI = 2
export const X86_TRAP_BP = 3
export const X86_TRAP_OF = 4
export const X86_TRAP_BR = 5
export const X86_TRAP_UD = 6
export const X86_TRAP_NM = 7
export const X86_TRAP_DF = 8
export const X86_TRAP_OLD_MF = 9
export const X86_TRAP_TS = 10
export const X86_TRAP_NP = 11
export const X86_TRAP_SS = 12
export const X86_TRAP_GP = 13
export const X86_TRAP_PF = 14
export const X86_TRAP_SPURIOUS = 15
export const X86_TRAP_MF = 16
export const X86_TRAP_AC = 17
export const X86_TRAP_MC = 18
export const X86_TRAP_XF = 19
export const X86_TRAP_VE = 20
export const X86_TRAP_CP = 21
export const X86_TRAP_HV = 28
export const X86_TRAP_VC = 29
export const X86_TRAP_SX = 30

export type VectorClass = 'fault' | 'trap' | 'abort' | 'interrupt'
/** Row and column of SDM Table 6-4. */
export type DoubleFaultGroup = 'benign' | 'contributory' | 'page-fault' | 'double-fault'

export interface Vector {
  readonly vector: number
  readonly mnemonic: string
  readonly name: string
  readonly class: VectorClass
  readonly hasErrorCode: boolean
  readonly group: DoubleFaultGroup
  readonly source: string
}

const T = 'SDM Vol. 3A Table 6-1'
const row = (
  vector: number,
  mnemonic: string,
  name: string,
  cls: VectorClass,
  hasErrorCode: boolean,
  group: DoubleFaultGroup = 'benign',
  source = T,
): Vector => ({ vector, mnemonic, name, class: cls, hasErrorCode, group, source })

const APM = 'APM Vol. 2 §8.2'

export const vectors: readonly Vector[] = [
  row(0, '#DE', 'Divide Error', 'fault', false, 'contributory'),
  row(1, '#DB', 'Debug', 'trap', false),
  row(2, 'NMI', 'Nonmaskable Interrupt', 'interrupt', false),
  row(3, '#BP', 'Breakpoint', 'trap', false),
  row(4, '#OF', 'Overflow', 'trap', false),
  row(5, '#BR', 'BOUND Range Exceeded', 'fault', false),
  row(6, '#UD', 'Invalid Opcode', 'fault', false),
  row(7, '#NM', 'Device Not Available', 'fault', false),
  row(8, '#DF', 'Double Fault', 'abort', true, 'double-fault'),
  row(9, '#OLD_MF', 'Coprocessor Segment Overrun', 'abort', false),
  row(10, '#TS', 'Invalid TSS', 'fault', true, 'contributory'),
  row(11, '#NP', 'Segment Not Present', 'fault', true, 'contributory'),
  row(12, '#SS', 'Stack-Segment Fault', 'fault', true, 'contributory'),
  row(13, '#GP', 'General Protection', 'fault', true, 'contributory'),
  row(14, '#PF', 'Page Fault', 'fault', true, 'page-fault'),
  row(16, '#MF', 'x87 FPU Floating-Point Error', 'fault', false),
  row(17, '#AC', 'Alignment Check', 'fault', true),
  row(18, '#MC', 'Machine Check', 'abort', false),
  row(19, '#XM', 'SIMD Floating-Point Exception', 'fault', false),
  row(20, '#VE', 'Virtualization Exception', 'fault', false, 'page-fault'),
  row(21, '#CP', 'Control Protection', 'fault', true, 'contributory'),
  row(28, '#HV', 'Hypervisor Injection', 'interrupt', false, 'benign', APM),
  row(29, '#VC', 'VMM Communication', 'fault', true, 'contributory', APM),
  row(30, '#SX', 'Security Exception', 'fault', true, 'contributory', APM),
]

/** Indexed by vector, 0..31: 1 where an error code is pushed. */
export const vectorHasErrorCode = new Uint8Array(32)
/** Indexed by vector, 0..31; undefined for reserved ones. */
export const vectorByNumber: readonly (Vector | undefined)[] = Array.from({ length: 32 }, (_, v) =>
  vectors.find((x) => x.vector === v),
)
for (const v of vectors) vectorHasErrorCode[v.vector] = v.hasErrorCode ? 1 : 0

/** `#GP`, or `vector 33` for an interrupt or a reserved vector. */
export function vectorMnemonic(vector: number): string {
  return vectorByNumber[vector]?.mnemonic ?? `vector ${vector}`
}

export type CombinedFault = 'serial' | 'double-fault' | 'shutdown'

/** What a second event during delivery of a first one makes of the two. SDM Vol. 3A Table 6-5. */
export function combineFaults(first: number, second: number): CombinedFault {
  const a = vectorByNumber[first]?.group ?? 'benign'
  const b = vectorByNumber[second]?.group ?? 'benign'
  if (a === 'double-fault') return b === 'benign' ? 'serial' : 'shutdown'
  if (a === 'contributory') return b === 'contributory' ? 'double-fault' : 'serial'
  if (a === 'page-fault') return b === 'contributory' || b === 'page-fault' ? 'double-fault' : 'serial'
  return 'serial'
}

/** #CP error codes, bits 14:0. CET-53; SDM Vol. 3A §6.15 "Interrupt 21". */
export const CP_ERROR = { NEAR_RET: 1, FAR_RET_IRET: 2, ENDBRANCH: 3, RSTORSSP: 4, SETSSBSY: 5 } as const

/** Selector-type error codes: bit 0 EXT, bit 1 IDT, bit 2 TI. SDM Vol. 3A §6.13. */
export const SELECTOR_ERROR = { EXT: 1, IDT: 2, TI: 4 } as const
