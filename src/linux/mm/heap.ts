import type { MachineMemory } from '../../machine/machine-memory.ts'
import { PAGE_SIZE, type PageAllocator } from './page-allocator.ts'

/** Kernel memory for buffers that hardware touches (extended state): physically contiguous, zeroed, page aligned. */
export class KernelHeap {
  readonly mem: MachineMemory
  private readonly pages: PageAllocator
  private readonly sizes = new Map<number, number>()
  /** Bytes asked for and not freed. */
  bytesInUse = 0

  constructor(mem: MachineMemory, pages: PageAllocator) {
    this.mem = mem
    this.pages = pages
  }

  /** Host-physical address of `bytes` zeroed bytes; 0 when memory is exhausted. */
  allocate(bytes: number): number {
    const hpa = this.pages.allocateContiguous(Math.ceil(bytes / PAGE_SIZE))
    if (hpa === 0) return 0
    this.sizes.set(hpa, bytes)
    this.bytesInUse += bytes
    return hpa
  }

  free(hpa: number): void {
    const bytes = this.sizes.get(hpa)
    if (bytes === undefined) throw new Error(`kernel memory ${hpa.toString(16)} is not allocated`)
    this.sizes.delete(hpa)
    this.bytesInUse -= bytes
    this.pages.releaseContiguous(hpa, Math.ceil(bytes / PAGE_SIZE))
  }
}
