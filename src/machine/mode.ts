/**
 * What generated code depends on besides the instruction bytes. Compiled code is keyed by it, and it is part of the
 * jump-cache tag.
 */
export const MODE_CODE_16 = 0
export const MODE_CODE_32 = 1
export const MODE_CODE_64 = 2
export const MODE_CODE_MASK = 3
/** CPL 3: accesses are user accesses. */
export const MODE_USER = 1 << 2
/** x87 instructions raise #NM (CR0.EM or CR0.TS). */
export const MODE_X87_NM = 1 << 3
/** SSE instructions raise #UD (CR0.EM, or CR4.OSFXSR clear). */
export const MODE_SSE_UD = 1 << 4
/** SSE, AVX, AVX-512 and AMX instructions raise #NM (CR0.TS). */
export const MODE_TS = 1 << 5
/** AVX, AVX-512, AMX state not enabled (CR4.OSXSAVE, XCR0): #UD. */
export const MODE_AVX_UD = 1 << 6
export const MODE_AVX512_UD = 1 << 7
export const MODE_AMX_UD = 1 << 8
/** CPL 3, CR0.AM and RFLAGS.AC: misaligned data accesses raise #AC. */
export const MODE_ALIGNMENT_CHECK = 1 << 9
/** Stack accesses use 32-bit ESP (legacy modes); clear: 16-bit SP. */
export const MODE_STACK_32 = 1 << 10
/** Real-address or virtual-8086 mode: segment bases follow selectors. */
export const MODE_REAL = 1 << 11
/** Shadow stacks are enabled at this privilege level (CR4.CET, IA32_U_CET or IA32_S_CET bit 0). */
export const MODE_SHADOW_STACK = 1 << 12
/** Indirect-branch tracking is enabled at this privilege level (CR4.CET, IA32_U_CET or IA32_S_CET bit 2). */
export const MODE_IBT = 1 << 13
/** It waits: the next instruction must be ENDBRANCH (bit 11 of the same register). Code compiled for this is one instruction long. */
export const MODE_ENDBRANCH_DUE = 1 << 14
export const MODE_BITS = 15
