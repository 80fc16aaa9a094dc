/** The XSAVE area: offsets in bytes, state components, instruction forms. SDM Vol. 1 §13.4 and §13.5. */

// ---- legacy region (the FXSAVE image), SDM Vol. 1 Table 13-1 and §10.5.1 ----
export const AREA_FCW = 0
export const AREA_FTW = 4
export const AREA_FIP = 8
export const AREA_FDP = 16
export const AREA_MXCSR = 24
export const AREA_MXCSR_MASK = 28
/** ST(0)..ST(7), 16 bytes each, of which 10 are used. */
export const AREA_ST = 32
/** XMM0..XMM15, 16 bytes each. */
export const AREA_XMM = 160
// Bytes 416..463 are reserved, 464..511 belong to software; no instruction writes them.

// ---- header ----
export const AREA_XSTATE_BV = 512
export const AREA_XCOMP_BV = 520
export const AREA_HEADER_RESERVED = 528
export const AREA_HEADER_SIZE = 64
/** Where the first component of a compacted area lies, and the size of an area that holds only x87 and SSE. */
export const AREA_EXTENDED = 576

// ---- state components, SDM Vol. 1 §13.1 ----
export const XFEATURE_FP = 0
export const XFEATURE_SSE = 1
export const XFEATURE_YMM = 2
export const XFEATURE_BNDREGS = 3
export const XFEATURE_BNDCSR = 4
export const XFEATURE_OPMASK = 5
export const XFEATURE_ZMM_Hi256 = 6
export const XFEATURE_Hi16_ZMM = 7
export const XFEATURE_PKRU = 9
export const XFEATURE_XTILE_CFG = 17
export const XFEATURE_XTILE_DATA = 18
export const XFEATURE_APX = 19

export const MASK_FP = 1 << XFEATURE_FP
export const MASK_SSE = 1 << XFEATURE_SSE
/** What the legacy region holds. */
export const MASK_LEGACY = MASK_FP | MASK_SSE
export const MASK_YMM = 1 << XFEATURE_YMM

export const FCW_INIT = 0x037f
export const MXCSR_INIT = 0x1f80

// ---- forms of the instructions ----
export const XSAVE = 0
export const XSAVEOPT = 1
export const XSAVEC = 2
export const XSAVES = 3
export type SaveForm = typeof XSAVE | typeof XSAVEOPT | typeof XSAVEC | typeof XSAVES

/** XRSTOR takes standard or compacted areas, as bit 63 of XCOMP_BV says. */
export const XRSTOR = 0
export const XRSTORS = 1
export type RestoreForm = typeof XRSTOR | typeof XRSTORS

/** REX.W: x87 instruction and data pointers are 64 bits wide. */
export const MODE_REX_W = 1
/** 64-bit mode (CS.L = 1): registers 8..31 exist. */
export const MODE_LONG = 2
/** XSAVE64 and its like: what a 64-bit kernel executes. */
export const MODE_64 = MODE_REX_W | MODE_LONG

/** Results of instructions that can fault: 0, or the vector. */
export const NO_FAULT = 0
export const FAULT_UD = 6
export const FAULT_NM = 7
export const FAULT_GP = 13

/** One row of CPUID leaf 0xD as these instructions need it. */
export interface XstateComponentRow {
  readonly nr: number
  readonly size: number
  /** Standard format, from the start of the area; unused for supervisor components. */
  readonly offset: number
  readonly align64?: boolean
}
