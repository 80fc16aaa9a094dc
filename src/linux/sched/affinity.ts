import { PREEMPTION_POINT, type Preemptible } from '../preemption.ts'
import type { HostCpu } from '../processor.ts'
import type { Task } from '../task.ts'

/** Whether `task` may be on `cpu`: it is in its mask, and online. */
export const mayRunOn = ({ affinity, kernel }: Task, { id }: HostCpu): boolean =>
  (((affinity & kernel.onlineMask) >>> id) & 1) !== 0

/**
 * A task that is to run, and all of whose processors are offline, may run on any from now on, also when they come back; the log says
 * so. Linux 6.12 kernel/sched/core.c select_fallback_rq().
 */
export function widenIfStranded(task: Task): void {
  const { kernel } = task
  if ((task.affinity & kernel.onlineMask) !== 0) return
  task.affinity = (1 << kernel.cpus.length) - 1
  kernel.log.rateLimited('printk', `process ${task.tid} (${task.comm}) no longer affine to cpu${task.cpuId}`)
}

/** The caller is on a processor where it may be when this returns. */
export function* moveAway(task: Task): Preemptible<number> {
  while (!mayRunOn(task, task.cpu!)) {
    task.cpu!.needResched = true
    yield PREEMPTION_POINT
  }
  return 0
}
