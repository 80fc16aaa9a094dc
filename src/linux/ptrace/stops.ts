import { type Preemptible, SLEEP } from '../preemption.ts'
import { forceFault, sendGroupSignal } from '../signal/send.ts'
import { CLD_TRAPPED, SI_USER, SIGCHLD, SIGKILL, SIGTRAP, type SignalInfo, TRAP_TRACE } from '../signal/signals.ts'
import type { Task } from '../task.ts'
import { PTRACE_O_TRACESYSGOOD, type PtraceLink, TRACER_GONE } from './link.ts'

/** Stops of a tracee: waits until the tracer resumes it. LUX-54; kernel/signal.c ptrace_stop. */

function* stop(task: Task, link: PtraceLink, status: number): Preemptible<void> {
  link.report = (status << 8) | 0x7f
  link.resumeSignal = TRACER_GONE
  task.state = 'traced'
  const { tracer } = link
  const wanted = tracer.actions.get(SIGCHLD)
  if (wanted.handler > 1) {
    sendGroupSignal(tracer.group, {
      signal: SIGCHLD,
      code: CLD_TRAPPED,
      pid: task.tid,
      uid: task.kernel.uid,
      status: status & 0x7f,
    })
  }
  tracer.group.childEvents.wakeAll()
  while ((task.state as string) === 'traced') yield SLEEP
  link.report = null
}

/** Signal-delivery stop. What the tracer lets through: the signal, another, or none. */
export function* stopForSignal(task: Task, info: SignalInfo): Preemptible<SignalInfo | null> {
  const link = task.ptrace!
  link.info = info
  yield* stop(task, link, info.signal)
  const chosen = link.resumeSignal
  if (chosen === TRACER_GONE) return info
  const kept = link.info
  link.info = null
  if (chosen === 0) return null
  if (chosen === kept?.signal) return kept
  return { signal: chosen, code: SI_USER, pid: link.tracer.group.pid, uid: task.kernel.uid }
}

/** PTRACE_INTERRUPT, or the stop ATTACH and SEIZE asked for. */
export function* stopForPtraceTrap(task: Task): Preemptible<void> {
  const link = task.ptrace!
  link.trapPending = false
  link.info = { signal: SIGTRAP, code: SIGTRAP | (128 << 8) }
  yield* stop(task, link, SIGTRAP | (128 << 8))
}

/** System-call stop. */
export function* stopAtSyscall(task: Task): Preemptible<void> {
  const link = task.ptrace
  if (link === null) return
  const good = (link.options & PTRACE_O_TRACESYSGOOD) !== 0
  link.info = { signal: SIGTRAP, code: good ? SIGTRAP | 0x80 : SIGTRAP }
  yield* stop(task, link, SIGTRAP | (good ? 0x80 : 0))
  const { resumeSignal } = link
  if (resumeSignal > 0 && resumeSignal !== SIGKILL) {
    task.pending.add({ signal: resumeSignal, code: SI_USER, pid: link.tracer.group.pid, uid: task.kernel.uid })
  }
}

/** PTRACE_EVENT_* stop (fork, clone, exec, exit). */
export function* stopForEvent(task: Task, event: number, message: number): Preemptible<void> {
  const link = task.ptrace
  if (link === null) return
  link.message = message
  link.info = { signal: SIGTRAP, code: SIGTRAP | (event << 8) }
  yield* stop(task, link, SIGTRAP | (event << 8))
}

/** A single step landed on a signal handler's first instruction. */
export function traceTrap(task: Task): void {
  forceFault(task, { signal: SIGTRAP, code: TRAP_TRACE, address: task.context.ripHi * 4294967296 + (task.context.ripLo >>> 0) })
}
