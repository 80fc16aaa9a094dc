import type { Task } from '../task.ts'
import { readSsp, writeSsp } from './registers.ts'
import { ARCH_SHSTK_SHSTK, isUserAddress } from './thread.ts'

/**
 * Signals on the shadow stack (LUX-35). A handler finds its return address, the restorer, and above it the interrupted SSP with
 * bit 63 set, which no return address has.
 */

/** Pushes both words. False: the frame cannot be made, which is SIGSEGV. */
export function pushSignalFrame(task: Task, restorer: number): boolean {
  if ((task.shstk.features & ARCH_SHSTK_SHSTK) === 0) return true
  const ssp = readSsp(task)
  if (restorer === 0 || ssp === 0 || ssp % 8 !== 0) return false
  const { mm } = task
  if (!mm.putShadowStackWord(ssp - 8, ssp | 0, Math.floor(ssp / 4294967296) | 0x80000000)) return false
  if (!mm.putShadowStack(ssp - 16, restorer)) return false
  writeSsp(task, ssp - 16)
  return true
}

/** rt_sigreturn: SSP as the word at SSP says. Where it points to is not looked at. False: SIGSEGV. */
export function popSignalFrame(task: Task): boolean {
  if ((task.shstk.features & ARCH_SHSTK_SHSTK) === 0) return true
  const ssp = readSsp(task)
  const { mm, kernel } = task
  if (ssp === 0 || ssp % 8 !== 0 || !mm.getUser64(ssp)) return false
  if (mm.hi >= 0 || mm.vmas.find(ssp)?.shadowStack !== true) return false
  const saved = (mm.hi & 0x7fffffff) * 4294967296 + (mm.lo >>> 0)
  if ((mm.lo & 7) !== 0 || !isUserAddress(kernel, saved)) return false
  writeSsp(task, saved)
  return true
}
