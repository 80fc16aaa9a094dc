import type { FeatureName } from './cpuid-features.ts'
import {
  XFEATURE_MASK_APX,
  XFEATURE_MASK_AVX512,
  XFEATURE_MASK_BNDCSR,
  XFEATURE_MASK_BNDREGS,
  XFEATURE_MASK_CET,
  XFEATURE_MASK_LBR,
  XFEATURE_MASK_PASID,
  XFEATURE_MASK_PKRU,
  XFEATURE_MASK_PT,
  XFEATURE_MASK_UINTR,
  XFEATURE_MASK_XTILE,
  XFEATURE_MASK_YMM,
} from './xfeatures.ts'

/**
 * Which CPUID feature brings which state components to a chip (SDM Vol. 1 §13.5; PERM §1 "CPU gate"; for 2..9, 15, 17, 18
 * also QEMU's table of save areas). A component with several gates exists while any of them does. HDC (13) and HWP (16) are not
 * here: chips have those features without the components.
 */
export const xstateGates: readonly { readonly features: readonly FeatureName[]; readonly components: number }[] = [
  { features: ['avx'], components: XFEATURE_MASK_YMM },
  { features: ['mpx'], components: XFEATURE_MASK_BNDREGS | XFEATURE_MASK_BNDCSR },
  { features: ['avx512f'], components: XFEATURE_MASK_AVX512 },
  { features: ['intel-pt'], components: XFEATURE_MASK_PT },
  { features: ['pku'], components: XFEATURE_MASK_PKRU },
  { features: ['enqcmd'], components: XFEATURE_MASK_PASID },
  { features: ['shstk', 'ibt'], components: XFEATURE_MASK_CET },
  { features: ['uintr'], components: XFEATURE_MASK_UINTR },
  { features: ['arch-lbr'], components: XFEATURE_MASK_LBR },
  { features: ['amx-tile'], components: XFEATURE_MASK_XTILE },
  { features: ['apx'], components: XFEATURE_MASK_APX },
]

/** Components (FP and SSE apart) that a chip with exactly these features has. */
export function gatedComponents(has: (feature: FeatureName) => boolean): number {
  if (!has('xsave')) return 0
  let mask = 0
  for (const gate of xstateGates) if (gate.features.some(has)) mask |= gate.components
  return mask >>> 0
}
