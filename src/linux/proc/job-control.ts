import { type Preemptible, SLEEP } from '../preemption.ts'
import { notifyParent } from '../signal/send.ts'
import { CLD_STOPPED } from '../signal/signals.ts'
import type { Task } from '../task.ts'

/** Stops the running task until SIGCONT or SIGKILL; the last task to stop tells the parent (do_signal_stop). */
export function* stopForJobControl(task: Task): Preemptible<void> {
  const { group } = task
  task.stopPending = false
  if (group.stopSignal === 0) return
  task.state = 'stopped'
  if (group.tasks.every((each) => each.state === 'stopped')) {
    group.stopReported = false
    notifyParent(group, CLD_STOPPED, group.stopSignal)
  }
  while ((task.state as string) === 'stopped') yield SLEEP
}
