import { EFAULT, EINVAL, ENODEV } from '../errno.ts'
import type { Task } from '../task.ts'
import { readSavedSsp, writeSavedSsp } from './registers.ts'
import { ARCH_SHSTK_SHSTK, hasUserShadowStacks, isUserAddress } from './thread.ts'

/** NT_X86_SHSTK: SSP of a stopped thread (ssp_get, ssp_set). */

export const NT_X86_SHSTK = 0x204
export const SHSTK_REGSET_SIZE = 8

export function getShadowStackRegset(target: Task, into: Uint8Array): number {
  if (!hasUserShadowStacks(target.kernel)) return -ENODEV
  const ssp = readSavedSsp(target)
  if (ssp < 0) return -ENODEV
  new DataView(into.buffer).setBigUint64(0, BigInt(ssp), true)
  return 0
}

/** @param count bytes given */
export function setShadowStackRegset(target: Task, from: Uint8Array, count: number): number {
  if (!hasUserShadowStacks(target.kernel) || (target.shstk.features & ARCH_SHSTK_SHSTK) === 0) return -ENODEV
  if (count !== SHSTK_REGSET_SIZE) return -EINVAL
  const view = new DataView(from.buffer)
  const ssp = view.getInt32(4, true) * 4294967296 + view.getUint32(0, true)
  if ((from[0] & 7) !== 0 || !isUserAddress(target.kernel, ssp)) return -EINVAL
  return writeSavedSsp(target, ssp) ? 0 : -EFAULT
}
