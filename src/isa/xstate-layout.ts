import { XSAVE_LEGACY_AND_HEADER, xfeatures } from './xfeatures.ts'

/**
 * Geometry of the XSAVE area: a property of the CPU model, never of the architecture. Intel keeps a hole where MPX was, so
 * OPMASK is at 1088 there and at 832 on AMD. Everything that needs a size or an offset asks here. Rules PERM-04..08.
 */

/** What CPUID.(EAX=0DH,ECX=nr) says of one component, nr >= 2. */
export interface XstateRow {
  readonly nr: number
  /** Bytes: EAX. */
  readonly size: number
  /** Bytes from the start of the area in the standard format: EBX. Absent for supervisor components (EBX = 0). */
  readonly offset?: number
  /** ECX bit 1: starts on a 64-byte boundary in the compacted format. */
  readonly align64?: boolean
  /** ECX bit 2: IA32_XFD can disable it. */
  readonly xfd?: boolean
  /** ECX bit 0: managed by IA32_XSS instead of XCR0. */
  readonly supervisor?: boolean
}

export interface XstateComponent {
  readonly nr: number
  readonly name: string
  readonly size: number
  /** 0 for supervisor components: they have no place in the standard format. */
  readonly offset: number
  readonly align64: boolean
  readonly xfd: boolean
  readonly supervisor: boolean
}

export interface XstateLayout {
  /** Extended components (nr >= 2) in number order. */
  readonly components: readonly XstateComponent[]
  /** Indexed by component number; undefined where the CPU has none. */
  readonly byNr: readonly (XstateComponent | undefined)[]
  /** Components XCR0 can hold, FP and SSE included. */
  readonly userMask: number
  /** Components IA32_XSS can hold. */
  readonly supervisorMask: number
  /** Components IA32_XFD can disable. */
  readonly xfdMask: number
  /** Indexed by component number, 32 entries, 0 where there is none: for code that must not chase objects. */
  readonly sizes: Uint32Array
  readonly offsets: Uint32Array
  readonly align64Mask: number
  /** Remembered compacted placements by XCOMP_BV: at most one per distinct mask ever used. */
  readonly placements: Map<number, Int32Array>
}

export function xstateLayout(rows: readonly XstateRow[]): XstateLayout {
  const components = [...rows]
    .sort((a, b) => a.nr - b.nr)
    .map(
      (r): XstateComponent => ({
        nr: r.nr,
        name: xfeatures[r.nr]?.name ?? `component ${r.nr}`,
        size: r.size,
        offset: r.offset ?? 0,
        align64: r.align64 ?? false,
        xfd: r.xfd ?? false,
        supervisor: r.supervisor ?? false,
      }),
    )
  const byNr: (XstateComponent | undefined)[] = new Array(32).fill(undefined)
  const sizes = new Uint32Array(32)
  const offsets = new Uint32Array(32)
  let userMask = 3
  let supervisorMask = 0
  let xfdMask = 0
  let align64Mask = 0
  for (const c of components) {
    const bit = (1 << c.nr) >>> 0
    byNr[c.nr] = c
    sizes[c.nr] = c.size
    offsets[c.nr] = c.offset
    if (c.supervisor) supervisorMask = (supervisorMask | bit) >>> 0
    else userMask = (userMask | bit) >>> 0
    if (c.xfd) xfdMask = (xfdMask | bit) >>> 0
    if (c.align64) align64Mask = (align64Mask | bit) >>> 0
  }
  return { components, byNr, userMask, supervisorMask, xfdMask, sizes, offsets, align64Mask, placements: new Map() }
}

/**
 * Size in bytes of a standard-format area that can hold `xcr0`: CPUID.(0DH,0).EBX for that XCR0. At least 576; supervisor
 * components add nothing. The maximum over all components, not the last one's end: APX (19) lies below PKRU. PERM-05, -08.
 */
export function standardSize(layout: XstateLayout, xcr0: number): number {
  let end = XSAVE_LEGACY_AND_HEADER
  for (const c of layout.components) {
    if (c.supervisor || ((xcr0 >>> c.nr) & 1) === 0) continue
    if (c.offset + c.size > end) end = c.offset + c.size
  }
  return end
}

/**
 * Where each component of a compacted image lies: byte offset by component number, -1 where absent; entry 32 is the size of
 * the whole image. Depends on XCOMP_BV only, never on XSTATE_BV. PERM-06; SDM Vol. 1 §13.4.3. Do not write to the result.
 *
 * @param xcompBv bits 31:0 of XCOMP_BV; bit 63 is not part of it.
 */
export function compactedPlacement(layout: XstateLayout, xcompBv: number): Int32Array {
  const key = xcompBv & (layout.userMask | layout.supervisorMask)
  const known = layout.placements.get(key)
  if (known !== undefined) return known
  const placement = new Int32Array(33).fill(-1)
  let end = XSAVE_LEGACY_AND_HEADER
  for (const c of layout.components) {
    if (((xcompBv >>> c.nr) & 1) === 0) continue
    if (c.align64) end = (end + 63) & ~63
    placement[c.nr] = end
    end += c.size
  }
  placement[32] = end
  layout.placements.set(key, placement)
  return placement
}

/** Size in bytes of a compacted image holding `xcompBv`; 576 if it has only bits 0 and 1. PERM-06. */
export function compactedSize(layout: XstateLayout, xcompBv: number): number {
  return compactedPlacement(layout, xcompBv)[32]
}

/** Byte offset of component `nr` in a compacted image with `xcompBv`; -1 if it is not in it. PERM-06. */
export function compactedOffset(layout: XstateLayout, xcompBv: number, nr: number): number {
  return compactedPlacement(layout, xcompBv)[nr]
}
