import { RLIMIT_CORE } from '../limits.ts'
import type { Preemptible } from '../preemption.ts'
import { exitGroup, exitTask } from '../proc/exit.ts'
import { stopForJobControl } from '../proc/job-control.ts'
import { stopForPtraceTrap, stopForSignal } from '../ptrace/stops.ts'
import type { Task } from '../task.ts'
import { SIG_DFL, SIG_IGN, type SignalAction } from './actions.ts'
import { defaultAction, SIGKILL, SIGSTOP, type SignalInfo, signalName } from './signals.ts'

export interface Delivery {
  readonly info: SignalInfo
  readonly action: SignalAction
}

/** The next signal that has a handler, after doing what the others do by default (get_signal). Null: none. May end the task. */
export function* dequeueForDelivery(task: Task): Preemptible<Delivery | null> {
  for (;;) {
    if (task.group.groupExit !== null) {
      exitGroup(task, task.group.groupExit)
      return null
    }
    if (task.replacedByExec) {
      exitTask(task, SIGKILL)
      return null
    }
    if (task.ptrace?.trapPending) {
      yield* stopForPtraceTrap(task)
      continue
    }
    if (task.stopPending) {
      yield* stopForJobControl(task)
      continue
    }
    let info = task.pending.take(task.blocked) ?? task.group.pending.take(task.blocked)
    if (info === null) return null
    if (info.signal === SIGKILL) {
      exitGroup(task, task.group.groupExit ?? SIGKILL)
      return null
    }
    if (task.ptrace !== null) {
      info = yield* stopForSignal(task, info)
      if (info === null) continue
      if (info.signal === SIGKILL || task.group.groupExit !== null) continue
    }
    const action = task.actions.get(info.signal)
    if (action.handler === SIG_IGN) continue
    if (action.handler !== SIG_DFL) return { info, action: { ...action } }
    if (yield* defaultFor(task, info)) return null
  }
}

/** What a signal without handler does. True: the task is over. */
function* defaultFor(task: Task, info: SignalInfo): Preemptible<boolean> {
  const { group } = task
  const { signal } = info
  switch (defaultAction(signal)) {
    case 'ignore':
    case 'continue':
      return false
    case 'stop':
      // Signals of terminal job control do not stop an orphaned process group; the first program's group always is one.
      if (signal !== SIGSTOP && isOrphaned(task)) return false
      group.stopSignal = signal
      for (const each of group.tasks) each.stopPending = true
      yield* stopForJobControl(task)
      return false
    case 'core': {
      const dumped = group.limits.soft[RLIMIT_CORE] > 0 && group.dumpable
      task.kernel.trace.exit?.(task, `killed by ${signalName(signal)}`)
      task.kernel.trace.death?.(task, signalName(signal), task.fault?.outcome === signalName(signal) ? task.fault : null)
      exitGroup(task, signal | (dumped ? 0x80 : 0))
      return true
    }
    default:
      task.kernel.trace.exit?.(task, `killed by ${signalName(signal)}`)
      exitGroup(task, signal)
      return true
  }
}

/** No member of the process group has a parent in another group of the same session. */
function isOrphaned(task: Task): boolean {
  const { pgid, sid } = task.group
  for (const group of task.kernel.groups.values()) {
    if (group.pgid !== pgid || group.zombie) continue
    if (group.parent !== null && group.parent.pgid !== pgid && group.parent.sid === sid) return false
  }
  return true
}
