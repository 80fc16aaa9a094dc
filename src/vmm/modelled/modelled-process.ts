import { KVM_IOCTL } from '../../kvm/abi/ioctl-numbers.ts'
import { oopsInTask } from '../../linux/entry/oops.ts'
import { enterSyscall, finishSyscall } from '../../linux/entry/syscall-entry.ts'
import { EINTR, ERESTART_RESTARTBLOCK, ERESTARTSYS } from '../../linux/errno.ts'
import { newTask } from '../../linux/exec/spawn.ts'
import { ensureRegistersLoaded } from '../../linux/fpu/door.ts'
import type { Kernel } from '../../linux/kernel.ts'
import { HostOops } from '../../linux/oops.ts'
import { type Preemptible, SLEEP, withPreemptionDisabled } from '../../linux/preemption.ts'
import { exitGroup } from '../../linux/proc/exit.ts'
import type { HostCpu } from '../../linux/processor.ts'
import type { Refusal } from '../../linux/refusal.ts'
import { QUANTUM } from '../../linux/sched/scheduler.ts'
import { SignalSet } from '../../linux/signal/signal-set.ts'
import { SI_KERNEL, SIGALRM } from '../../linux/signal/signals.ts'
import type { Task } from '../../linux/task.ts'
import { REG } from '../../machine/execution-context.ts'
import type { Machine } from '../../machine/machine.ts'
import { ProcessDied } from '../errors.ts'
import type { Interruption, ProcessBackend, ProcessSignal } from '../process-backend.ts'
import type { HeldTasks } from './held-tasks.ts'

const NR_ioctl = 16
const NR_clone = 56
const TWO_32 = 4294967296
const INTERRUPTING = SignalSet.of(SIGALRM)

/**
 * A process of the modelled host whose user mode is TypeScript: it has a task, an address space and file descriptors like any
 * program, and its system calls take the kernel's system-call entry. Only instructions of its own it has none.
 */
export class ModelledProcess implements ProcessBackend {
  readonly description: string
  interruption: Interruption = 'signal'
  private readonly signals: ProcessSignal[] = []
  retired = 0
  readonly machine: Machine
  readonly kernel: Kernel
  private readonly held: HeldTasks
  private readonly task: Task
  /** The scheduler runs the call in progress; `finished` is its result once it has one. */
  private scheduled = false
  private finished: number | null = null
  private epitaph: ProcessDied | null = null

  /** @param task a task of the kernel that nothing runs yet; default a process of its own, called `name` */
  constructor(host: { machine: Machine; kernel: Kernel; description: string }, held: HeldTasks, name: string, task?: Task) {
    const { kernel } = host
    this.machine = host.machine
    this.kernel = kernel
    this.held = held
    this.description = host.description
    this.task = task ?? newTask(kernel)
    this.task.comm = name.slice(0, 15)
    this.task.state = 'sleeping'
  }

  clone(flags: number): ModelledProcess | number {
    const tid = this.syscall(NR_clone, flags)
    if (tid < 0) return tid
    const task = this.kernel.tasks.get(tid)!
    this.kernel.scheduler.dequeue(task)
    return new ModelledProcess(this, this.held, this.task.comm, task)
  }

  get pid(): number {
    return this.task.group.pid
  }

  get refusal(): Refusal | null {
    return this.task.refusal
  }

  syscall(nr: number, a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0): number {
    this.returnToUser()
    this.kernel.clock.allowance = Number.POSITIVE_INFINITY
    const { context } = this.task
    setRegister(context, REG.RDI, a0)
    setRegister(context, REG.RSI, a1)
    setRegister(context, REG.RDX, a2)
    setRegister(context, REG.R10, a3)
    setRegister(context, REG.R8, a4)
    setRegister(context, REG.R9, a5)
    return this.call(nr)
  }

  run(fd: number, maxInstructions: number): number {
    const cpu = this.returnToUser()
    this.kernel.clock.allowance = maxInstructions
    this.interruption = 'signal'
    grantSlice(cpu)
    const { context } = this.task
    context.set(REG.RDI, fd, 0)
    context.set(REG.RSI, KVM_IOCTL.KVM_RUN, 0)
    context.set(REG.RDX, 0, 0)
    const before = this.machine.retired
    const result = this.call(NR_ioctl)
    this.retired = this.machine.retired - before
    return result
  }

  read(address: number, into: Uint8Array): boolean {
    this.mustLive()
    return this.task.mm.copyFromUser(into, 0, address, into.length)
  }
  write(address: number, from: Uint8Array): boolean {
    this.mustLive()
    return this.task.mm.copyToUser(address, from, 0, from.length)
  }

  page(address: number): DataView | null {
    this.mustLive()
    const { mm } = this.task
    const at = mm.resolve(address, true)
    return at < 0 ? null : new DataView(mm.mem.buffer, at - (at & 0xfff), 4096)
  }

  exit(): void {
    if (this.epitaph !== null) return
    // Its other threads run no code in which they could find out.
    const others = this.task.group.tasks.filter((other) => other !== this.task)
    this.held.hold(this.task)
    exitGroup(this.task, 0)
    for (const other of others) {
      this.held.hold(other)
      exitGroup(other, 0)
      this.leave(other)
    }
    this.bury(`process ${this.pid} has exited`, null)
  }

  // ---- a system call from entry to result ----

