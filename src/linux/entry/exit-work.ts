import { REG } from '../../machine/execution-context.ts'
import { EINTR, ERESTART_RESTARTBLOCK, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS } from '../errno.ts'
import type { Preemptible } from '../preemption.ts'
import { updateRseq } from '../sched/rseq.ts'
import { SA_RESTART, type SignalAction } from '../signal/actions.ts'
import { dequeueForDelivery } from '../signal/deliver.ts'
import { deliverToHandler } from '../signal/handler.ts'
import { NR_restart_syscall } from '../syscalls/numbers.ts'
import type { Task } from '../task.ts'

/** Something must happen before this task runs in user mode. */
export function hasExitWork(task: Task): boolean {
  return task.signalPending() || task.restartCheck || task.rseqStale || task.savedBlocked !== null
}

/** Delivers signals, settles restarts, refreshes rseq: exit_to_user_mode_loop. May stop, may end the task. */
export function* exitWork(task: Task): Preemptible<number> {
  while (hasExitWork(task)) {
    if (task.signalPending() || task.restartCheck || task.savedBlocked !== null) {
      const delivery = yield* dequeueForDelivery(task)
      if (task.state === 'dead') return 0
      if (delivery !== null) {
        interruptCall(task, delivery.action)
        deliverToHandler(task, delivery.info, delivery.action)
      } else {
        restartCall(task)
        if (task.savedBlocked !== null) {
          task.blocked.copy(task.savedBlocked)
          task.savedBlocked = null
        }
      }
      task.restartCheck = false
    }
    if (task.rseqStale) updateRseq(task)
  }
  return 0
}

function pendingRestart(task: Task): number {
  if (task.origRax === -1 || task.context.hi(REG.RAX) !== -1) return 0
  return -task.context.lo(REG.RAX)
}

/** A handler will run: what the interrupted call returns, or that it starts again (LUX-13). */
function interruptCall(task: Task, action: SignalAction): void {
  switch (pendingRestart(task)) {
    case ERESTART_RESTARTBLOCK:
    case ERESTARTNOHAND:
      task.context.set(REG.RAX, -EINTR, -1)
      break
    case ERESTARTSYS:
      if ((action.flags & SA_RESTART) === 0) task.context.set(REG.RAX, -EINTR, -1)
      else repeat(task, task.origRax)
      break
    case ERESTARTNOINTR:
      repeat(task, task.origRax)
      break
  }
  task.forgetSyscall()
}

/** No handler: the call starts again, or goes on as restart_syscall. */
function restartCall(task: Task): void {
  switch (pendingRestart(task)) {
    case ERESTARTNOHAND:
    case ERESTARTSYS:
    case ERESTARTNOINTR:
      repeat(task, task.origRax)
      break
    case ERESTART_RESTARTBLOCK:
      repeat(task, NR_restart_syscall)
      break
  }
  task.forgetSyscall()
}

/** The two bytes of SYSCALL (or INT 0x80) run again with this number. */
function repeat(task: Task, nr: number): void {
  const { context } = task
  context.set(REG.RAX, nr, 0)
  const lo = context.ripLo
  context.setRip((lo - 2) | 0, lo >>> 0 < 2 ? context.ripHi - 1 : context.ripHi)
}
