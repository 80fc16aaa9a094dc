import type { CpuModelFacts } from '../cpu-model.ts'
import { withDependents } from '../feature-dependencies.ts'
import { sapphireRapids } from './SapphireRapids.ts'

/**
 * Processors that nobody makes. A rule about components to come can only be shown with one; their names begin with `Synthetic-`.
 */

const LEFT_OUT = withDependents(new Set(['avx512f', 'enqcmd', 'arch-lbr']))

/**
 * FP, SSE, YMM, PKRU, CET_U, and two dynamic components without alignment: 18, which Sapphire Rapids has, and the invented 20 of
 * 256 bytes, which no instruction touches but XSAVE and XRSTOR. Worked example "Bug demo" of PERM-60: the sizes are the rule's.
 */
export const syntheticTwoDynamic: CpuModelFacts = {
  ...sapphireRapids,
  name: 'Synthetic-TwoDynamic',
  brand: 'Synthetic processor, two dynamic components',
  adjustments: [
    ...sapphireRapids.adjustments,
    { off: [...LEFT_OUT], source: 'synthetic: few components make sizes easy to follow' },
  ],
  xstate: [
    { nr: 2, size: 256, offset: 576 },
    { nr: 9, size: 8, offset: 2688 },
    { nr: 11, size: 16, supervisor: true },
    { nr: 18, size: 8192, offset: 2816, xfd: true },
    { nr: 20, size: 256, offset: 11008, xfd: true },
  ],
  xstateSource: 'synthetic: PERM §13 "Bug demo"',
  syntheticXstate: true,
  source: 'synthetic, no CPUID dump: Sapphire Rapids with fewer components and an invented one (PERM §13)',
  hasRealDump: false,
  omissions: [],
}
