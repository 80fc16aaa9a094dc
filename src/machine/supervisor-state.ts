import type { Processor } from './processor.ts'
import type { SupervisorState } from './xsave/extended-region.ts'

/** MSRs of each supervisor component, in the order of its 64-bit fields (SDM Vol. 1, 13.5.6..13.5.8). */
const COMPONENT_MSRS: Readonly<Record<number, readonly number[]>> = {
  10: [0xd93], // IA32_PASID
  11: [0x6a0, 0x6a7], // IA32_U_CET, IA32_PL3_SSP
  12: [0x6a4, 0x6a5, 0x6a6], // IA32_PL0..2_SSP
}

/** Supervisor state components of a processor, kept in its MSRs. */
export function processorSupervisorState(processor: Processor): SupervisorState {
  const view = processor.machine.mem
  const msrsOf = (nr: number) => COMPONENT_MSRS[nr] ?? []
  const read = (index: number) => processor.msrs.get(index) ?? 0n
  return {
    isInit: (nr) => msrsOf(nr).every((index) => read(index) === 0n),
    read: (nr, destination) => {
      for (const [i, index] of msrsOf(nr).entries()) view.setU64At(destination + i * 8, read(index))
    },
    accepts: () => true,
    write: (nr, source) => {
      for (const [i, index] of msrsOf(nr).entries()) processor.msrs.set(index, view.u64At(source + i * 8))
    },
    init: (nr) => {
      for (const index of msrsOf(nr)) processor.msrs.set(index, 0n)
    },
  }
}
