import { releaseForIdle, switchIn, switchOut } from '../fpu/switch.ts'
import type { Kernel } from '../kernel.ts'
import { type HostCpu, pinnedProcessor } from '../processor.ts'
import { switchDetection } from '../splitlock/thread-flag.ts'
import type { Task } from '../task.ts'
import { mayRunOn, widenIfStranded } from './affinity.ts'
import { runTask } from './run-task.ts'

/** Instructions a processor runs before the next one gets its share of the run. */
export const QUANTUM = 50_000
/** Instructions a task runs before the next task of its processor gets its turn. */
export const TURN = 200_000

/** Where a task runs is read-only but for its scheduler. */
const placeOf = (task: Task): { cpu: HostCpu | null } => task

/** How a slice of the run ended. */
export type RunState =
  /** There is more to do. */
  | { readonly state: 'running' }
  /** The first program is dead: its wait status (`exit << 8`, or signal with 0x80 for a core). */
  | { readonly state: 'exited'; readonly status: number }
  /** Every task sleeps and one of them waits for outside input; `until` = when the next timer is due (ns), Infinity = never. */
  | { readonly state: 'waiting'; readonly until: number }
  /** Every task sleeps and nothing will ever wake one. */
  | { readonly state: 'stuck' }

/**
 * Round robin: processors take turns of QUANTUM instructions, tasks on one processor turns of TURN. A pure function of the
 * run's history. Linux's scheduler differs in order, not in what may happen.
 */
export class Scheduler {
  private readonly kernel: Kernel
  /** Processor whose turn is next. */
  private nextCpu = 0
  /** Processor whose quantum a slice of the run has cut short: it goes on there, so that slices are no part of the history. */
  private unfinished: HostCpu | null = null
  contextSwitches = 0
  /** Whether a task waits for the world outside (terminal input). */
  outsideWaits: () => boolean = () => false

  constructor(kernel: Kernel) {
    this.kernel = kernel
  }

  /** Makes a task ready: on the processor where it ran last, or an idle one it may use. */
  enqueue(task: Task): void {
    if (task.queued || task.cpu !== null) return
    const cpu = this.chooseCpu(task)
    task.queued = true
    task.readyAt = this.kernel.clock.now
    if (task.cpuId !== cpu.id) task.rseqStale = true
    task.cpuId = cpu.id
    cpu.queue.push(task)
  }

  private chooseCpu(task: Task): HostCpu {
    const { cpus } = this.kernel
    const last = cpus[task.cpuId]
    widenIfStranded(task)
    const allowed = (cpu: HostCpu) => mayRunOn(task, cpu)
    const load = (cpu: HostCpu) => cpu.queue.length + (cpu.current === null ? 0 : 1)
    if (allowed(last) && load(last) === 0) return last
    let best: HostCpu | null = allowed(last) ? last : null
    for (const cpu of cpus) if (allowed(cpu) && (best === null || load(cpu) < load(best))) best = cpu
    return best!
  }

  /** Takes a task off its run queue (affinity changed, it died). */
  dequeue(task: Task): void {
    if (!task.queued) return
    const { queue } = this.kernel.cpus[task.cpuId]
    queue.splice(queue.indexOf(task), 1)
    task.queued = false
  }

  /** The running task leaves its processor: at once when it is between instructions, else at its next preemption point. */
  migrateAway(task: Task): void {
    if (task.cpu !== null) task.cpu.needResched = true
    else if (task.queued) {
      this.dequeue(task)
      this.enqueue(task)
    }
  }

  /** `cpu` is offline: who waits or runs there goes elsewhere; `caller`, if it is the one that runs, at its next preemption point. */
  vacate(cpu: HostCpu, caller: Task): void {
    for (const task of [...cpu.queue]) this.migrateAway(task)
    const { current } = cpu
    if (current === null || current === caller) return
    current.involuntarySwitches++
    this.leave(cpu, current)
    this.enqueue(current)
  }

  runSlice(maxInstructions: number, enough: () => boolean = () => false): RunState {
    const { kernel } = this
    const { clock } = kernel
    clock.allowance = maxInstructions
    for (;;) {
      if (kernel.init?.zombie) return { state: 'exited', status: kernel.init.groupExit ?? 0 }
      if (clock.allowance <= 0 || enough()) return { state: 'running' }
      const cpu = this.unfinished ?? this.pickCpu()
      if (cpu !== null) {
        this.runCpu(cpu)
        continue
      }
      const deadline = clock.nextDeadline
      if (this.outsideWaits()) return { state: 'waiting', until: deadline }
      if (deadline === Number.POSITIVE_INFINITY) return { state: 'stuck' }
      clock.skipTo(deadline)
    }
  }

  private pickCpu(): HostCpu | null {
    const { cpus } = this.kernel
    for (let i = 0; i < cpus.length; i++) {
      const cpu = cpus[(this.nextCpu + i) % cpus.length]
      if (cpu.current === null && cpu.queue.length === 0) continue
      this.nextCpu = (cpu.id + 1) % cpus.length
      return cpu
    }
    return null
  }

  private runCpu(cpu: HostCpu): void {
    if (this.unfinished === null) cpu.sliceLeft = QUANTUM
    this.unfinished = cpu
    while (cpu.sliceLeft > 0) {
      if (this.kernel.clock.allowance <= 0) return
      if (cpu.current === null) {
        const next = cpu.queue.shift()
        if (next === undefined) break
        this.switchTo(cpu, next)
      }
      const task = cpu.current!
      cpu.needResched = false
      const before = this.kernel.clock.instructions
      runTask(pinnedProcessor(cpu), task)
      cpu.turnLeft -= this.kernel.clock.instructions - before
      if (task.state !== 'runnable') this.leave(cpu, task)
      else if (this.mustLeave(cpu, task)) {
        task.involuntarySwitches++
        this.leave(cpu, task)
        this.enqueue(task)
      }
    }
    this.unfinished = null
  }

  private mustLeave(cpu: HostCpu, task: Task): boolean {
    if (!mayRunOn(task, cpu)) return true
    if (task.yielding) {
      task.yielding = false
      return cpu.queue.length > 0
    }
    if (cpu.turnLeft > 0) return false
    cpu.turnLeft = TURN
    return cpu.queue.length > 0
  }

  /** `task`, which is on no queue, takes `idle`. */
  switchTo(idle: HostCpu, task: Task): void {
    const cpu = pinnedProcessor(idle)
    task.queued = false
    cpu.current = task
    cpu.turnLeft = TURN
    placeOf(task).cpu = cpu
    task.cpuId = cpu.id
    task.turns++
    task.runDelay += this.kernel.clock.now - task.readyAt
    task.rseqStale = true
    this.contextSwitches++
    this.kernel.costs.contextSwitches++
    switchDetection(cpu, cpu.previous, task)
    cpu.previous = task
    switchIn(task, cpu)
    this.kernel.descriptors.load(task, cpu)
    task.preemptNotifier?.schedIn(cpu)
    this.kernel.trace.schedule?.(task, cpu.id)
  }

  /** `task` gives up its processor, its registers saved; the caller queues it again if it is still runnable. */
  leave(left: HostCpu, task: Task): void {
    const cpu = pinnedProcessor(left)
    if (task.state !== 'dead') {
      task.preemptNotifier?.schedOut(cpu, task.state === 'runnable')
      switchOut(task, cpu)
    }
    placeOf(task).cpu = null
    cpu.current = null
    if (cpu.queue.length > 0) return
    switchDetection(cpu, cpu.previous, null)
    cpu.previous = null
    releaseForIdle(cpu)
  }
}
