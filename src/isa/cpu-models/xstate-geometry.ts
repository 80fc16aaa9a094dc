import type { XstateRow } from '../xstate-layout.ts'

/**
 * Where each vendor puts the XSAVE components it has. Bytes; offsets are standard-format, from the start of the area
 * (SDM Vol. 1 §13.4.3). Geometry belongs to the chip: AMD parts have no MPX hole. A model takes the rows its features bring.
 */

/**
 * Intel. 2..7, 9, 11, 12, 17, 18: read on Cascade Lake, Ice Lake, Sapphire Rapids and Granite Rapids servers (CPUID.0DH through
 * KVM, Linux 6.1 and 6.18). 8, 14, 15: read on an Arrow Lake part (15: 32 records of 24 bytes after 5 registers).
 * 10: SDM Vol. 1 §13.5.8; PERM §1.
 */
export const intelXstate: readonly XstateRow[] = [
  { nr: 2, size: 256, offset: 576 },
  { nr: 3, size: 64, offset: 960 },
  { nr: 4, size: 64, offset: 1024 },
  { nr: 5, size: 64, offset: 1088 },
  { nr: 6, size: 512, offset: 1152 },
  { nr: 7, size: 1024, offset: 1664 },
  { nr: 8, size: 128, supervisor: true },
  { nr: 9, size: 8, offset: 2688 },
  { nr: 10, size: 8, supervisor: true },
  { nr: 11, size: 16, supervisor: true },
  { nr: 12, size: 24, supervisor: true },
  { nr: 14, size: 48, supervisor: true },
  { nr: 15, size: 808, supervisor: true },
  { nr: 17, size: 64, offset: 2752, align64: true },
  { nr: 18, size: 8192, offset: 2816, align64: true, xfd: true },
  // Intel APX specification, PERM §1: the slot MPX had. No chip has both.
  { nr: 19, size: 128, offset: 960 },
]

/** AMD. Read on Zen 3, Zen 4 (EPYC-Milan, EPYC-Genoa through KVM) and Zen 5 (virtual machine). */
export const amdXstate: readonly XstateRow[] = [
  { nr: 2, size: 256, offset: 576 },
  { nr: 5, size: 64, offset: 832 },
  { nr: 6, size: 512, offset: 896 },
  { nr: 7, size: 1024, offset: 1408 },
  { nr: 9, size: 8, offset: 2432 },
  { nr: 11, size: 16, supervisor: true },
  { nr: 12, size: 24, supervisor: true },
]
