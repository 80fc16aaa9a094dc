import { type Preemptible, SLEEP } from './preemption.ts'
import type { Task } from './task.ts'

/** Called at a wake-up; returns true when it consumed an exclusive wake-up. */
export type WaitCallback = () => void

/** Who waits for something to happen: sleeping tasks, and callbacks of other kernel parts (poll, irqfd). */
export class WaitQueue {
  private readonly tasks = new Set<Task>()
  private readonly callbacks = new Set<WaitCallback>()

  add(task: Task): void {
    this.tasks.add(task)
  }
  remove(task: Task): void {
    this.tasks.delete(task)
  }
  /** `callback` runs at every wake-up until removed; it must not sleep. */
  addCallback(callback: WaitCallback): void {
    this.callbacks.add(callback)
  }
  removeCallback(callback: WaitCallback): void {
    this.callbacks.delete(callback)
  }

  wakeAll(): void {
    for (const callback of this.callbacks) callback()
    for (const task of this.tasks) task.wake()
  }

  get idle(): boolean {
    return this.tasks.size === 0 && this.callbacks.size === 0
  }
}

/** Why a wait ended. */
export const WOKEN = 0
export const INTERRUPTED = 1
export const TIMED_OUT = 2
export type WaitResult = typeof WOKEN | typeof INTERRUPTED | typeof TIMED_OUT

/**
 * Sleeps until `condition` holds, a signal is pending (unless `killableOnly`: then only a fatal one), or virtual time reaches
 * `deadline` (ns; Infinity = never). The condition is looked at first, and again after every wake-up of `queue`.
 */
export function* waitUntil(
  task: Task,
  queue: WaitQueue,
  condition: () => boolean,
  deadline = Number.POSITIVE_INFINITY,
  killableOnly = false,
): Preemptible<WaitResult> {
  const { clock } = task.kernel
  if (condition()) return WOKEN
  queue.add(task)
  const timer = deadline === Number.POSITIVE_INFINITY ? null : clock.arm(deadline, () => task.wake())
  try {
    for (;;) {
      if (condition()) return WOKEN
      if (killableOnly ? task.fatalSignalPending() : task.signalPending()) return INTERRUPTED
      if (clock.now >= deadline) return TIMED_OUT
      task.prepareToSleep()
      yield SLEEP
    }
  } finally {
    queue.remove(task)
    if (timer !== null) clock.cancel(timer)
  }
}
