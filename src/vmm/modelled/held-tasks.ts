import type { Kernel } from '../../linux/kernel.ts'
import type { HostCpu } from '../../linux/processor.ts'
import { mayRunOn, widenIfStranded } from '../../linux/sched/affinity.ts'
import type { Task } from '../../linux/task.ts'

/**
 * The tasks whose user mode is TypeScript. Between its system calls such a task either holds a processor (it is `current`
 * there and runnable, so that the next call costs no task switch) or is parked: asleep, off the processor.
 *
 * The scheduler must not meet a held task, as it would run user code that is not there: `parkAll` before it runs.
 */
export class HeldTasks {
  private readonly kernel: Kernel
  private readonly held = new Set<Task>()

  constructor(kernel: Kernel) {
    this.kernel = kernel
  }

  /** Puts `task` on a processor, whoever was there. */
  hold(task: Task): HostCpu {
    if (task.cpu !== null) return task.cpu
    const { scheduler } = this.kernel
    scheduler.dequeue(task)
    const cpu = this.freeProcessor(task)
    task.state = 'runnable'
    scheduler.switchTo(cpu, task)
    this.held.add(task)
    return cpu
  }

  /** Takes `task` off its processor, asleep, with its registers saved. */
  park(task: Task): void {
    this.held.delete(task)
    const { scheduler } = this.kernel
    // Its processor may have gone offline, and the scheduler have put it on the queue of another.
    if (task.queued) scheduler.dequeue(task)
    else if (task.cpu === null) return
    task.state = 'sleeping'
    if (task.cpu !== null) scheduler.leave(task.cpu, task)
  }

  /** Puts `task` on a processor that it may use, if it may no longer use the one it holds. */
  move(task: Task): void {
    if (mayRunOn(task, task.cpu!)) return
    this.held.delete(task)
    this.kernel.scheduler.leave(task.cpu!, task)
    this.hold(task)
  }

  /** Parks every held task but `except`. */
  parkAll(except: Task): void {
    for (const task of [...this.held]) if (task !== except) this.park(task)
  }

  /** The scheduler has `task` now, or it is dead. */
  forget(task: Task): void {
    this.held.delete(task)
  }

  /** Whether something other than held tasks could run now. */
  get othersRun(): boolean {
    for (const cpu of this.kernel.cpus) {
      if (cpu.queue.length > 0) return true
      if (cpu.current !== null && !this.held.has(cpu.current)) return true
    }
    return false
  }

  private freeProcessor(task: Task): HostCpu {
    const { cpus, scheduler } = this.kernel
    widenIfStranded(task)
    const allowed = cpus.filter((cpu) => mayRunOn(task, cpu))
    const last = allowed.find(({ id }) => id === task.cpuId) ?? allowed[0]
    const cpu = last.current === null ? last : (allowed.find((c) => c.current === null) ?? last)
    const occupant = cpu.current
    if (occupant === null) return cpu
    if (this.held.has(occupant)) this.park(occupant)
    else {
      occupant.involuntarySwitches++
      scheduler.leave(cpu, occupant)
      scheduler.enqueue(occupant)
    }
    return cpu
  }
}
