import { EFAULT, EINVAL, ENODEV, refuse } from '../errno.ts'
import { FXREGS_SIZE, getFxregs, getXstate, setFxregs, setXstate } from '../fpu/regset.ts'
import { countSide } from '../refusal.ts'
import { getShadowStackRegset, NT_X86_SHSTK, SHSTK_REGSET_SIZE, setShadowStackRegset } from '../shstk/regset.ts'
import type { Task } from '../task.ts'
import { readUserRegs, USER_REGS_SIZE, writeUserRegs } from './user-regs.ts'

const NT_PRSTATUS = 1
const NT_PRFPREG = 2
const NT_X86_XSTATE = 0x202

/** Bytes of a regset, or -errno when the task has none of this type. */
function sizeOf(target: Task, type: number): number {
  switch (type) {
    case NT_PRSTATUS:
      return USER_REGS_SIZE
    case NT_PRFPREG:
      return FXREGS_SIZE
    case NT_X86_XSTATE:
      return target.fpu.config.xsave ? target.fpu.config.userMaxSize : -ENODEV
    case NT_X86_SHSTK:
      return SHSTK_REGSET_SIZE
    default:
      return -EINVAL
  }
}

/** LUX-56, PERM-55, -56. `lengthAt`: where the length moved is stored. */
export function getRegset(task: Task, target: Task, type: number, base: number, length: number, lengthAt: number | null): number {
  const size = sizeOf(target, type)
  if (size < 0) return size
  if (length % 8 !== 0) return -EINVAL
  const count = Math.min(length, size)
  const bytes = new Uint8Array(size)
  if (type === NT_PRSTATUS) readUserRegs(target, bytes)
  else if (type === NT_PRFPREG) getFxregs(target, bytes)
  else if (type === NT_X86_SHSTK) {
    const result = getShadowStackRegset(target, bytes)
    if (result < 0) return result
  } else getXstate(target, bytes)
  if (!task.mm.copyToUser(base, bytes, 0, count)) return -EFAULT
  return lengthAt === null || task.mm.putUserLong(lengthAt, count) ? 0 : -EFAULT
}

export function setRegset(
  task: Task,
  target: Task,
  type: number,
  base: number,
  length: number,
  lengthAt: number | null = null,
): number {
  const size = sizeOf(target, type)
  if (size < 0) return size
  if (length % 8 !== 0) return -EINVAL
  const count = Math.min(length, size)
  const bytes = new Uint8Array(size)
  if (type === NT_X86_XSTATE && count !== size) {
    const sides = [countSide('given, bytes', count), countSide('NT_X86_XSTATE, bytes', size)]
    return refuse(task, EFAULT, 'PERM-56', 'the extended state is written whole or not at all', { sides })
  }
  if (type === NT_X86_SHSTK && count !== size) return setShadowStackRegset(target, bytes, count)
  if (type === NT_PRFPREG && count !== size) return -EINVAL
  if (!task.mm.copyFromUser(bytes, 0, base, count)) return -EFAULT
  const result =
    type === NT_PRSTATUS
      ? writeUserRegs(target, bytes, count)
      : type === NT_PRFPREG
        ? setFxregs(task, target, bytes)
        : type === NT_X86_SHSTK
          ? setShadowStackRegset(target, bytes, count)
          : setXstate(task, target, bytes)
  if (result < 0) return result
  return lengthAt === null || task.mm.putUserLong(lengthAt, count) ? 0 : -EFAULT
}
