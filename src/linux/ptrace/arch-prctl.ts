import { SEGMENT } from '../../machine/memory-map.ts'
import { EFAULT, EINVAL, EPERM } from '../errno.ts'
import { TASK_SIZE_MAX } from '../mm/layout.ts'
import { ARCH_SHSTK_ENABLE, ARCH_SHSTK_STATUS, shadowStackPrctl } from '../shstk/prctl.ts'
import type { Task } from '../task.ts'

/** PTRACE_ARCH_PRCTL: bases and shadow-stack locks of a stopped tracee. Values are read and stored in the tracer's memory. */
export function archPrctlOn(task: Task, target: Task, option: number, argument: number): number {
  const { context } = target
  if (option >= ARCH_SHSTK_ENABLE && option <= ARCH_SHSTK_STATUS && task.kernel.profile.cet.userShadowStack) {
    return shadowStackPrctl(task, target, option, argument | 0, Math.floor(argument / 4294967296) | 0)
  }
  switch (option) {
    case 0x1001:
    case 0x1002: {
      if (argument < 0 || argument >= TASK_SIZE_MAX) return -EPERM
      const segment = option === 0x1002 ? SEGMENT.FS : SEGMENT.GS
      context.setSegment(segment, 0, 0x10000, 0, argument | 0, Math.floor(argument / 4294967296))
      return 0
    }
    case 0x1003:
    case 0x1004: {
      const segment = option === 0x1003 ? SEGMENT.FS : SEGMENT.GS
      return task.mm.putUser64(argument, context.segmentBaseLo(segment), context.segmentBaseHi(segment)) ? 0 : -EFAULT
    }
    default:
      return -EINVAL
  }
}
