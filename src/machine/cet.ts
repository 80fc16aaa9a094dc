/** Bits of IA32_U_CET and IA32_S_CET (CET-03; SDM Vol. 1, 17.2 and 17.3). */
export const CET_SH_STK_EN = 1 << 0
export const CET_WR_SHSTK_EN = 1 << 1
export const CET_ENDBR_EN = 1 << 2
