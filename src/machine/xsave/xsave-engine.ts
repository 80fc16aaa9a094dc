import {
  FXSAVE,
  MXCSR_INIT,
  XCOMP_BV_OFFSET,
  XFEATURE_BNDREGS,
  XFEATURE_MASK_BNDREGS,
  XFEATURE_MASK_FP,
  XFEATURE_MASK_FPSSE,
  XFEATURE_MASK_SSE,
  XFEATURE_MASK_YMM,
  XSTATE_BV_OFFSET,
} from '../../isa/xfeatures.ts'
import { compactedPlacement, compactedSize, standardSize, type XstateLayout } from '../../isa/xstate-layout.ts'
import type { MachineMemory } from '../machine-memory.ts'
import { XCR0, XFD, XFD_ERR, XSS } from '../memory-map.ts'
import { INTEL_XSAVE, type XsaveBehaviour } from './behaviour.ts'
import { ExtendedRegion, NO_SUPERVISOR_STATE, type SupervisorState } from './extended-region.ts'
import {
  FAULT_GP,
  FAULT_NM,
  MODE_64,
  NO_FAULT,
  type RestoreForm,
  type SaveForm,
  XRSTORS,
  XSAVE,
  XSAVEOPT,
  XSAVES,
} from './forms.ts'
import { headerError } from './header.ts'
import { LegacyRegion, xmmCount } from './legacy-region.ts'
import { rowCopy } from './row-copy.ts'

export interface XsaveOptions {
  /** Default: INTEL_XSAVE. */
  readonly behaviour?: XsaveBehaviour
  readonly supervisor?: SupervisorState
  /** CPUID.(0xD,1):EAX[1]; without it XRSTOR of a compacted area is a #GP. */
  readonly xsavec?: boolean
}

/** Bytes of the header that a restore reads. */
const XSTATE_AND_XCOMP_BV = 16

/** The components of `XFEATURE_MASK_SSE | XFEATURE_MASK_YMM`, with either of which the standard form moves MXCSR. */
const MASK_MXCSR = XFEATURE_MASK_SSE | XFEATURE_MASK_YMM

/**
 * The XSAVE feature set of one logical processor (SDM Vol. 1 Chapter 13): moves state between its register file and an area
 * in wasm memory. The area must lie there without gaps; for guest memory that does not, the instruction layer copies the
 * pieces that `extents` names. XCR0, IA32_XSS, IA32_XFD and IA32_XFD_ERR are those of the register file. Privilege, CR4.OSXSAVE,
 * CR0.TS and alignment are the caller's to check. State components above 31 do not exist, so masks are 32-bit numbers.
 */
export class XsaveEngine {
  /** Pairs {offset, length} of the bytes of the area that the last save wrote, or that a restore will read. */
  readonly extents: Int32Array = new Int32Array(80)
  extentCount = 0
  /**
   * Bytes the last save wrote or the last restore loaded: of the legacy region 152 for x87, 8 for MXCSR and 256 for XMM, of each
   * other component its size, as far as it was moved and not merely initialized; and of the header the words XSTATE_BV and
   * XCOMP_BV, 16 (8 for XSAVE and XSAVEOPT, which do not write XCOMP_BV).
   */
  moved = 0
  /** Why the last restore faulted. */
  reason = ''

  private readonly i32: Int32Array
  private readonly word: number
  private readonly legacy: LegacyRegion
  private readonly extended: ExtendedRegion
  private readonly layout: XstateLayout
  private readonly xsavec: boolean
  private readonly inUseAssumed: boolean

  /** @param base wasm offset of the processor's register file */
  constructor(memory: MachineMemory, base: number, layout: XstateLayout, options: XsaveOptions = {}) {
    const rows = rowCopy(memory.wasm)
    const behaviour = options.behaviour ?? INTEL_XSAVE
    this.i32 = memory.i32
    this.word = base >>> 2
    this.legacy = new LegacyRegion(memory, base, rows, behaviour)
    this.extended = new ExtendedRegion(memory, base, rows, options.supervisor ?? NO_SUPERVISOR_STATE, behaviour)
    this.xsavec = options.xsavec ?? true
    this.inUseAssumed = behaviour.inUseAssumed
    this.layout = layout
  }

