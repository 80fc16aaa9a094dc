import type { ExecutionContext } from '../machine/execution-context.ts'
import type { Refusal } from './errno.ts'
import type { FpuThread } from './fpu/thread-fpu.ts'
import type { FileTable } from './fs/file-table.ts'
import type { FsContext } from './fs/fs-context.ts'
import type { Kernel } from './kernel.ts'
import type { Mm } from './mm/mm.ts'
import type { Preemptible } from './preemption.ts'
import type { HostCpu, PinnedProcessor } from './processor.ts'
import type { PtraceLink } from './ptrace/link.ts'
import type { Descriptor } from './segments/descriptors.ts'
import { noShadowStack, type ThreadShadowStack } from './shstk/thread.ts'
import type { SignalActions } from './signal/actions.ts'
import { PendingSignals } from './signal/pending.ts'
import { SignalSet } from './signal/signal-set.ts'
import { SyscallArguments } from './syscalls/arguments.ts'
import type { ThreadGroup } from './thread-group.ts'

/** runnable: runs or waits for a processor. sleeping: until woken. stopped: job control. traced: ptrace stop. dead: gone. */
export type TaskState = 'runnable' | 'sleeping' | 'stopped' | 'traced' | 'dead'

export const SS_ONSTACK = 1
export const SS_DISABLE = 2
export const SS_AUTODISARM = 0x80000000 | 0

/** sigaltstack(2) setting. Size 0 = none. */
export interface AltStack {
  sp: number
  size: number
  flags: number
}

/** Registration of rseq(2). Address 0 = none. */
export interface RseqArea {
  address: number
  length: number
  signature: number
}

/** Last exception, as the signal frame shows it (thread.trap_nr, error_code, cr2). */
export interface TrapRecord {
  number: number
  errorCode: number
  cr2Lo: number
  cr2Hi: number
}

/** Linux's preempt_notifier. Both run with preemption disabled and before (after) extended state is switched out (in). */
export interface PreemptNotifier {
  schedIn(cpu: PinnedProcessor): void
  /** @param preempted the task could have gone on: it did not sleep */
  schedOut(cpu: PinnedProcessor, preempted: boolean): void
}

/** What a task's kernel activity is, and so what to do with its result. */
export type ActivityKind = 'syscall' | 'work'

/** A thread of the modelled host (Linux's task_struct). */
export class Task {
  readonly kernel: Kernel
  tid: number
  readonly group: ThreadGroup
  /** User registers. */
  readonly context: ExecutionContext
  readonly args: SyscallArguments
  mm: Mm
  files: FileTable
  fs: FsContext
  fpu!: FpuThread
  comm = ''

  // ---- scheduling ----
  state: TaskState = 'runnable'
  /** Where it runs now; null = not on a processor. The scheduler writes it. */
  readonly cpu: HostCpu | null = null
  /** Where it ran last, or shall run next. */
  cpuId = 0
  /** Bit n: may run on processor n. */
  affinity = 1
  /** On a run queue. */
  queued = false
  /** Kernel code in progress: a system call or exit work that was preempted or sleeps. Null = runs in user mode. */
  activity: Preemptible<number> | null = null
  activityKind: ActivityKind = 'syscall'
  /** Instructions run, times waited for a processor (ns), and turns (LUX-31). */
  runInstructions = 0
  runDelay = 0
  turns = 0
  /** Virtual time at which it was last put on a queue. */
  readyAt = 0
  /** sched_yield: the next task, if there is one. */
  yielding = false
  /** TIF_SLD of the older design: split locks are not detected while this thread runs (SLD-26). `splitlock/thread-flag.ts` writes it. */
  readonly splitLockAllowed: boolean = false
  /** A split lock of it has been in the log (SLD-19). */
  reportedSplitLock = false
  /** Told when the task gets or loses a processor (KVM loads and unloads its vCPU then). */
  preemptNotifier: PreemptNotifier | null = null
  voluntarySwitches = 0
  involuntarySwitches = 0

