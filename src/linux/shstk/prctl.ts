import { EFAULT, EINVAL, EOPNOTSUPP, EPERM, refuse } from '../errno.ts'
import type { Task } from '../task.ts'
import { areaSize, freeArea, mapArea } from './area.ts'
import { CET_SHSTK_EN, CET_WRSS_EN, readUserCet, writeSsp, writeUserCet } from './registers.ts'
import { ARCH_SHSTK_SHSTK, ARCH_SHSTK_WRSS, hasUserShadowStacks } from './thread.ts'

export const ARCH_SHSTK_ENABLE = 0x5001
export const ARCH_SHSTK_DISABLE = 0x5002
export const ARCH_SHSTK_LOCK = 0x5003
export const ARCH_SHSTK_UNLOCK = 0x5004
export const ARCH_SHSTK_STATUS = 0x5005

/**
 * arch_prctl(ARCH_SHSTK_*) by `task` for `target`, itself or its tracee (LUX-33). UNLOCK of oneself is not refused: nothing tells
 * it from ENABLE once the locks are checked.
 */
export function shadowStackPrctl(task: Task, target: Task, option: number, lo: number, hi: number): number {
  const { shstk } = target
  if (option === ARCH_SHSTK_STATUS) {
    return task.mm.putUserLong(hi * 4294967296 + (lo >>> 0), shstk.features) ? 0 : -EFAULT
  }
  if (option === ARCH_SHSTK_LOCK) {
    shstk.lockedLo |= lo
    shstk.lockedHi |= hi
    return 0
  }
  if (target !== task) {
    if (option !== ARCH_SHSTK_UNLOCK) return -EINVAL
    shstk.lockedLo &= ~lo
    shstk.lockedHi &= ~hi
    return 0
  }
  if ((lo & shstk.lockedLo) !== 0 || (hi & shstk.lockedHi) !== 0) return refuse(task, EPERM, 'LUX-33', 'the feature is locked')
  const feature = hi === 0 ? lo : 0
  if (feature !== ARCH_SHSTK_SHSTK && feature !== ARCH_SHSTK_WRSS) {
    return refuse(task, EINVAL, 'LUX-33', 'one feature at a time: 1 (SHSTK) or 2 (WRSS)')
  }
  if (!hasUserShadowStacks(task.kernel)) {
    return refuse(task, EOPNOTSUPP, 'LUX-33', 'the processor has no shadow stacks (CPUID 7.0:ECX[7])')
  }
  const enable = option !== ARCH_SHSTK_DISABLE
  if (feature === ARCH_SHSTK_WRSS) return controlWrss(task, enable)
  return enable ? enableShadowStack(task) : disableShadowStack(task)
}

/** A new area, SSP at its end: the function that asked cannot return. */
function enableShadowStack(task: Task): number {
  const { shstk } = task
  if ((shstk.features & ARCH_SHSTK_SHSTK) !== 0) return 0
  const size = areaSize(task, 0)
  const base = mapArea(task, 0, size)
  if (base < 0) return base
  writeSsp(task, base + size)
  writeUserCet(task, CET_SHSTK_EN)
  shstk.base = base
  shstk.size = size
  shstk.features |= ARCH_SHSTK_SHSTK
  return 0
}

function disableShadowStack(task: Task): number {
  const { shstk } = task
  if ((shstk.features & ARCH_SHSTK_SHSTK) === 0) return 0
  writeUserCet(task, 0)
  writeSsp(task, 0)
  freeArea(task)
  shstk.features &= ~(ARCH_SHSTK_SHSTK | ARCH_SHSTK_WRSS)
  return 0
}

function controlWrss(task: Task, enable: boolean): number {
  const { shstk } = task
  if ((shstk.features & ARCH_SHSTK_SHSTK) === 0) return refuse(task, EPERM, 'LUX-33', 'WRSS without a shadow stack')
  if (((shstk.features & ARCH_SHSTK_WRSS) !== 0) === enable) return 0
  const cet = readUserCet(task)
  writeUserCet(task, enable ? cet | CET_WRSS_EN : cet & ~CET_WRSS_EN)
  shstk.features ^= ARCH_SHSTK_WRSS
  return 0
}
