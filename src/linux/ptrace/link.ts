import { killTask, resume } from '../signal/send.ts'
import type { SignalInfo } from '../signal/signals.ts'
import type { Task } from '../task.ts'
import type { WaitStatus } from '../thread-group.ts'

export const PTRACE_O_TRACESYSGOOD = 1
export const PTRACE_O_TRACEFORK = 2
export const PTRACE_O_TRACEVFORK = 4
export const PTRACE_O_TRACECLONE = 8
export const PTRACE_O_TRACEEXEC = 0x10
export const PTRACE_O_TRACEVFORKDONE = 0x20
export const PTRACE_O_TRACEEXIT = 0x40
export const PTRACE_O_EXITKILL = 0x100000

/** `resumeSignal` while nobody has said anything: a tracer that dies leaves the signal to be delivered. */
export const TRACER_GONE = -1

/** A tracee's side of ptrace(2). */
export class PtraceLink {
  readonly tracer: Task
  readonly tracee: Task
  options = 0
  /** PTRACE_SEIZE instead of ATTACH or TRACEME. */
  seized = false
  /** PTRACE_SYSCALL: stops at entry and exit of calls. */
  stopsAtSyscalls = false
  /** PTRACE_SINGLESTEP was asked for. */
  singleStep = false
  /** PTRACE_INTERRUPT or ATTACH asks for a stop. */
  trapPending = false
  /** What waitpid will report of the present stop; null = reported, or running. */
  report: WaitStatus | null = null
  /** The signal being delivered, for PTRACE_GETSIGINFO and the next resumption. */
  info: SignalInfo | null = null
  /** What the tracer said at resumption: the signal to deliver. */
  resumeSignal = TRACER_GONE
  message = 0

  constructor(tracer: Task, tracee: Task) {
    this.tracer = tracer
    this.tracee = tracee
  }
}

/** Makes `tracer` the tracer of `tracee`. */
export function attach(tracer: Task, tracee: Task): PtraceLink {
  const link = new PtraceLink(tracer, tracee)
  tracee.ptrace = link
  tracer.tracees.add(tracee)
  return link
}

/** The tracee runs free again. */
export function detach(tracee: Task): void {
  const link = tracee.ptrace
  if (link === null) return
  link.tracer.tracees.delete(tracee)
  tracee.ptrace = null
  if (tracee.state === 'traced') resume(tracee)
}

/** A tracer exits: its tracees run on, or die if it asked for that. */
export function ptraceDetachAll(tracer: Task): void {
  for (const tracee of [...tracer.tracees]) {
    const kill = ((tracee.ptrace?.options ?? 0) & PTRACE_O_EXITKILL) !== 0
    detach(tracee)
    if (kill) killTask(tracee)
  }
}

/** A tracee exits: a tracer that is not the parent learns it too. */
export function ptraceExit(tracee: Task, status: WaitStatus): void {
  const link = tracee.ptrace
  if (link === null) return
  if (tracee === tracee.group.leader && link.tracer.group === tracee.group.parent) {
    // The ordinary wait reports it.
    link.tracer.tracees.delete(tracee)
    tracee.ptrace = null
  } else {
    link.report = status
  }
  link.tracer.group.childEvents.wakeAll()
}

/** A stop of a tracee that waitpid of `waiter`'s process has to report; `waiting` if it has tracees but nothing to report. */
export function collectTracee(
  waiter: Task,
  matches: (pid: number, pgid: number) => boolean,
  consume: boolean,
): { pid: number; status: WaitStatus } | 'waiting' | null {
  let any = false
  for (const tracer of waiter.group.tasks) {
    for (const tracee of tracer.tracees) {
      if (!matches(tracee.tid, tracee.group.pgid)) continue
      any = true
      const link = tracee.ptrace
      if (link === null || link.report === null) continue
      const status = link.report
      if (consume) {
        link.report = null
        if (tracee.state === 'dead') detach(tracee)
      }
      return { pid: tracee.tid, status }
    }
  }
  return any ? 'waiting' : null
}