  private get xcr0(): number {
    return this.i32[this.word + (XCR0 >> 2)]
  }
  private get xss(): number {
    return this.i32[this.word + (XSS >> 2)]
  }
  private get xfd(): number {
    return this.i32[this.word + (XFD >> 2)]
  }

  // ---- geometry -------------------------------------------------------------------------------------------------

  /** How much of the area an instruction may touch: what to provide as room when user memory is bounced. */
  areaSize(form: SaveForm, requested: number): number {
    if (form === XSAVE || form === XSAVEOPT) return standardSize(this.layout, requested & this.xcr0)
    return compactedSize(this.layout, requested & (form === XSAVES ? this.xcr0 | this.xss : this.xcr0))
  }

  private addExtent(offset: number, length: number): void {
    this.extents[this.extentCount * 2] = offset
    this.extents[this.extentCount * 2 + 1] = length
    this.extentCount++
    this.moved += length
  }

  private addLegacyExtents(x87: boolean, xmm: boolean, mxcsr: boolean, mode: number): void {
    if (x87) {
      this.addExtent(0, FXSAVE.MXCSR)
      this.addExtent(FXSAVE.ST, FXSAVE.XMM - FXSAVE.ST)
    }
    if (mxcsr) this.addExtent(FXSAVE.MXCSR, FXSAVE.ST - FXSAVE.MXCSR)
    if (xmm) this.addExtent(FXSAVE.XMM, xmmCount(mode) * 16)
  }

  // ---- in use ---------------------------------------------------------------------------------------------------

  /**
   * XINUSE of the components of `mask`: a component is in use if it is not in its initial state, and tile data also if a tile
   * was written since. Ignores MXCSR.
   */
  inUse(mask: number, mode: number = MODE_64): number {
    if (this.inUseAssumed) return this.extended.inUse(XFEATURE_BNDREGS, mode) ? mask : mask & ~XFEATURE_MASK_BNDREGS
    let used = 0
    if ((mask & XFEATURE_MASK_FP) !== 0 && this.legacy.x87InUse()) used |= XFEATURE_MASK_FP
    if ((mask & XFEATURE_MASK_SSE) !== 0 && this.legacy.xmmInUse(mode)) used |= XFEATURE_MASK_SSE
    for (let left = mask & ~XFEATURE_MASK_FPSSE; left !== 0; left &= left - 1) {
      const nr = lowestBit(left)
      if (this.extended.inUse(nr, mode)) used |= 1 << nr
    }
    return used
  }

  /** XGETBV with ECX = 1: XCR0 AND XINUSE; bit 1 is also set while MXCSR is not at its initial value (SDM Vol. 1 §13.6). */
  xgetbv1(mode: number = MODE_64): number {
    const { xcr0 } = this
    return this.inUse(xcr0, mode) | (this.legacy.mxcsr !== MXCSR_INIT ? xcr0 & XFEATURE_MASK_SSE : 0)
  }

  // ---- save -----------------------------------------------------------------------------------------------------

  /**
   * XSAVE, XSAVEOPT, XSAVEC, XSAVES. `requested` is EAX. XSAVE and XSAVEOPT also read the 8 bytes of XSTATE_BV. Nothing
   * here can fault; `extents` tells what was written.
   */
  save(image: number, requested: number, form: SaveForm, mode: number = MODE_64): void {
    const rfbm = requested & (form === XSAVES ? this.xcr0 | this.xss : this.xcr0)
    // A component that XFD disables counts as being in its initial state (PERM-35).
    const used = this.inUse(rfbm & ~this.xfd, mode)
    this.extentCount = 0
    this.moved = 0
    if (form === XSAVE || form === XSAVEOPT) this.saveStandard(image, rfbm, used, form === XSAVEOPT ? used : rfbm, mode)
    else this.saveCompacted(image, rfbm, used, mode)
  }

