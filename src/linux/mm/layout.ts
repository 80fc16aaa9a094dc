/** The user half of the linear address space with 4-level paging (LUX-16; Documentation/arch/x86/x86_64/mm.rst). */
export const TASK_SIZE_MAX = 0x7ffffffff000
/** Top of the stack mapping. Nothing is randomized: one run is one history. */
export const STACK_TOP = TASK_SIZE_MAX
/** mmap places mappings downwards from here: below the stack and its room to grow (arch/x86/mm/mmap.c, smallest gap 128 MiB). */
export const MMAP_BASE = STACK_TOP - 0x8000000
/** Where a position-independent program is put: two thirds of the address space, as the kernel does. */
export const ELF_ET_DYN_BASE = 0x555555554000
/** Lowest address mmap gives out or MAP_FIXED accepts (vm.mmap_min_addr). */
export const MMAP_MIN_ADDR = 0x10000
/** Between the stack's lower end and the mapping below it (stack_guard_gap, 256 pages). */
export const STACK_GUARD_GAP = 0x100000
export const PAGE_MASK = 0xfff

/** Rounds up to a page; exact for addresses below 2^53. */
export function pageAlignUp(address: number): number {
  return Math.ceil(address / 4096) * 4096
}
export function pageAlignDown(address: number): number {
  return Math.floor(address / 4096) * 4096
}
