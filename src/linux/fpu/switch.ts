import { XFEATURE_MASK_XTILE } from '../../isa/xfeatures.ts'
import type { PinnedProcessor } from '../processor.ts'
import type { Task } from '../task.ts'
import { disownRegisters, noteLeft, noteNeedLoad } from './register-owner.ts'
import { saveRegisters } from './registers.ts'

/** Context switch of extended state. PERM-40..44. */

/** `task` leaves `cpu`: its registers go to the active buffer if they are loaded; PKRU is kept aside. */
export function switchOut(task: Task, cpu: PinnedProcessor): void {
  const { fpu } = task
  if (!fpu.needLoad) {
    saveRegisters(fpu, cpu)
    noteLeft(fpu, cpu)
  }
  if (fpu.config.pku) fpu.pkru = cpu.processor.pkru
}

/**
 * `task` comes to `cpu`: registers are loaded on the way to user mode; PKRU at once, the kernel itself obeys it, but only if it
 * differs (x86_pkru_load).
 */
export function switchIn(task: Task, cpu: PinnedProcessor): void {
  const { fpu } = task
  noteNeedLoad(fpu, cpu)
  if (fpu.config.pku && cpu.processor.pkru !== fpu.pkru) cpu.processor.setPkru(fpu.pkru)
}

/** The processor goes idle: TILERELEASE if a tile component is in use, and nobody owns the registers (PERM-44). */
export function releaseForIdle(cpu: PinnedProcessor): void {
  const { xstate } = cpu.kernel
  const tiles = xstate.kernelMax & XFEATURE_MASK_XTILE
  if (tiles === 0 || cpu.processor.xsaveEngine.inUse(tiles) === 0) return
  // TILERELEASE: both tile components become initial.
  cpu.processor.xrstor(xstate.restoreForm, xstate.initImage, tiles)
  disownRegisters(cpu)
}