  /** SDM Vol. 1 §13.7 and §13.9. `saved`: the components whose bytes are written. */
  private saveStandard(image: number, rfbm: number, used: number, saved: number, mode: number): void {
    const mxcsr = (rfbm & MASK_MXCSR) !== 0
    this.addLegacyExtents((saved & XFEATURE_MASK_FP) !== 0, (saved & XFEATURE_MASK_SSE) !== 0, mxcsr, mode)
    if ((saved & XFEATURE_MASK_FP) !== 0) this.legacy.saveX87(image, mode)
    if ((saved & XFEATURE_MASK_SSE) !== 0) this.legacy.saveXmm(image, mode)
    if (mxcsr) this.legacy.saveMxcsr(image)
    const disabled = this.xfd
    for (let left = saved & ~XFEATURE_MASK_FPSSE; left !== 0; left &= left - 1) {
      const nr = lowestBit(left)
      const offset = this.layout.offsets[nr]
      if ((disabled >>> nr) & 1) this.extended.saveInitial(nr, image + offset)
      else this.extended.save(nr, image + offset, mode)
      this.addExtent(offset, this.extended.extent(nr, this.layout.sizes[nr], mode))
    }
    const header = (image + XSTATE_BV_OFFSET) >>> 2
    this.i32[header] = (this.i32[header] & ~rfbm) | used
    this.addExtent(XSTATE_BV_OFFSET, 8)
  }

  /** SDM Vol. 1 §13.10 and §13.11, with the init optimization and without the modified optimization. */
  private saveCompacted(image: number, rfbm: number, used: number, mode: number): void {
    const saved = used | (this.legacy.mxcsr !== MXCSR_INIT ? rfbm & XFEATURE_MASK_SSE : 0)
    const sse = (saved & XFEATURE_MASK_SSE) !== 0
    const offsets = compactedPlacement(this.layout, rfbm)
    this.addLegacyExtents((saved & XFEATURE_MASK_FP) !== 0, sse, sse, mode)
    if ((saved & XFEATURE_MASK_FP) !== 0) this.legacy.saveX87(image, mode)
    if (sse) {
      this.legacy.saveXmm(image, mode)
      this.legacy.saveMxcsr(image)
    }
    for (let left = saved & ~XFEATURE_MASK_FPSSE; left !== 0; left &= left - 1) {
      const nr = lowestBit(left)
      const offset = offsets[nr]
      this.extended.save(nr, image + offset, mode)
      this.addExtent(offset, this.extended.extent(nr, this.layout.sizes[nr], mode))
    }
    const header = (image + XSTATE_BV_OFFSET) >>> 2
    this.i32[header] = saved
    this.i32[header + 1] = 0
    this.i32[header + 2] = rfbm
    this.i32[header + 3] = 0x80000000 | 0
    this.addExtent(XSTATE_BV_OFFSET, 16)
  }

  // ---- restore --------------------------------------------------------------------------------------------------

  /**
   * XRSTOR, XRSTORS. Returns NO_FAULT or the vector: #GP (then `reason` says why) or #NM (then IA32_XFD_ERR holds the
   * components). On a fault nothing else has changed. The caller follows up what depends on MXCSR and PKRU.
   */
  restore(image: number, requested: number, form: RestoreForm, mode: number = MODE_64): number {
    const { i32 } = this
    this.moved = 0
    const header = image >>> 2
    const allowed = form === XRSTORS ? this.xcr0 | this.xss : this.xcr0
    const rfbm = requested & allowed
    const error = headerError(i32, header, allowed, form, this.xsavec)
    if (error !== null) return this.generalProtection(error)
    const compacted = i32[header + (XCOMP_BV_OFFSET >> 2) + 1] < 0
    const loaded = rfbm & i32[header + (XSTATE_BV_OFFSET >> 2)]
    const offsets = compacted ? compactedPlacement(this.layout, i32[header + (XCOMP_BV_OFFSET >> 2)]) : this.layout.offsets
    const mxcsrLoaded = compacted ? (loaded & XFEATURE_MASK_SSE) !== 0 : (rfbm & MASK_MXCSR) !== 0

    if ((loaded & this.xfd) !== 0) {
      i32[this.word + (XFD_ERR >> 2)] = loaded & this.xfd
      this.reason = 'XRSTOR of a component that IA32_XFD disables'
      return FAULT_NM
    }
    if (mxcsrLoaded && this.legacy.mxcsrReserved(image)) return this.generalProtection('XRSTOR: reserved bit of MXCSR')
    for (let left = loaded & ~XFEATURE_MASK_FPSSE; left !== 0; left &= left - 1) {
      const nr = lowestBit(left)
      if (!this.extended.accepts(nr, image + offsets[nr]))
        return this.generalProtection('XRSTORS: a supervisor component holds a value its MSR refuses')
    }

    let moved = XSTATE_AND_XCOMP_BV
    this.restoreLegacy(image, rfbm, loaded, mode)
    if ((loaded & XFEATURE_MASK_FP) !== 0) moved += FXSAVE.MXCSR + FXSAVE.XMM - FXSAVE.ST
    if ((loaded & XFEATURE_MASK_SSE) !== 0) moved += xmmCount(mode) * 16
    if (mxcsrLoaded) {
      this.legacy.loadMxcsr(image)
      moved += FXSAVE.ST - FXSAVE.MXCSR
    } else if (compacted && (rfbm & XFEATURE_MASK_SSE) !== 0) this.legacy.initMxcsr()
    for (let left = rfbm & ~XFEATURE_MASK_FPSSE; left !== 0; left &= left - 1) {
      const nr = lowestBit(left)
      if ((loaded >>> nr) & 1) {
        this.extended.load(nr, image + offsets[nr], mode)
        moved += this.extended.extent(nr, this.layout.sizes[nr], mode)
      } else this.extended.init(nr, mode)
    }
    this.moved = moved
    return NO_FAULT
  }

