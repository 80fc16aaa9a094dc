import type { FeatureName } from './cpuid-features.ts'

/**
 * Control registers, EFER, RFLAGS and debug registers. SDM Vol. 3A §2.3, §2.5, Vol. 3B §18.2; APM Vol. 2 §3.1. Names are Linux's.
 * Values are unsigned 32-bit numbers (low halves); bits above 31 are named with `_HI` and belong to the upper half.
 */

export const X86_CR0_PE = 1 << 0
export const X86_CR0_MP = 1 << 1
export const X86_CR0_EM = 1 << 2
export const X86_CR0_TS = 1 << 3
export const X86_CR0_ET = 1 << 4
export const X86_CR0_NE = 1 << 5
export const X86_CR0_WP = 1 << 16
export const X86_CR0_AM = 1 << 18
export const X86_CR0_NW = 1 << 29
export const X86_CR0_CD = 1 << 30
export const X86_CR0_PG = 0x80000000

/** Defined bits of CR0. Writes of others below bit 32 are ignored, a non-zero upper half is #GP(0). SDM Vol. 3A §2.5. */
export const CR0_DEFINED =
  (X86_CR0_PE |
    X86_CR0_MP |
    X86_CR0_EM |
    X86_CR0_TS |
    X86_CR0_ET |
    X86_CR0_NE |
    X86_CR0_WP |
    X86_CR0_AM |
    X86_CR0_NW |
    X86_CR0_CD |
    X86_CR0_PG) >>>
  0
/** CR0 after RESET: CD, NW, ET. SDM Vol. 3A Table 10-1. */
export const CR0_RESET = 0x60000010

export const X86_CR3_PWT = 1 << 3
export const X86_CR3_PCD = 1 << 4
export const X86_CR3_PCID_MASK = 0xfff
/** Upper half of CR3: LAM and "keep this PCID's translations". */
export const X86_CR3_LAM_U57_HI = 1 << 29
export const X86_CR3_LAM_U48_HI = 1 << 30
export const X86_CR3_PCID_NOFLUSH_HI = 0x80000000

export const X86_CR4_VME = 1 << 0
export const X86_CR4_PVI = 1 << 1
export const X86_CR4_TSD = 1 << 2
export const X86_CR4_DE = 1 << 3
export const X86_CR4_PSE = 1 << 4
export const X86_CR4_PAE = 1 << 5
export const X86_CR4_MCE = 1 << 6
export const X86_CR4_PGE = 1 << 7
export const X86_CR4_PCE = 1 << 8
export const X86_CR4_OSFXSR = 1 << 9
export const X86_CR4_OSXMMEXCPT = 1 << 10
export const X86_CR4_UMIP = 1 << 11
export const X86_CR4_LA57 = 1 << 12
export const X86_CR4_VMXE = 1 << 13
export const X86_CR4_SMXE = 1 << 14
export const X86_CR4_FSGSBASE = 1 << 16
export const X86_CR4_PCIDE = 1 << 17
export const X86_CR4_OSXSAVE = 1 << 18
export const X86_CR4_KL = 1 << 19
export const X86_CR4_SMEP = 1 << 20
export const X86_CR4_SMAP = 1 << 21
export const X86_CR4_PKE = 1 << 22
export const X86_CR4_CET = 1 << 23
export const X86_CR4_PKS = 1 << 24
export const X86_CR4_UINTR = 1 << 25
export const X86_CR4_LASS = 1 << 27
export const X86_CR4_LAM_SUP = 1 << 28
/** Bit 32, in the upper half. */
export const X86_CR4_FRED_HI = 1 << 0

export interface GatedBit {
  readonly name: string
  readonly mask: number
  /** CPUID features any of which makes the bit writable; empty if every 64-bit processor has it. */
  readonly features: readonly FeatureName[]
  readonly source: string
}

const CR4 = 'SDM Vol. 3A §2.5 "CR4"'
const gated = (name: string, mask: number, features: readonly FeatureName[], source: string): GatedBit => ({
  name,
  mask: mask >>> 0,
  features,
  source,
})

/** Bits of CR4 below 32 and the feature each needs; a set bit that is not here, or whose feature is missing, is #GP(0). */
export const cr4Bits: readonly GatedBit[] = [
  gated('VME', X86_CR4_VME, ['vme'], CR4),
  gated('PVI', X86_CR4_PVI, ['vme'], CR4),
  gated('TSD', X86_CR4_TSD, ['tsc'], CR4),
  gated('DE', X86_CR4_DE, ['de'], CR4),
  gated('PSE', X86_CR4_PSE, ['pse'], CR4),
  gated('PAE', X86_CR4_PAE, ['pae'], CR4),
  gated('MCE', X86_CR4_MCE, ['mce'], CR4),
  gated('PGE', X86_CR4_PGE, ['pge'], CR4),
  gated('PCE', X86_CR4_PCE, [], CR4),
  gated('OSFXSR', X86_CR4_OSFXSR, ['fxsr'], CR4),
  gated('OSXMMEXCPT', X86_CR4_OSXMMEXCPT, ['sse'], CR4),
  gated('UMIP', X86_CR4_UMIP, ['umip'], CR4),
  gated('LA57', X86_CR4_LA57, ['la57'], CR4),
  gated('VMXE', X86_CR4_VMXE, ['vmx'], CR4),
  gated('SMXE', X86_CR4_SMXE, ['smx'], CR4),
  gated('FSGSBASE', X86_CR4_FSGSBASE, ['fsgsbase'], CR4),
  gated('PCIDE', X86_CR4_PCIDE, ['pcid'], CR4),
  gated('OSXSAVE', X86_CR4_OSXSAVE, ['xsave'], CR4),
  gated('KL', X86_CR4_KL, ['key-locker'], CR4),
  gated('SMEP', X86_CR4_SMEP, ['smep'], CR4),
  gated('SMAP', X86_CR4_SMAP, ['smap'], CR4),
  gated('PKE', X86_CR4_PKE, ['pku'], CR4),
  gated('CET', X86_CR4_CET, ['shstk', 'ibt'], `${CR4}, CET-06`),
  gated('PKS', X86_CR4_PKS, ['pks'], CR4),
  gated('UINTR', X86_CR4_UINTR, ['uintr'], CR4),
  gated('LASS', X86_CR4_LASS, ['lass'], CR4),
  gated('LAM_SUP', X86_CR4_LAM_SUP, ['lam'], CR4),
]

