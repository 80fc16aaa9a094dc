import { XFEATURE_CET_USER } from '../../isa/xfeatures.ts'
import { PL3_SSP, U_CET } from '../../machine/memory-map.ts'
import type { FpState } from '../fpu/fpstate.ts'
import { forgetRegisters } from '../fpu/register-owner.ts'
import { loadForUser } from '../fpu/registers.ts'
import { componentAt } from '../fpu/uabi-copy.ts'
import { withPreemptionDisabled } from '../preemption.ts'
import type { PinnedProcessor } from '../processor.ts'
import type { Task } from '../task.ts'

/**
 * IA32_PL3_SSP and IA32_U_CET of a thread. They are part of its extended state (component 11), so they lie in the registers only
 * after these were loaded; in the kernel IA32_PL3_SSP is the thread's SSP.
 */

export const CET_SHSTK_EN = 1
export const CET_WRSS_EN = 2

/** The running task's SSP; 0 when it has none. Multiples of 8 below 2^56 are exact. */
export function readSsp(task: Task): number {
  return withPreemptionDisabled(task, readWord, { task, place: PL3_SSP })
}
export function writeSsp(task: Task, ssp: number): void {
  withPreemptionDisabled(task, writeWord, { task, place: PL3_SSP, value: ssp })
}
export function readUserCet(task: Task): number {
  return withPreemptionDisabled(task, readWord, { task, place: U_CET })
}
export function writeUserCet(task: Task, value: number): void {
  withPreemptionDisabled(task, writeWord, { task, place: U_CET, value })
}

function readWord(cpu: PinnedProcessor, { task, place }: { task: Task; place: number }): number {
  const { fpu } = task
  if (fpu.needLoad) loadForUser(fpu, cpu)
  const w = (cpu.processor.registerFile + place) >> 2
  return fpu.mem.u32[w + 1] * 4294967296 + fpu.mem.u32[w]
}

function writeWord(cpu: PinnedProcessor, { task, place, value }: { task: Task; place: number; value: number }): void {
  const { fpu } = task
  if (fpu.needLoad) loadForUser(fpu, cpu)
  const w = (cpu.processor.registerFile + place) >> 2
  fpu.mem.u32[w] = value % 4294967296
  fpu.mem.u32[w + 1] = Math.floor(value / 4294967296)
}

/** Word of SSP in the saved image of a thread that does not run; 0 while the component is initial. */
function savedSspWord(task: Task, fpstate: FpState): number {
  if (((fpstate.xstateBv >>> XFEATURE_CET_USER) & 1) === 0) return 0
  return (componentAt(task.fpu.config, fpstate, XFEATURE_CET_USER) + 8) >> 2
}

/** SSP of a thread that does not run; -1 while the component is initial. */
export function readSavedSsp(task: Task): number {
  const { fpu } = task
  const w = savedSspWord(task, fpu.taskFpstate ?? fpu.fpstate)
  return w === 0 ? -1 : fpu.mem.u32[w + 1] * 4294967296 + fpu.mem.u32[w]
}

/** False while the component is initial. */
export function writeSavedSsp(task: Task, ssp: number): boolean {
  const { fpu } = task
  const w = savedSspWord(task, fpu.taskFpstate ?? fpu.fpstate)
  if (w === 0) return false
  fpu.mem.u32[w] = ssp % 4294967296
  fpu.mem.u32[w + 1] = Math.floor(ssp / 4294967296)
  forgetRegisters(fpu)
  return true
}
