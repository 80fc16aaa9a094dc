import { XSAVE_LEGACY_AND_HEADER, xfeatures } from '../isa/xfeatures.ts'
import type { CpuidEntry2 } from './cpuid-list.ts'

/** One extended component of the standard (non-compacted) XSAVE format. */
export interface XsaveComponent {
  /** Bit of XSTATE_BV. */
  readonly nr: number
  /** Linux's name: `XTILE_DATA`. */
  readonly name: string
  /** Bytes from the start of the image, and their number. */
  readonly offset: number
  readonly size: number
}

/** Where extended components lie. A property of the processor: asked from CPUID, never assumed (AMD has no MPX hole). */
export class XsaveGeometry {
  readonly components: readonly XsaveComponent[]

  constructor(components: readonly XsaveComponent[]) {
    this.components = components
  }

  /** From the subleaves 2 and up of leaf 0DH; supervisor components (ECX bit 0) have no place in the standard format. */
  static fromCpuid(entries: readonly CpuidEntry2[]): XsaveGeometry {
    const components = entries
      .filter((e) => e.function === 0xd && e.index >= 2 && (e.ecx & 1) === 0 && e.eax > 0 && e.ebx >= XSAVE_LEGACY_AND_HEADER)
      .map((e) => ({ nr: e.index, name: xfeatures[e.index]?.name ?? `component ${e.index}`, offset: e.ebx, size: e.eax }))
    return new XsaveGeometry(components)
  }

  component(nr: number): XsaveComponent | undefined {
    return this.components.find((c) => c.nr === nr)
  }
}
