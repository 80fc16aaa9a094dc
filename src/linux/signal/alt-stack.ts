import { REG } from '../../machine/execution-context.ts'
import { EFAULT, EINVAL, ENOMEM, EPERM, refuse } from '../errno.ts'
import { validateAltStackSize } from '../fpu/permission.ts'
import { SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, type Task } from '../task.ts'

const MINSIGSTKSZ = 2048

/** `sp` lies on the task's alternate stack, whatever its flags. */
export function liesOnAltStack(task: Task, sp: number): boolean {
  const { altStack } = task
  return sp > altStack.sp && sp - altStack.sp <= altStack.size
}

/** The task runs on its alternate stack; one that disarms itself never counts. */
export function onAltStack(task: Task, sp: number): boolean {
  if ((task.altStack.flags & SS_AUTODISARM) !== 0) return false
  return liesOnAltStack(task, sp)
}

/** SS_DISABLE, SS_ONSTACK or 0. */
export function altStackState(task: Task, sp: number): number {
  if (task.altStack.size === 0) return SS_DISABLE
  return onAltStack(task, sp) ? SS_ONSTACK : 0
}

export function userStackPointer(task: Task): number {
  return task.context.hi(REG.RSP) * 4294967296 + (task.context.lo(REG.RSP) >>> 0)
}

export function resetAltStack(task: Task): void {
  task.altStack = { sp: 0, size: 0, flags: SS_DISABLE }
}

/** sigaltstack(2): LUX-51, PERM-29. */
export function sigaltstack(task: Task, newStack: number, oldStack: number): number {
  const { mm } = task
  const sp = userStackPointer(task)
  const old = task.altStack
  const oldFlags = altStackState(task, sp) | (old.flags & SS_AUTODISARM)
  if (newStack !== 0) {
    if (!mm.getUser64(newStack)) return -EFAULT
    const wantedSp = mm.hi * 4294967296 + (mm.lo >>> 0)
    const flags = mm.getUser32(newStack + 8)
    const size = mm.getUserLong(newStack + 16)
    if (flags < 0 || Number.isNaN(size)) return -EFAULT
    const result = setAltStack(task, sp, wantedSp, flags | 0, size, MINSIGSTKSZ)
    if (result < 0) return result
  }
  if (oldStack !== 0) {
    const stored =
      mm.putUserLong(oldStack, old.sp) && mm.putUser64(oldStack + 8, oldFlags, 0) && mm.putUserLong(oldStack + 16, old.size)
    if (!stored) return -EFAULT
  }
  return 0
}

/** do_sigaltstack. Also used by rt_sigreturn, which ignores refusals. */
export function setAltStack(task: Task, currentSp: number, sp: number, flags: number, size: number, minimum: number): number {
  if (onAltStack(task, currentSp)) return refuse(task, EPERM, 'LUX-51', 'the thread runs on its alternate stack')
  const mode = flags & ~SS_AUTODISARM
  if (mode !== SS_DISABLE && mode !== SS_ONSTACK && mode !== 0) return -EINVAL
  const { altStack } = task
  if (altStack.sp === sp && altStack.size === size && altStack.flags === flags) return 0
  if (mode === SS_DISABLE) {
    task.altStack = { sp: 0, size: 0, flags }
    return 0
  }
  if (size >= 0 && size < minimum) return refuse(task, ENOMEM, 'LUX-51', `an alternate stack needs at least ${minimum} bytes`)
  const unsignedSize = size < 0 ? Number.MAX_VALUE : size
  const result = validateAltStackSize(task, unsignedSize)
  if (result < 0) return result
  task.altStack = { sp, size: unsignedSize, flags }
  return 0
}