export const EFER_SCE = 1 << 0
export const EFER_LME = 1 << 8
export const EFER_LMA = 1 << 10
export const EFER_NX = 1 << 11
export const EFER_SVME = 1 << 12
export const EFER_LMSLE = 1 << 13
export const EFER_FFXSR = 1 << 14
export const EFER_TCE = 1 << 15
export const EFER_AUTOIBRS = 1 << 21

const EFER = 'SDM Vol. 3A §2.2.1, APM Vol. 2 §3.1.7'

/** Writable bits of EFER (LMA is read-only, but writing back its value is no fault). */
export const eferBits: readonly GatedBit[] = [
  gated('SCE', EFER_SCE, ['syscall'], EFER),
  gated('LME', EFER_LME, ['lm'], EFER),
  gated('LMA', EFER_LMA, ['lm'], EFER),
  gated('NX', EFER_NX, ['nx'], EFER),
  gated('SVME', EFER_SVME, ['svm'], EFER),
  gated('FFXSR', EFER_FFXSR, ['fxsr-opt'], EFER),
  gated('TCE', EFER_TCE, ['tce'], EFER),
  gated('AUTOIBRS', EFER_AUTOIBRS, ['auto-ibrs'], EFER),
]

/** Bits of `table` that a processor with these features lets software set. */
export function writableBits(table: readonly GatedBit[], has: (feature: FeatureName) => boolean): number {
  let mask = 0
  for (const bit of table) if (bit.features.length === 0 || bit.features.some(has)) mask |= bit.mask
  return mask >>> 0
}

export const X86_EFLAGS_CF = 1 << 0
export const X86_EFLAGS_FIXED = 1 << 1
export const X86_EFLAGS_PF = 1 << 2
export const X86_EFLAGS_AF = 1 << 4
export const X86_EFLAGS_ZF = 1 << 6
export const X86_EFLAGS_SF = 1 << 7
export const X86_EFLAGS_TF = 1 << 8
export const X86_EFLAGS_IF = 1 << 9
export const X86_EFLAGS_DF = 1 << 10
export const X86_EFLAGS_OF = 1 << 11
export const X86_EFLAGS_IOPL = 3 << 12
export const X86_EFLAGS_NT = 1 << 14
export const X86_EFLAGS_RF = 1 << 16
export const X86_EFLAGS_VM = 1 << 17
export const X86_EFLAGS_AC = 1 << 18
export const X86_EFLAGS_VIF = 1 << 19
export const X86_EFLAGS_VIP = 1 << 20
export const X86_EFLAGS_ID = 1 << 21

/** The six flags arithmetic writes. */
export const X86_EFLAGS_ARITHMETIC = 0x8d5
/** Every flag that can be set; the rest reads 0, bit 1 reads 1. */
export const X86_EFLAGS_DEFINED = 0x3f7fd5

export const DR6_TRAP0 = 1 << 0
export const DR6_TRAP1 = 1 << 1
export const DR6_TRAP2 = 1 << 2
export const DR6_TRAP3 = 1 << 3
/** Active low: 0 says that a bus lock was taken. SLD §1. */
export const DR6_BUS_LOCK = 1 << 11
export const DR6_BD = 1 << 13
export const DR6_BS = 1 << 14
export const DR6_BT = 1 << 15
/** Active low: 0 says that the exception came inside a transaction. */
export const DR6_RTM = 1 << 16
/** What software may write of DR6. */
export const DR6_VOLATILE = 0x1e80f
/** DR6 after RESET, and its always-one bits without RTM and bus-lock detection. */
export const DR6_ACTIVE_LOW = 0xffff0ff0
export const DR6_FIXED_1 = 0xfffe07f0
export const DR6_RESET = DR6_ACTIVE_LOW

export const DR7_GLOBAL_EXACT = 1 << 9
export const DR7_FIXED_1 = 1 << 10
export const DR7_RTM = 1 << 11
export const DR7_GD = 1 << 13
/** Bits that can be set: L/G 0..3, LE, GE, GD, R/W and LEN of four breakpoints; bit 10 is always 1. */
export const DR7_VOLATILE = 0xffff2bff
export const DR7_RESET = DR7_FIXED_1

export const DEBUGCTLMSR_LBR = 1 << 0
export const DEBUGCTLMSR_BTF = 1 << 1
export const DEBUGCTLMSR_BUS_LOCK_DETECT = 1 << 2
