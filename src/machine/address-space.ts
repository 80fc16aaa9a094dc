import {
  EFER_LMA,
  EFER_NX,
  X86_CR4_LA57,
  X86_CR4_PAE,
  X86_CR4_PKE,
  X86_CR4_PSE,
  X86_CR4_SMAP,
  X86_CR4_SMEP,
} from '../isa/control-registers.ts'
import { CTL, type ExecutionContext } from './execution-context.ts'
import type { SecondStage } from './second-stage.ts'
import type { SoftwareTlbPool } from './software-tlb.ts'

/** WP and PG. */
const CR0_PAGING = 0x80010000 | 0
const CR4_PAGING = X86_CR4_PSE | X86_CR4_PAE | X86_CR4_LA57 | X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PKE
const EFER_PAGING = EFER_LMA | EFER_NX

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

  // What the cached translations were made under.
  private cr3Lo = 0
  private cr3Hi = 0
  private paging = 0
  private pkru = 0

  /**
   * Before translations are used: forgets them when CR3, a control bit that takes part in translation, or PKRU (of the thread
   * that runs now) is not what they were made under. A processor forgets less, which no correct system can tell.
   */
  validate(ctx: ExecutionContext, pkru: number): void {
    const cr3Lo = ctx.ctlLo(CTL.CR3)
    const cr3Hi = ctx.ctlHi(CTL.CR3)
    const cr4 = ctx.ctlLo(CTL.CR4)
    // The bits of CR0, CR4 and EFER lie in different places.
    const paging = (ctx.ctlLo(CTL.CR0) & CR0_PAGING) | (cr4 & CR4_PAGING) | (ctx.ctlLo(CTL.EFER) & EFER_PAGING)
    const keys = cr4 & X86_CR4_PKE ? pkru : 0
    if (cr3Lo === this.cr3Lo && cr3Hi === this.cr3Hi && paging === this.paging && keys === this.pkru) return
    this.cr3Lo = cr3Lo
    this.cr3Hi = cr3Hi
    this.paging = paging
    this.pkru = keys
    this.flush()
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
