/** MSRs that a switch of extended state reads or writes; every other access counts under `OTHER`. */
export const COUNTED_MSRS = [
  'IA32_XFD',
  'IA32_XFD_ERR',
  'IA32_XSS',
  'IA32_PL0_SSP',
  'IA32_PL1_SSP',
  'IA32_PL2_SSP',
  'OTHER',
] as const
export type CountedMsr = (typeof COUNTED_MSRS)[number]

/** Places in `msrReadsOf` and `msrWritesOf`. */
export const COUNT_XFD = 0
export const COUNT_XFD_ERR = 1
export const COUNT_XSS = 2
export const COUNT_PL0_SSP = 3
export const COUNT_OTHER = 6

const MSR_IA32_PL0_SSP = 0x6a4

/** The place of an MSR among the counted ones. */
export function countedMsr(index: number): number {
  if (index >= MSR_IA32_PL0_SSP && index <= MSR_IA32_PL0_SSP + 2) return COUNT_PL0_SSP + index - MSR_IA32_PL0_SSP
  if (index === 0x1c4) return COUNT_XFD
  if (index === 0x1c5) return COUNT_XFD_ERR
  return index === 0xda0 ? COUNT_XSS : COUNT_OTHER
}

/** What the processors of a machine did, counted where it is done. Guests' own instructions count in none but the last two. */
export class MachineCounters {
  /** XSAVE, XSAVEOPT, XSAVEC, XSAVES and XRSTOR, XRSTORS by the kernel, and the bytes they moved (`XsaveEngine.moved`). */
  xsaveExecuted = 0
  xsaveBytes = 0
  xrstorExecuted = 0
  xrstorBytes = 0
  /** RDMSR and WRMSR by the kernel, by `COUNTED_MSRS`. */
  readonly msrReadsOf = new Float64Array(COUNTED_MSRS.length)
  readonly msrWritesOf = new Float64Array(COUNTED_MSRS.length)
  /** XSETBV and WRPKRU by the kernel. */
  xsetbv = 0
  wrpkru = 0
  vmEntries = 0
  /** Instructions retired by guests. */
  guestRetired = 0

  get msrReads(): number {
    return this.msrReadsOf.reduce((sum, count) => sum + count, 0)
  }
  get msrWrites(): number {
    return this.msrWritesOf.reduce((sum, count) => sum + count, 0)
  }
}