  // ---- system call in progress ----
  /** The last result asked for a restart: look at it before user mode. */
  restartCheck = false
  /** Number of the call in progress, -1 when none or when it must not be restarted (orig_ax). */
  origRax = -1
  /** Upper half of RAX at the call: it does not select, but a tracer sees it. */
  origRaxHi = -1
  /** Continues an interrupted sleep (restart_syscall). */
  restart: (() => number | Preemptible<number>) | null = null
  /** Why the last refused call was refused. */
  refusal: Refusal | null = null
  /** Why the last exception became a signal, where something was refused: what a death by that signal is explained with. */
  fault: Refusal | null = null

  // ---- signals ----
  readonly blocked = new SignalSet()
  /** Mask to put back after a handler of sigsuspend-like calls; null = none. */
  savedBlocked: SignalSet | null = null
  readonly pending = new PendingSignals()
  actions: SignalActions
  altStack: AltStack = { sp: 0, size: 0, flags: SS_DISABLE }
  readonly trap: TrapRecord = { number: 0, errorCode: 0, cr2Lo: 0, cr2Hi: 0 }
  /** In rt_sigtimedwait: signals that are blocked wake it too. */
  waitsForSignals = false
  /** Must take part in a job-control stop at its next chance. */
  stopPending = false

  /** GDT entries 12..14 (set_thread_area). */
  readonly tls: (Descriptor | null)[] = [null, null, null]
  /** They are not in the processor's GDT yet. */
  tlsChanged = true

  // ---- threads ----
  clearChildTid = 0
  robustList = 0
  readonly rseq: RseqArea = { address: 0, length: 0, signature: 0 }
  /** The rseq area must be rewritten before user mode (LUX-29). */
  rseqStale = false
  shstk: ThreadShadowStack = noShadowStack()
  ptrace: PtraceLink | null = null
  readonly tracees = new Set<Task>()
  exitStatus = 0
  /** Another thread executes a program: this one just ends. */
  replacedByExec = false

  constructor(kernel: Kernel, tid: number, group: ThreadGroup, mm: Mm, files: FileTable, fs: FsContext, actions: SignalActions) {
    this.kernel = kernel
    this.tid = tid
    this.group = group
    this.context = kernel.machine.newContext()
    this.args = new SyscallArguments(this.context)
    this.mm = mm
    this.files = files
    this.fs = fs
    this.actions = actions
  }

  /** A signal that is not blocked waits for delivery, or a stop or trace stop is due: interruptible sleeps end. */
  signalPending(): boolean {
    const { blocked } = this
    const own = this.pending.set
    const shared = this.group.pending.set
    return (
      ((own.lo | shared.lo) & ~blocked.lo) !== 0 ||
      ((own.hi | shared.hi) & ~blocked.hi) !== 0 ||
      this.stopPending ||
      this.ptrace?.trapPending === true
    )
  }

  /** SIGKILL is pending. */
  fatalSignalPending(): boolean {
    return ((this.pending.set.lo >>> 8) & 1) !== 0
  }

  /** Announces a sleep; follow with `yield SLEEP`. A `wake` in between is not lost. */
  prepareToSleep(): void {
    this.state = 'sleeping'
  }

  /** Ends a sleep. No effect on a task that does not sleep. */
  wake(): void {
    if (this.state !== 'sleeping') return
    this.state = 'runnable'
    this.kernel.scheduler.enqueue(this)
  }

  /**
   * Installs a temporary mask for the length of a call (KVM_RUN's KVM_SET_SIGNAL_MASK). Returns the mask to give back to
   * `endTemporaryMask` before the call returns; a signal that only the temporary mask let through stays pending (LUX-63).
   */
  beginTemporaryMask(lo: number, hi: number): SignalSet {
    const previous = new SignalSet()
    previous.copy(this.blocked)
    this.blocked.set(lo & ~((1 << 8) | (1 << 18)), hi)
    return previous
  }
  endTemporaryMask(previous: SignalSet): void {
    this.blocked.copy(previous)
  }

  /** No call to restart any more (orig_ax = -1). */
  forgetSyscall(): void {
    this.origRax = -1
    this.origRaxHi = -1
  }
}
