import { AREA_EXTENDED, MASK_LEGACY, type XstateComponentRow } from './area.ts'

/** Where the components of an area lie in both formats, for one processor (SDM Vol. 1 §13.4.3). Masks are 32-bit numbers. */
export class AreaGeometry {
  /** Columns of CPUID leaf 0xD by component number. */
  readonly size: Int32Array = new Int32Array(32)
  readonly standardOffset: Int32Array = new Int32Array(32)
  /** Offsets of the compacted format for the mask that `layOutCompacted` was called with last. */
  readonly compactedOffset: Int32Array = new Int32Array(32)
  private readonly align64: number
  private laidOut = 0
  private end = AREA_EXTENDED

  constructor(layout: Iterable<XstateComponentRow>) {
    let align64 = 0
    for (const row of layout) {
      if (row.nr < 2) continue
      this.size[row.nr] = row.size
      this.standardOffset[row.nr] = row.offset
      if (row.align64 === true) align64 |= 1 << row.nr
    }
    this.align64 = align64
  }

  /** Offsets for an area whose XCOMP_BV is `mask` (PERM-06). They do not depend on XSTATE_BV. */
  layOutCompacted(mask: number): void {
    const components = mask & ~MASK_LEGACY
    if (components === this.laidOut) return
    let end = AREA_EXTENDED
    for (let left = components; left !== 0; left &= left - 1) {
      const nr = lowestBit(left)
      if (((this.align64 >>> nr) & 1) !== 0) end = (end + 63) & ~63
      this.compactedOffset[nr] = end
      end += this.size[nr]
    }
    this.laidOut = components
    this.end = end
  }

  compactedSize(mask: number): number {
    this.layOutCompacted(mask)
    return this.end
  }

  /** PERM-05. Not simply the end of the highest component: APX lies in the hole that MPX left. */
  standardSize(mask: number): number {
    let end = AREA_EXTENDED
    for (let left = mask & ~MASK_LEGACY; left !== 0; left &= left - 1) {
      const nr = lowestBit(left)
      end = Math.max(end, this.standardOffset[nr] + this.size[nr])
    }
    return end
  }
}

/** Number of the lowest set bit; `bits` is not 0. */
export function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits)
}
