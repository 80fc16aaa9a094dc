import { EFAULT } from '../errno.ts'
import type { PinnedProcessor } from '../processor.ts'
import type { Task } from '../task.ts'
import { bufferNotGrown, useNotPermitted } from './explain.ts'
import { FpState } from './fpstate.ts'
import { groupPermission } from './permission.ts'
import { loadForUser, updateXfd } from './registers.ts'

/** What a #NM in user mode comes to. */
export type XfdOutcome = 'unexpected' | 'retry' | 'not permitted' | 'no memory'

/** #NM in host user mode (exc_device_not_available, handle_xfd_event). PERM-36..38. */
export function handleXfdFault(cpu: PinnedProcessor, task: Task): XfdOutcome {
  const { config } = task.fpu
  const error = config.dynamicSizing ? cpu.processor.readXfdErr() : 0
  if (error === 0) return 'unexpected'
  cpu.processor.writeXfdErr(0)
  const wanted = error & config.profile.fpu.userDynamic
  if (wanted === 0) {
    cpu.kernel.log.warnOnce(`XFD: Invalid xfd error: ${error.toString(16)}`)
    return 'retry'
  }
  const record = groupPermission(task, false)
  if ((record.statePerm & wanted) !== wanted) {
    task.fault = useNotPermitted(task, wanted, record.statePerm, 'SIGILL')
    return 'not permitted'
  }
  return growHostBuffer(cpu, task, wanted, record.kernelSize, record.userSize) === 0 ? 'retry' : 'no memory'
}

/** Replaces the thread's buffer by one with `added` components (fpstate_realloc; PERM-38). 0 or -EFAULT. */
function growHostBuffer(cpu: PinnedProcessor, task: Task, added: number, kernelSize: number, userSize: number): number {
  const { fpu, kernel } = task
  const grown = FpState.allocate(kernel, kernelSize)
  if (grown === null) {
    task.fault = bufferNotGrown(added, kernelSize)
    return -EFAULT
  }
  const old = fpu.fpstate
  grown.size = kernelSize
  grown.userSize = userSize
  grown.isValloc = true
  // The layout changes with the buffer: the live state must be in the registers.
  if (fpu.needLoad) loadForUser(fpu, cpu)
  grown.xfeatures = old.xfeatures | added
  grown.userXfeatures = old.userXfeatures | added
  grown.xfd = old.xfd & ~added
  grown.initXcompBv(fpu.config)
  fpu.fpstate = grown
  updateXfd(fpu, cpu, grown)
  kernel.trace.fpu?.('fpstate_grown', task, { features: grown.xfeatures, size: grown.size, xfd: grown.xfd })
  if (old.isValloc) old.free()
  return 0
}
