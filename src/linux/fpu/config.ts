import type { CpuModel } from '../../isa/cpu-model.ts'
import {
  FCW_INIT,
  FXSAVE,
  MXCSR_INIT,
  XCOMP_BV_OFFSET,
  XFEATURE_MASK_APX,
  XFEATURE_MASK_AVX512,
  XFEATURE_MASK_BNDCSR,
  XFEATURE_MASK_BNDREGS,
  XFEATURE_MASK_CET_KERNEL,
  XFEATURE_MASK_CET_USER,
  XFEATURE_MASK_FPSSE,
  XFEATURE_MASK_LBR,
  XFEATURE_MASK_PASID,
  XFEATURE_MASK_PKRU,
  XFEATURE_MASK_SYNTHETIC,
  XFEATURE_MASK_XTILE_CFG,
  XFEATURE_MASK_XTILE_DATA,
  XFEATURE_MASK_YMM,
  XSAVE_LEGACY_AND_HEADER,
} from '../../isa/xfeatures.ts'
import { compactedSize, standardSize, type XstateComponent, type XstateLayout } from '../../isa/xstate-layout.ts'
import { PHYSICAL_BASE } from '../../machine/memory-map.ts'
import { type RestoreForm, type SaveForm, XRSTOR, XRSTORS, XSAVE, XSAVEC, XSAVEOPT, XSAVES } from '../../machine/xsave/forms.ts'
import type { KernelProfile } from '../../profiles/kernel-profile.ts'
import type { KernelHeap } from '../mm/heap.ts'

/** PKRU that a new program starts with: every key but 0 denied access (LUX-02; init_pkru_value). */
export const PKRU_DEFAULT = 0x55555554

/** Everything that boot decides about extended state (Linux's fpu_kernel_cfg, fpu_user_cfg, init_fpstate). PERM §3. */
export interface XstateConfig {
  readonly layout: XstateLayout
  /** User components from the third on, in the order in which they lie in the standard format. */
  readonly uabiOrder: readonly XstateComponent[]
  /** Feature configurations, PERM §3. */
  readonly kernelMax: number
  readonly kernelDefault: number
  readonly userMax: number
  readonly userDefault: number
  readonly guestDefault: number
  readonly supervisor: number
  readonly dynamic: number
  readonly kernelDefaultSize: number
  readonly userMaxSize: number
  readonly userDefaultSize: number
  readonly guestDefaultSize: number
  /** Restored from a buffer: everything but PKRU (PERM-41). */
  readonly restoreMask: number
  readonly userRestoreMask: number
  /** IA32_XSS of the host. */
  readonly xss: number
  /** Kernel buffers are compacted (PERM-07). */
  readonly compacted: boolean
  readonly saveForm: SaveForm
  readonly restoreForm: RestoreForm
  /** XSAVE exists and is used. */
  readonly xsave: boolean
  /** XFD of a buffer with default features; non-zero = buffers can grow (PERM-13). */
  readonly initXfd: number
  readonly dynamicSizing: boolean
  /** Valid MXCSR bits. */
  readonly mxcsrMask: number
  readonly pku: boolean
  /** Wasm offset of the init image. */
  readonly initImage: number
  /** Wasm offset of a buffer for a standard-form image of `userMaxSize` bytes, for copies that do not outlive a call. */
  readonly scratchImage: number
  /** AT_MINSIGSTKSZ (PERM-27), and the parts of the altstack checks (PERM-28, -29). */
  readonly maxFrame: number
  readonly frameExtra: number
  readonly profile: KernelProfile
  /** STRICT_SIGALTSTACK_SIZE (PERM-31). */
  readonly strictSigaltstack: boolean
}

/** Bytes of a kernel buffer with these features. */
export function kernelSize(config: XstateConfig, features: number): number {
  return config.compacted ? compactedSize(config.layout, features) : userSize(config.layout, config.profile, features)
}

/** Components whose CPU feature is missing, whatever CPUID leaf 0DH says (PERM-02). */
function gateMask(model: CpuModel): number {
  let mask = XFEATURE_MASK_FPSSE
  const add = (present: boolean, features: number) => {
    if (present) mask |= features
  }
  add(model.has('avx'), XFEATURE_MASK_YMM)
  add(model.has('mpx'), XFEATURE_MASK_BNDREGS | XFEATURE_MASK_BNDCSR)
  add(model.has('avx512f'), XFEATURE_MASK_AVX512)
  add(model.has('pku'), XFEATURE_MASK_PKRU)
  add(model.has('enqcmd'), XFEATURE_MASK_PASID)
  add(model.has('shstk'), XFEATURE_MASK_CET_USER | XFEATURE_MASK_CET_KERNEL)
  add(model.has('amx-tile'), XFEATURE_MASK_XTILE_CFG)
  add(model.has('amx-tile') && model.has('xfd'), XFEATURE_MASK_XTILE_DATA)
  add(model.has('apx'), XFEATURE_MASK_APX)
  // An invented component has no CPUID feature bit of its own.
  add(model.facts.syntheticXstate === true && model.has('xfd'), XFEATURE_MASK_SYNTHETIC)
  return mask
}

