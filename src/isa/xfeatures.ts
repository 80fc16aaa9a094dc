/**
 * Extended-state components ("xfeatures"): numbers, masks, names and CPU gates. Rules PERM-01..04.
 *
 * Names are Linux's (arch/x86/include/asm/fpu/types.h); numbers are architectural: bit n of XCR0, IA32_XSS, XSTATE_BV and
 * XCOMP_BV is component n (SDM Vol. 1 §13.1). A mask is an unsigned 32-bit JS number: components 0..20 fit. Bit 63 of
 * XCOMP_BV and of a permission word never enters such a mask; it is kept as a boolean or as the upper half's sign bit.
 */

export const XFEATURE_FP = 0
export const XFEATURE_SSE = 1
export const XFEATURE_YMM = 2
export const XFEATURE_BNDREGS = 3
export const XFEATURE_BNDCSR = 4
export const XFEATURE_OPMASK = 5
export const XFEATURE_ZMM_Hi256 = 6
export const XFEATURE_Hi16_ZMM = 7
export const XFEATURE_PT = 8
export const XFEATURE_PKRU = 9
export const XFEATURE_PASID = 10
export const XFEATURE_CET_USER = 11
export const XFEATURE_CET_KERNEL = 12
export const XFEATURE_HDC = 13
export const XFEATURE_UINTR = 14
export const XFEATURE_LBR = 15
export const XFEATURE_HWP = 16
export const XFEATURE_XTILE_CFG = 17
export const XFEATURE_XTILE_DATA = 18
export const XFEATURE_APX = 19
/** Invented, of 256 bytes: only a synthetic CPU model has it (PERM-60). */
export const XFEATURE_SYNTHETIC = 20

export const XFEATURE_MASK_FP = 0x1
export const XFEATURE_MASK_SSE = 0x2
export const XFEATURE_MASK_YMM = 0x4
export const XFEATURE_MASK_BNDREGS = 0x8
export const XFEATURE_MASK_BNDCSR = 0x10
export const XFEATURE_MASK_OPMASK = 0x20
export const XFEATURE_MASK_ZMM_Hi256 = 0x40
export const XFEATURE_MASK_Hi16_ZMM = 0x80
export const XFEATURE_MASK_PT = 0x100
export const XFEATURE_MASK_PKRU = 0x200
export const XFEATURE_MASK_PASID = 0x400
export const XFEATURE_MASK_CET_USER = 0x800
export const XFEATURE_MASK_CET_KERNEL = 0x1000
export const XFEATURE_MASK_HDC = 0x2000
export const XFEATURE_MASK_UINTR = 0x4000
export const XFEATURE_MASK_LBR = 0x8000
export const XFEATURE_MASK_HWP = 0x10000
export const XFEATURE_MASK_XTILE_CFG = 0x20000
export const XFEATURE_MASK_XTILE_DATA = 0x40000
export const XFEATURE_MASK_APX = 0x80000
export const XFEATURE_MASK_SYNTHETIC = 0x100000

export const XFEATURE_MASK_FPSSE = XFEATURE_MASK_FP | XFEATURE_MASK_SSE
export const XFEATURE_MASK_AVX512 = XFEATURE_MASK_OPMASK | XFEATURE_MASK_ZMM_Hi256 | XFEATURE_MASK_Hi16_ZMM
export const XFEATURE_MASK_XTILE = XFEATURE_MASK_XTILE_CFG | XFEATURE_MASK_XTILE_DATA
export const XFEATURE_MASK_CET = XFEATURE_MASK_CET_USER | XFEATURE_MASK_CET_KERNEL

/** Bytes of the legacy FXSAVE region, of the XSAVE header, and of both: where the first extended component can start. */
export const FXSAVE_SIZE = 512
export const XSAVE_HDR_SIZE = 64
export const XSAVE_HDR_OFFSET = 512
export const XSAVE_LEGACY_AND_HEADER = FXSAVE_SIZE + XSAVE_HDR_SIZE

/** Byte offsets inside the header (SDM Vol. 1 §13.4.2). */
export const XSTATE_BV_OFFSET = 512
export const XCOMP_BV_OFFSET = 520