  private restoreLegacy(image: number, rfbm: number, loaded: number, mode: number): void {
    if ((loaded & XFEATURE_MASK_FP) !== 0) this.legacy.loadX87(image, mode)
    else if ((rfbm & XFEATURE_MASK_FP) !== 0) this.legacy.initX87()
    if ((loaded & XFEATURE_MASK_SSE) !== 0) this.legacy.loadXmm(image, mode)
    else if ((rfbm & XFEATURE_MASK_SSE) !== 0) this.legacy.initXmm(mode)
  }

  private generalProtection(reason: string): number {
    this.reason = reason
    return FAULT_GP
  }

  /**
   * Which bytes of the area a restore will read besides the header, into `extents`; the header must be at its place in
   * `image` already. None if the header will be refused.
   */
  restoreExtents(image: number, requested: number, form: RestoreForm, mode: number = MODE_64): void {
    const { i32 } = this
    const header = image >>> 2
    const allowed = form === XRSTORS ? this.xcr0 | this.xss : this.xcr0
    this.extentCount = 0
    if (headerError(i32, header, allowed, form, this.xsavec) !== null) return
    const rfbm = requested & allowed
    const loaded = rfbm & i32[header + (XSTATE_BV_OFFSET >> 2)]
    const compacted = i32[header + (XCOMP_BV_OFFSET >> 2) + 1] < 0
    const sse = (loaded & XFEATURE_MASK_SSE) !== 0
    this.addLegacyExtents((loaded & XFEATURE_MASK_FP) !== 0, sse, compacted ? sse : (rfbm & MASK_MXCSR) !== 0, mode)
    if ((loaded & this.xfd) !== 0) return
    const offsets = compacted ? compactedPlacement(this.layout, i32[header + (XCOMP_BV_OFFSET >> 2)]) : this.layout.offsets
    for (let left = loaded & ~XFEATURE_MASK_FPSSE; left !== 0; left &= left - 1) {
      const nr = lowestBit(left)
      this.addExtent(offsets[nr], this.extended.extent(nr, this.layout.sizes[nr], mode))
    }
  }

  // ---- FXSAVE, FXRSTOR --------------------------------------------------------------------------------------------

  /** FXSAVE. `sse`: CR4.OSFXSR, and not AMD's fast form (EFER.FFXSR at CPL 0 in 64-bit mode). MXCSR is saved either way. */
  fxsave(image: number, mode: number = MODE_64, sse = true): void {
    this.extentCount = 0
    this.addExtent(0, sse ? FXSAVE.XMM + xmmCount(mode) * 16 : FXSAVE.XMM)
    this.legacy.saveX87(image, mode)
    this.legacy.saveMxcsr(image)
    if (sse) this.legacy.saveXmm(image, mode)
  }

  /** FXRSTOR of 512 bytes. NO_FAULT or FAULT_GP, which leaves everything as it was. */
  fxrstor(image: number, mode: number = MODE_64, sse = true): number {
    if (this.legacy.mxcsrReserved(image)) return this.generalProtection('FXRSTOR: reserved bit of MXCSR')
    this.legacy.loadX87(image, mode)
    this.legacy.loadMxcsr(image)
    if (sse) this.legacy.loadXmm(image, mode)
    return NO_FAULT
  }
}

/** Number of the lowest set bit; `bits` is not 0. */
function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits)
}
