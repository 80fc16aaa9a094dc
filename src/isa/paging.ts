/**
 * Page-table entries and page-fault error codes. SDM Vol. 3A ch. 4. Masks of the low 32 bits of an entry; `_HI` masks belong to
 * its upper half (entry bit = 32 + bit).
 */

export const PAGE_SHIFT = 12
export const PAGE_SIZE = 4096

export const PTE_PRESENT = 1 << 0
export const PTE_RW = 1 << 1
export const PTE_USER = 1 << 2
export const PTE_PWT = 1 << 3
export const PTE_PCD = 1 << 4
export const PTE_ACCESSED = 1 << 5
export const PTE_DIRTY = 1 << 6
/** In a directory entry: maps a large page. */
export const PTE_PSE = 1 << 7
/** In a leaf entry for a 4 KiB page. */
export const PTE_PAT = 1 << 7
export const PTE_GLOBAL = 1 << 8
/** In a leaf entry for a 2 MiB, 4 MiB or 1 GiB page. */
export const PTE_PAT_LARGE = 1 << 12
/** Protection key: entry bits 62:59. */
export const PTE_PKEY_SHIFT_HI = 27
export const PTE_PKEY_MASK_HI = 0xf << 27
/** Entry bit 63. */
export const PTE_NX_HI = 0x80000000

/** Page-fault error code, names as in Linux (arch/x86/include/asm/trap_pf.h). SDM Vol. 3A §4.7. */
export const X86_PF_PROT = 1 << 0
export const X86_PF_WRITE = 1 << 1
export const X86_PF_USER = 1 << 2
export const X86_PF_RSVD = 1 << 3
export const X86_PF_INSTR = 1 << 4
export const X86_PF_PK = 1 << 5
export const X86_PF_SHSTK = 1 << 6
export const X86_PF_SGX = 1 << 15

/** PKRU: two bits a key. SDM Vol. 3A §4.6.2. */
export const PKRU_AD = 1
export const PKRU_WD = 2
/** Linux's PKRU for a new program: all keys but 0 access-disabled. PERM-50. */
export const PKRU_INIT_LINUX = 0x55555554

/** Page-table levels of each mode: bits of linear address each level takes, page sizes it can map. SDM Vol. 3A Table 4-1. */
export interface PagingMode {
  readonly name: '32-bit' | 'PAE' | '4-level' | '5-level'
  readonly levels: number
  readonly entryBytes: 4 | 8
  readonly linearBits: number
  /** Index width of each level, from the last (PT) to the first. */
  readonly indexBits: readonly number[]
}

export const pagingModes: readonly PagingMode[] = [
  { name: '32-bit', levels: 2, entryBytes: 4, linearBits: 32, indexBits: [10, 10] },
  { name: 'PAE', levels: 3, entryBytes: 8, linearBits: 32, indexBits: [9, 9, 2] },
  { name: '4-level', levels: 4, entryBytes: 8, linearBits: 48, indexBits: [9, 9, 9, 9] },
  { name: '5-level', levels: 5, entryBytes: 8, linearBits: 57, indexBits: [9, 9, 9, 9, 9] },
]

/** Memory types as PAT and MTRRs encode them. SDM Vol. 3A Table 12-10. */
export const MEMORY_TYPE = { UC: 0, WC: 1, WT: 4, WP: 5, WB: 6, UC_MINUS: 7 } as const

/** Whether the 64-bit address `hi:lo` is canonical for linear addresses of `bits` bits (48 or 57). SDM Vol. 1 §3.3.7.1. */
export function isCanonical(hi: number, bits: number): boolean {
  const shift = bits - 33
  const top = hi >> shift
  return top === 0 || top === -1
}
