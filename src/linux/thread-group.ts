import type { Kernel } from './kernel.ts'
import { defaultLimits, type Limits } from './limits.ts'
import type { IntervalTimers } from './signal/interval-timers.ts'
import { PendingSignals } from './signal/pending.ts'
import type { Task } from './task.ts'
import { WaitQueue } from './wait-queue.ts'

/** How a thread group ended or stopped, as wait4 will tell it: `exit << 8`, or signal with 0x80 for a core. */
export type WaitStatus = number

/** A process: the tasks that share a pid (Linux's signal_struct and thread group). */
export class ThreadGroup {
  readonly kernel: Kernel
  readonly pid: number
  leader!: Task
  readonly tasks: Task[] = []
  parent: ThreadGroup | null
  readonly children = new Set<ThreadGroup>()
  pgid: number
  sid: number
  /** Signal the parent gets when the group is dead; 0 = none. */
  exitSignal = 17
  readonly pending = new PendingSignals()
  /** Woken when a child changes state, and when a signal for rt_sigtimedwait arrives. */
  readonly childEvents = new WaitQueue()
  /** Woken when a task of the group ends. */
  readonly threadEvents = new WaitQueue()
  limits: Limits
  timers: IntervalTimers | null = null
  /** Set once the whole group is on its way out: the wait status it will have. */
  groupExit: WaitStatus | null = null
  /** Every task is dead; waiting for the parent to collect it. */
  zombie = false
  /** Job-control stop in force: the signal; 0 = running. */
  stopSignal = 0
  /** A stop or continue the parent has not been told of. */
  stopReported = true
  continuedReported = true
  /** Absolute path of the program, what /proc/self/exe shows. */
  exePath = ''
  /** execve was called since fork (setpgid by the parent fails then). */
  hasExecuted = false
  dumpable = true
  /** Instructions of tasks that are gone, and of children collected. */
  deadTime = 0
  childrenTime = 0
  /** vfork: the parent waits here until this group releases the address space. */
  vforkDone: WaitQueue | null = null

  constructor(kernel: Kernel, pid: number, parent: ThreadGroup | null) {
    this.kernel = kernel
    this.pid = pid
    this.parent = parent
    this.pgid = parent?.pgid ?? pid
    this.sid = parent?.sid ?? pid
    this.limits = parent?.limits.copy() ?? defaultLimits()
    parent?.children.add(this)
  }

  get alive(): number {
    return this.tasks.length
  }
}
