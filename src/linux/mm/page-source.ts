/** `PageSource.page`: the index lies beyond the object's end (SIGBUS, LUX-18). */
export const BEYOND_END = -1
/** `PageSource.page`: physical memory is exhausted. */
export const NO_MEMORY = -2

/**
 * What a file mapping takes its pages from: the page cache of a tmpfs file or memfd, a device's own pages (the vCPU's
 * kvm_run). The source holds a reference on each page it hands out; a mapping takes another.
 */
export interface PageSource {
  /**
   * Host-physical address of page `index` of the object (allocated or filled if need be), BEYOND_END or NO_MEMORY.
   * @param write the mapping is shared and about to be written
   */
  page(index: number, write: boolean): number
  /** A mapping of this object came or went: those that truncation or hole punching must reach. */
  mapped?(mapping: MappedRange): void
  unmapped?(mapping: MappedRange): void
}

/** A mapping as its object sees it. */
export interface MappedRange {
  /** Removes the translations of the object's pages [first, end) so that the next access asks the object again. */
  forget(firstPage: number, endPage: number): void
}
