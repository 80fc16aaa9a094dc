import type { Refusal } from '../refusal.ts'
import type { Task } from '../task.ts'
import type { ThreadGroup } from '../thread-group.ts'
import { SA_NOCLDSTOP, SA_NOCLDWAIT, SIG_DFL, SIG_IGN } from './actions.ts'
import { SignalSet } from './signal-set.ts'
import { defaultAction, SIGCHLD, SIGCONT, SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, type SignalInfo } from './signals.ts'

/** Sending signals. Linux's kernel/signal.c: send_signal_locked, prepare_signal, complete_signal, force_sig_info. */

const STOP_SIGNALS = SignalSet.of(SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU)
const CONT_SIGNAL = SignalSet.of(SIGCONT)

function isIgnored(task: Task, signal: number): boolean {
  // A traced task's tracer sees every signal but SIGKILL.
  if (task.ptrace !== null && signal !== SIGKILL) return false
  if (task.blocked.has(signal)) return false
  const { handler } = task.actions.get(signal)
  return handler === SIG_IGN || (handler === SIG_DFL && defaultAction(signal) === 'ignore')
}

/** To one task. */
export function sendSignal(task: Task, info: SignalInfo): void {
  if (task.state === 'dead' || !prepare(task.group, task, info.signal)) return
  if (task.pending.add(info)) complete(task, info.signal)
  else notify(task)
}

/** To a process: any of its tasks that does not block the signal takes it. */
export function sendGroupSignal(group: ThreadGroup, info: SignalInfo): void {
  if (group.tasks.length === 0) return
  const main = group.leader.state === 'dead' ? group.tasks[0] : group.leader
  if (!prepare(group, main, info.signal)) return
  if (!group.pending.add(info)) return
  const taker = chooseTask(group, info.signal)
  if (taker !== null) complete(taker, info.signal)
}

function chooseTask(group: ThreadGroup, signal: number): Task | null {
  const wants = (task: Task) => task.state !== 'dead' && (!task.blocked.has(signal) || signal === SIGKILL)
  if (group.leader.state !== 'dead' && wants(group.leader)) return group.leader
  return group.tasks.find(wants) ?? null
}

/** Stop and continue signals cancel each other; ignored signals vanish. False when there is nothing to send. */
function prepare(group: ThreadGroup, task: Task, signal: number): boolean {
  if (group.groupExit !== null && signal !== SIGKILL) return false
  if (STOP_SIGNALS.has(signal)) {
    group.pending.flush(CONT_SIGNAL)
    for (const each of group.tasks) each.pending.flush(CONT_SIGNAL)
  } else if (signal === SIGCONT) {
    group.pending.flush(STOP_SIGNALS)
    for (const each of group.tasks) {
      each.pending.flush(STOP_SIGNALS)
      each.stopPending = false
      if (each.state === 'stopped') resume(each)
    }
    if (group.stopSignal !== 0) {
      group.stopSignal = 0
      group.continuedReported = false
      notifyParent(group, 6 /* CLD_CONTINUED */, SIGCONT)
    }
  }
  return !isIgnored(task, signal)
}

/** The signal is queued: wakes who shall take it; a deadly one takes the whole group. */
function complete(task: Task, signal: number): void {
  const { group } = task
  const { handler } = task.actions.get(signal)
  const action = defaultAction(signal)
  const deadly = signal === SIGKILL || (handler === SIG_DFL && (action === 'terminate' || action === 'core'))
  if (
    deadly &&
    !task.blocked.has(signal) &&
    (signal === SIGKILL || (action === 'terminate' && task.ptrace === null)) &&
    group.groupExit === null
  ) {
    group.groupExit = signal
    group.stopSignal = 0
    for (const each of group.tasks) killTask(each)
    return
  }
  if (signal === SIGKILL) killTask(task)
  else notify(task)
}

/** SIGKILL for one task of a dying group. */
export function killTask(task: Task): void {
  task.stopPending = false
  task.pending.add({ signal: SIGKILL, code: 0 })
  if (task.state === 'stopped' || task.state === 'traced') resume(task)
  notify(task)
}

/** Ends a stop. */
export function resume(task: Task): void {
  task.state = 'runnable'
  task.kernel.scheduler.enqueue(task)
}

/** Makes the task look: it wakes if it sleeps, or leaves its processor soon. */
function notify(task: Task): void {
  if (!task.signalPending() && !task.waitsForSignals) return
  if (task.state === 'sleeping') task.wake()
  else if (task.cpu !== null) task.cpu.needResched = true
}

/**
 * A fault of the task itself: delivered even if blocked or ignored, then by default action (LUX-39).
 * @param refusal what was refused, where the fault comes of that
 */
export function forceFault(task: Task, info: SignalInfo, refusal: Refusal | null = null): void {
  const { signal } = info
  task.fault = refusal
  if (refusal !== null) task.kernel.trace.exception?.(task, -1, refusal)
  const action = task.actions.get(signal)
  const blocked = task.blocked.has(signal)
  if (blocked || action.handler === SIG_IGN) {
    task.actions.set(signal, { ...action, handler: SIG_DFL })
    task.blocked.delete(signal)
  }
  if (task.pending.add(info)) notify(task)
}

/** A signal could not be delivered because its frame could not be written: SIGSEGV, deadly if it is SIGSEGV itself. */
export function forceSegv(task: Task, failed: number): void {
  const SIGSEGV = 11
  if (failed === SIGSEGV) task.actions.set(SIGSEGV, { ...task.actions.get(SIGSEGV), handler: SIG_DFL })
  forceFault(task, { signal: SIGSEGV, code: 0x80, address: 0 })
}

/** SIGCHLD (or the child's exit signal) with what happened. True when the parent wants no zombie. */
export function notifyParent(child: ThreadGroup, code: number, status: number): boolean {
  const { parent } = child
  if (parent === null || parent.tasks.length === 0) return true
  const { kernel } = child
  const action = parent.leader.actions.get(SIGCHLD)
  let autoReap = false
  const died = code <= 3
  const signal = died ? child.exitSignal : SIGCHLD
  if (died && signal === SIGCHLD) autoReap = action.handler === SIG_IGN || (action.flags & SA_NOCLDWAIT) !== 0
  const wanted =
    signal !== 0 && !(signal === SIGCHLD && action.handler === SIG_IGN) && (died || (action.flags & SA_NOCLDSTOP) === 0)
  if (wanted) sendGroupSignal(parent, { signal, code, pid: child.pid, uid: kernel.uid, status, utime: 0, stime: 0 })
  parent.childEvents.wakeAll()
  return autoReap
}
