import type { CpuModelFacts } from '../cpu-model.ts'
import { epycGenoa, epycMilan, epycTurin } from './epyc.ts'
import { graniteRapids } from './GraniteRapids.ts'
import { epycTurinVirtual, qemuTcgMax, sapphireRapidsBochs } from './recorded.ts'
import { sapphireRapids } from './SapphireRapids.ts'
import { syntheticTwoDynamic } from './synthetic.ts'
import { cascadelakeServer, icelakeServer, skylakeServer } from './xeon-2017-2021.ts'

/** Every model, newest first within a vendor; then the recordings' machines, and last those that nobody makes. */
export const cpuModelFacts: readonly CpuModelFacts[] = [
  graniteRapids,
  sapphireRapids,
  icelakeServer,
  cascadelakeServer,
  skylakeServer,
  epycTurin,
  epycGenoa,
  epycMilan,
  sapphireRapidsBochs,
  qemuTcgMax,
  epycTurinVirtual,
  syntheticTwoDynamic,
]