/** How the kernel was built and started, as far as extended state sees it. */
export interface XstateBootOptions {
  /** PERM-31; boot parameter `strict_sas_size`. */
  readonly strictSigaltstack?: boolean
  /** Built with IA32 emulation: room for the 32-bit frame (PERM §5). Default true. */
  readonly ia32Emulation?: boolean
}

/** Bytes of a standard-form image with these user components (PERM-05, -08). */
export function userSize(layout: XstateLayout, profile: KernelProfile, features: number): number {
  if (!profile.fpu.standardSizeOfHighestComponent) return standardSize(layout, features)
  const highest = 31 - Math.clz32(features)
  return highest < 2 ? XSAVE_LEGACY_AND_HEADER : layout.offsets[highest] + layout.sizes[highest]
}

export function xstateConfig(
  model: CpuModel,
  profile: KernelProfile,
  heap: KernelHeap,
  options: XstateBootOptions = {},
): XstateConfig {
  const questions = profile.fpu
  const layout = model.xstate
  // PERM-03; MPX and APX claim the same place in the standard form.
  const clash = questions.refusesMpxWithApx && model.has('mpx') && model.has('apx')
  const xsave = model.has('xsave') && (model.xcr0Supported & XFEATURE_MASK_FPSSE) === XFEATURE_MASK_FPSSE && !clash
  const xsaves = model.has('xsaves')
  const gates = gateMask(model)
  const userMax = xsave ? model.xcr0Supported & questions.userSupported & gates : XFEATURE_MASK_FPSSE
  const known = questions.supervisorSupported | questions.guestOnlySupervisor
  const supervisor = xsave && xsaves ? model.xssSupported & known & gates : 0
  const kernelMax = userMax | supervisor
  const dynamic = userMax & questions.userDynamic
  const kernelDefault = kernelMax & ~dynamic & ~questions.guestOnlySupervisor
  const guestDefault = kernelMax & ~dynamic
  const userDefault = userMax & ~dynamic
  const compacted = xsave && (xsaves || model.has('xsavec'))
  const sizeOf = (mask: number) => (compacted ? compactedSize(layout, mask) : userSize(layout, profile, mask))
  const userMaxSize = userSize(layout, profile, userMax)
  const ia32 = options.ia32Emulation ?? true
  const frame = ia32 ? 736 : 440
  const frameExtra = 4 + (ia32 ? 112 : 0)
  const independent =
    xsaves && model.has('arch-lbr') ? questions.independentSupervisor & model.xssSupported & XFEATURE_MASK_LBR : 0
  const { mxcsrMask } = model
  const initImage = makeInitImage(heap, sizeOf(kernelDefault), compacted ? kernelDefault : 0, compacted, mxcsrMask)
  return {
    layout,
    uabiOrder: layout.components.filter((c) => ((userMax >>> c.nr) & 1) === 1).sort((a, b) => a.offset - b.offset),
    kernelMax,
    kernelDefault,
    userMax,
    userDefault,
    guestDefault,
    supervisor,
    dynamic,
    kernelDefaultSize: sizeOf(kernelDefault),
    userMaxSize,
    userDefaultSize: userSize(layout, profile, userDefault),
    guestDefaultSize: sizeOf(guestDefault),
    restoreMask: kernelMax & ~XFEATURE_MASK_PKRU,
    userRestoreMask: userMax & ~XFEATURE_MASK_PKRU,
    xss: supervisor | independent,
    compacted,
    saveForm: xsaves ? XSAVES : model.has('xsavec') ? XSAVEC : model.has('xsaveopt') ? XSAVEOPT : XSAVE,
    restoreForm: xsaves ? XRSTORS : XRSTOR,
    xsave,
    initXfd: dynamic,
    dynamicSizing: dynamic !== 0,
    mxcsrMask,
    pku: model.has('pku') && (userMax & XFEATURE_MASK_PKRU) !== 0,
    initImage,
    scratchImage: PHYSICAL_BASE + heap.allocate(Math.max(userMaxSize, 4096)),
    maxFrame: (frame + 15 + userMaxSize + frameExtra + 63 + 15) & ~15,
    frameExtra,
    profile,
    strictSigaltstack: options.strictSigaltstack ?? false,
  }
}

/** The image that resets registers: every component initial (PERM-10, -13). */
function makeInitImage(heap: KernelHeap, size: number, features: number, compacted: boolean, mxcsrMask: number): number {
  const image = PHYSICAL_BASE + heap.allocate(Math.max(size, XSAVE_LEGACY_AND_HEADER))
  const { mem } = heap
  mem.u16[(image + FXSAVE.FCW) >>> 1] = FCW_INIT
  mem.i32[(image + FXSAVE.MXCSR) >>> 2] = MXCSR_INIT
  mem.i32[(image + FXSAVE.MXCSR_MASK) >>> 2] = mxcsrMask
  if (compacted) {
    mem.i32[(image + XCOMP_BV_OFFSET) >>> 2] = features
    mem.i32[(image + XCOMP_BV_OFFSET + 4) >>> 2] = 0x80000000 | 0
  }
  return image
}
