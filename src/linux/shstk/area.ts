import { EINVAL, ENOMEM, ENOSPC, EOPNOTSUPP, EOVERFLOW, ERANGE, refuse } from '../errno.ts'
import { RLIMIT_STACK } from '../limits.ts'
import { pageAlignUp, TASK_SIZE_MAX } from '../mm/layout.ts'
import { MAP_ABOVE4G, MAP_ALIGN_LARGE, MAP_FIXED_NOREPLACE, mapKernelChosen, placeMapping, unmapRange } from '../mm/mmap.ts'
import { PROT_READ, PROT_WRITE } from '../mm/vma.ts'
import type { SyscallArguments } from '../syscalls/arguments.ts'
import type { Task } from '../task.ts'
import { ARCH_SHSTK_SHSTK, hasUserShadowStacks } from './thread.ts'

/** Memory of shadow stacks: LUX-33, -34. */

const SHADOW_STACK_SET_TOKEN = 1
const GIB_4 = 0x100000000
const PAGE = 4096

/** Maps an area above 4 GiB with a page free below it, so that SSP cannot run from one area into the next. */
export function mapArea(task: Task, address: number, size: number): number {
  if (size === 0) return -EINVAL
  if (size > TASK_SIZE_MAX) return -ENOMEM
  // Private writable memory counts: more than the whole machine has is refused (vm.overcommit_memory = 0).
  if (size > task.kernel.pages.total * PAGE) return -ENOMEM
  const { mm } = task
  const align = task.kernel.profile.userAbi.alignsLargeMappings ? MAP_ALIGN_LARGE : 0
  const flags = MAP_ABOVE4G | align | (address !== 0 ? MAP_FIXED_NOREPLACE : 0)
  const start = placeMapping(mm, address, size, flags, PAGE)
  if (start < 0) return start
  const result = mapKernelChosen(task, { start, end: start + size, prot: PROT_READ | PROT_WRITE, shadowStack: true })
  return result < 0 ? result : start
}

/** Bytes of the area for a thread: what clone3 was given for its stack, else RLIMIT_STACK up to 4 GiB. */
export function areaSize(task: Task, stackSize: number): number {
  return pageAlignUp(stackSize !== 0 ? stackSize : Math.min(task.group.limits.soft[RLIMIT_STACK], GIB_4))
}

/** The thread ends, executes a program or turns shadow stacks off: the area that was made for it goes. */
export function freeArea(task: Task): void {
  const { shstk, mm } = task
  if ((shstk.features & ARCH_SHSTK_SHSTK) === 0 || shstk.base === 0) return
  unmapRange(mm, shstk.base, shstk.base + shstk.size)
  shstk.base = shstk.size = 0
}

/** map_shadow_stack(addr, size, flags). */
export function mapShadowStack(task: Task, a: SyscallArguments): number {
  if (!task.kernel.profile.cet.userShadowStack) {
    task.kernel.syscalls.note('map_shadow_stack')
    return -38
  }
  if (!hasUserShadowStacks(task.kernel)) {
    return refuse(task, EOPNOTSUPP, 'LUX-34', 'the processor has no shadow stacks (CPUID 7.0:ECX[7])')
  }
  const flags = a.u32(2)
  const setToken = (flags & SHADOW_STACK_SET_TOKEN) !== 0
  if ((flags & ~SHADOW_STACK_SET_TOKEN) !== 0) return -EINVAL
  const size = a.long(1)
  const address = a.long(0)
  if (setToken && size >= 0 && size < 8) return refuse(task, ENOSPC, 'LUX-34', 'no room for the token')
  if (address > 0 && address < GIB_4) return refuse(task, ERANGE, 'LUX-34', 'shadow stacks lie above 4 GiB')
  if (size < 0) return size >= -PAGE + 1 ? -EOVERFLOW : -ENOMEM
  const start = mapArea(task, address, pageAlignUp(size))
  if (start < 0 || !setToken) return start
  if (putRestoreToken(task, start + size)) return start
  unmapRange(task.mm, start, start + pageAlignUp(size))
  return refuse(task, EINVAL, 'LUX-34', 'the token would not be aligned to 8 bytes')
}

/** The word below `ssp` that RSTORSSP accepts: `ssp` itself with bit 0 for 64-bit mode. */
function putRestoreToken(task: Task, ssp: number): boolean {
  if (ssp % 8 !== 0) return false
  return task.mm.putShadowStack(ssp - 8, ssp + 1)
}