/** XCOMP_BV bit 63 ("compacted") as it appears in the upper 32-bit half. */
export const XCOMP_BV_COMPACTED_HI = 0x80000000

/** Byte offsets inside the legacy region (SDM Vol. 1 Table 13-1; software bytes: Linux struct _fpx_sw_bytes). */
export const FXSAVE = {
  FCW: 0,
  FSW: 2,
  FTW: 4,
  FOP: 6,
  FIP: 8,
  FDP: 16,
  MXCSR: 24,
  MXCSR_MASK: 28,
  ST: 32,
  XMM: 160,
  RESERVED: 416,
  SW_RESERVED: 464,
} as const

/** Reset values of the two control words; every other byte of every component is 0 in its initial configuration. PERM-10. */
export const FCW_INIT = 0x37f
export const MXCSR_INIT = 0x1f80

/** How a component is switched. `legacy` = in the FXSAVE region; `reserved` = architectural, no rule of ours uses it. */
export type XfeatureClass = 'legacy' | 'user' | 'supervisor'

export interface Xfeature {
  readonly nr: number
  readonly name: string
  readonly mask: number
  readonly class: XfeatureClass
  /** Bytes every CPU that has the component reports in CPUID.(0DH,nr).EAX; undefined where it depends on the CPU. */
  readonly size: number | undefined
  readonly source: string
}

const row = (nr: number, name: string, cls: XfeatureClass, size: number | undefined, source: string): Xfeature => ({
  nr,
  name,
  mask: (1 << nr) >>> 0,
  class: cls,
  size,
  source,
})

const V1 = 'SDM Vol. 1 §'

/** All architectural components in number order; `xfeatures[nr].nr === nr`. */
export const xfeatures: readonly Xfeature[] = [
  row(0, 'FP', 'legacy', 160, `${V1}13.5.1`),
  row(1, 'SSE', 'legacy', 256, `${V1}13.5.2`),
  row(2, 'YMM', 'user', 256, `${V1}13.5.3`),
  row(3, 'BNDREGS', 'user', 64, `${V1}13.5.4`),
  row(4, 'BNDCSR', 'user', 64, `${V1}13.5.4`),
  row(5, 'OPMASK', 'user', 64, `${V1}13.5.5`),
  row(6, 'ZMM_Hi256', 'user', 512, `${V1}13.5.5`),
  row(7, 'Hi16_ZMM', 'user', 1024, `${V1}13.5.5`),
  row(8, 'PT', 'supervisor', 128, `${V1}13.5.6; size read on Intel parts (CPUID.(0DH,8).EAX = 80H)`),
  row(9, 'PKRU', 'user', 8, `${V1}13.5.7 (4 of the 8 bytes are used)`),
  row(10, 'PASID', 'supervisor', 8, `${V1}13.5.8`),
  row(11, 'CET_U', 'supervisor', 16, `${V1}13.5.9, CET-01`),
  row(12, 'CET_S', 'supervisor', 24, `${V1}13.5.9, CET-01`),
  row(13, 'HDC', 'supervisor', 8, `${V1}13.5.10`),
  row(14, 'UINTR', 'supervisor', 48, `${V1}13.5.11`),
  row(15, 'LBR', 'supervisor', undefined, `${V1}13.5.12 (40 bytes + 24 a record; 808 with 32 records)`),
  row(16, 'HWP', 'supervisor', 8, `${V1}13.5.13`),
  row(17, 'XTILE_CFG', 'user', 64, `${V1}13.5.14`),
  row(18, 'XTILE_DATA', 'user', 8192, `${V1}13.5.14, CPUID.(1DH,1).EAX[15:0]`),
  row(19, 'APX', 'user', 128, 'Intel APX specification, PERM §1'),
]

/** Names of the components set in `mask`, in number order: `FP SSE YMM`. For traces and error messages. */
export function xfeatureNames(mask: number): string[] {
  const names: string[] = []
  for (let nr = 0; nr < 32; nr++) {
    if ((mask >>> nr) & 1) names.push(xfeatures[nr]?.name ?? `component ${nr}`)
  }
  return names
}
