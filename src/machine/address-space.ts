import type { SecondStage } from './second-stage.ts'
import type { SoftwareTlbPool } from './software-tlb.ts'

/**
 * One set of linear-address translations and its software TLBs (user and supervisor). The page-table root is the running
 * context's CR3: a host-physical address, or a guest-physical one when `secondStage` is set.
 */
export class AddressSpace {
  readonly pool: SoftwareTlbPool
  readonly secondStage: SecondStage | null
  /** Wasm offsets of the TLBs, 0 while none is assigned: [supervisor, user]. */
  readonly tlb: Int32Array = new Int32Array(2)
  /** Entries of each, and how many translations were replaced by others since it was made or flushed (software-tlb.ts). */
  readonly tlbEntries: Int32Array = new Int32Array(2)
  readonly tlbReplaced: Int32Array = new Int32Array(2)
  /** Distinguishes jump-cache entries of this space's present contents; a new one at each flush. */
  generation: number

  constructor(pool: SoftwareTlbPool, secondStage: SecondStage | null = null) {
    this.pool = pool
    this.secondStage = secondStage
    this.generation = pool.nextGeneration()
    if (secondStage !== null) {
      const previous = secondStage.onInvalidate
      secondStage.onInvalidate = () => {
        previous()
        this.flush()
      }
    }
  }

  /** Forgets every cached translation (MOV CR3, mm changes, EPT changes). */
  flush(): void {
    this.pool.clear(this)
    this.generation = this.pool.nextGeneration()
  }

  /** Forgets the page of one linear address (INVLPG; a changed PTE). */
  flushPage(linearLo: number, linearHi: number): void {
    this.pool.clearPage(this, linearLo, linearHi)
    this.generation = this.pool.nextGeneration()
  }

  /** Gives the TLBs back; the space must not be run again. */
  release(): void {
    this.pool.release(this)
  }
}
