import { MSR_IA32_PL0_SSP, MSR_IA32_PL1_SSP, MSR_IA32_PL2_SSP, MSR_IA32_PL3_SSP, MSR_IA32_U_CET } from '../isa/msr-index.ts'
import { cetMsrFault } from './cet.ts'
import { PL0_SSP, PL3_SSP, U_CET } from './memory-map.ts'
import type { Processor } from './processor.ts'
import type { SupervisorState } from './xsave/extended-region.ts'

/** MSRs of each supervisor component, in the order of its 64-bit fields (SDM Vol. 1, 13.5.6..13.5.8). */
const COMPONENT_MSRS: Readonly<Record<number, readonly number[]>> = {
  10: [0xd93], // IA32_PASID
}
/** Register-file places of CET_U (IA32_U_CET, IA32_PL3_SSP) and CET_S (IA32_PL0..2_SSP). */
const COMPONENT_WORDS: Readonly<Record<number, readonly number[]>> = {
  11: [U_CET, PL3_SSP],
  12: [PL0_SSP, PL0_SSP + 8, PL0_SSP + 16],
}
const MSR_OF_PLACE: Readonly<Record<number, number>> = {
  [U_CET]: MSR_IA32_U_CET,
  [PL0_SSP]: MSR_IA32_PL0_SSP,
  [PL0_SSP + 8]: MSR_IA32_PL1_SSP,
  [PL0_SSP + 16]: MSR_IA32_PL2_SSP,
  [PL3_SSP]: MSR_IA32_PL3_SSP,
}

/** Supervisor state components of a processor, kept in its MSRs. */
export function processorSupervisorState(processor: Processor): SupervisorState {
  const view = processor.machine.mem
  const { i32 } = view
  const at = (place: number) => processor.registerFile + place
  const wordsOf = (nr: number) => COMPONENT_WORDS[nr] ?? []
  const msrsOf = (nr: number) => COMPONENT_MSRS[nr] ?? []
  const readMsr = (index: number) => processor.msrs.get(index) ?? 0n
  return {
    isInit: (nr) =>
      wordsOf(nr).every((place) => (i32[at(place) >> 2] | i32[(at(place) >> 2) + 1]) === 0) &&
      msrsOf(nr).every((index) => readMsr(index) === 0n),
    read: (nr, destination) => {
      for (const [i, place] of wordsOf(nr).entries()) view.u8.copyWithin(destination + i * 8, at(place), at(place) + 8)
      for (const [i, index] of msrsOf(nr).entries()) view.setU64At(destination + i * 8, readMsr(index))
    },
    accepts: (nr, source) =>
      wordsOf(nr).every((place, i) => {
        const w = (source >> 2) + i * 2
        return cetMsrFault(processor.machine.model, MSR_OF_PLACE[place], i32[w], i32[w + 1]) === null
      }),
    write: (nr, source) => {
      for (const [i, place] of wordsOf(nr).entries()) view.u8.copyWithin(at(place), source + i * 8, source + i * 8 + 8)
      for (const [i, index] of msrsOf(nr).entries()) processor.msrs.set(index, view.u64At(source + i * 8))
    },
    init: (nr) => {
      for (const place of wordsOf(nr)) i32[at(place) >> 2] = i32[(at(place) >> 2) + 1] = 0
      for (const index of msrsOf(nr)) processor.msrs.set(index, 0n)
    },
  }
}