  /** Onto a processor, in the state in which user code runs: its registers loaded. */
  private returnToUser(): HostCpu {
    this.mustLive()
    const { task } = this
    const cpu = this.held.hold(task)
    if (task.fpu.needLoad) withPreemptionDisabled(task, ensureRegistersLoaded)
    return cpu
  }

  private mustLive(): void {
    if (this.epitaph === null && this.task.state === 'dead') this.bury(`process ${this.pid} has exited`, null)
    if (this.epitaph !== null) throw this.epitaph
  }

  private call(nr: number): number {
    const { task } = this
    const { context } = task
    context.set(REG.RAX, nr, 0)
    try {
      enterSyscall(task)
      if (task.activity !== null) this.complete()
    } catch (error) {
      if (!(error instanceof HostOops)) throw error
      oopsInTask(task.cpu!, task, error)
      this.bury(`process ${this.pid} died of a kernel oops: ${error.message}: ${error.detail}`, error.rule)
    }
    if ((task.state as string) === 'dead') this.bury(`process ${this.pid} died: ${this.kernel.log.lines.at(-1) ?? ''}`, null)
    this.mustLive()
    this.handleSignals()
    const result = context.hi(REG.RAX) * TWO_32 + (context.lo(REG.RAX) >>> 0)
    // A handler ran, and it does not ask for the call to be made again (LUX-13).
    return result <= -ERESTARTSYS && result >= -ERESTART_RESTARTBLOCK ? -EINTR : result
  }

  /**
   * Brings the call in progress to its end. When the instructions are used up, or nothing will ever end the call, it is
   * interrupted as a timer signal with an empty handler interrupts a real VMM.
   */
  private complete(): void {
    const { task } = this
    let interrupted = false
    while (task.activity !== null) {
      const stop = interrupted || this.kernel.clock.allowance > 0 ? this.proceed() : 'limit'
      if (stop === null) continue
      if (interrupted && stop === 'idle') throw new Error(`process ${this.pid} waits for something that cannot happen`)
      interrupted = true
      this.interrupt(stop)
    }
    if (interrupted) task.pending.flush(INTERRUPTING)
  }

  /** One stretch of the call. Null: look again; else why it should be interrupted. */
  private proceed(): Interruption | null {
    const { task } = this
    return this.scheduled || task.cpu === null || this.held.othersRun ? this.schedule() : this.drive()
  }

  /** ... while nobody else wants the processor. */
  private drive(): Interruption | null {
    const { task } = this
    const cpu = task.cpu!
    grantSlice(cpu)
    const progress = task.activity!.next()
    if (progress.done === true) {
      task.activity = null
      if (task.state !== 'dead') finishSyscall(task, progress.value)
      return null
    }
    if (task.state !== 'runnable') {
      this.kernel.scheduler.leave(cpu, task)
      this.held.forget(task)
      return null
    }
    this.held.move(task)
    return this.kernel.clock.allowance <= 0 ? 'limit' : null
  }

  /** ... while the host runs as a whole. */
  private schedule(): Interruption | null {
    const { task, kernel } = this
    if (!this.scheduled) {
      this.held.forget(task)
      this.finished = null
      this.scheduled = true
      task.activity = this.thenPark(task.activity!)
    }
    this.held.parkAll(task)
    const end = kernel.runSlice(kernel.clock.allowance)
    if (this.finished !== null || (task.state as string) === 'dead') {
      this.scheduled = false
      task.activity = null
      if (this.finished !== null) finishSyscall(task, this.finished)
      return null
    }
    if (end.state === 'exited') throw new Error('the first program of the host has ended, and the host with it')
    return end.state === 'running' ? 'limit' : 'idle'
  }

  /** The call, and after it sleep: the scheduler must not go on to user mode. */
  private *thenPark(code: Preemptible<number>): Preemptible<number> {
    this.finished = yield* code
    this.kernel.clock.allowance = 0
    this.task.prepareToSleep()
    yield SLEEP
    return 0
  }

  private interrupt(why: Interruption): void {
    const { task } = this
    this.interruption = why
    task.pending.add({ signal: SIGALRM, code: SI_KERNEL })
    task.wake()
    this.kernel.clock.allowance = Number.POSITIVE_INFINITY
  }

  takeSignals(): readonly ProcessSignal[] {
    return this.signals.splice(0)
  }

  /** What is pending on return to user mode is delivered, to handlers that return at once. */
  private handleSignals(): void {
    const { pending, blocked } = this.task
    for (let info = pending.take(blocked); info !== null; info = pending.take(blocked))
      this.signals.push({ signal: info.signal, code: info.code, address: info.address ?? 0 })
  }

  private bury(message: string, rule: string | null): void {
    this.epitaph ??= new ProcessDied(message, rule)
    this.leave(this.task)
  }

  /** A dead task leaves its processor. */
  private leave(task: Task): void {
    this.held.forget(task)
    if (task.cpu !== null) this.kernel.scheduler.leave(task.cpu, task)
  }
}

/** A full quantum, and nobody is waiting. */
function grantSlice(cpu: HostCpu): void {
  cpu.needResched = false
  if (cpu.sliceLeft <= 0) cpu.sliceLeft = QUANTUM
}

function setRegister(context: Task['context'], register: number, value: number): void {
  context.set(register, value | 0, Math.floor(value / TWO_32) | 0)
}
