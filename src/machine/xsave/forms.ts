/** The instructions of the XSAVE feature set: forms, operating modes, results. SDM Vol. 1 Chapter 13. */

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
