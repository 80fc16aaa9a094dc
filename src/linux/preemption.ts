import type { PinnedProcessor } from './processor.ts'
import type { Task } from './task.ts'

/** Yielded by kernel code that may lose the processor here but stays runnable. */
export const PREEMPTION_POINT = 0
/** Yielded by kernel code that sleeps: the task runs again after somebody woke it (`Task.wake`). */
export const SLEEP = 1
export type Yielded = typeof PREEMPTION_POINT | typeof SLEEP

/** Kernel code that can be preempted or can sleep. Every `yield` is a place where the task may lose its processor. */
export type Preemptible<T> = Generator<Yielded, T, void>

/** The result of a call that sleeps only sometimes: the value itself, or the code that will produce it. */
export type MaybePreemptible<T> = T | Preemptible<T>

/** Finishes a call that may or may not have to sleep. */
export function* finish(result: MaybePreemptible<number>): Preemptible<number> {
  return typeof result === 'number' ? result : yield* result
}

/**
 * Runs `body` on the processor that `task` runs on now; it cannot lose it meanwhile, because `body` is a plain function.
 * The processor must not be kept after `body` returns. `argument` spares a closure on hot paths.
 */
export function withPreemptionDisabled<T, A = undefined>(
  task: Task,
  body: (cpu: PinnedProcessor, argument: A) => T,
  argument?: A,
): T {
  const cpu = task.cpu
  if (cpu === null || cpu.current !== task) throw new Error(`task ${task.tid} disables preemption but runs on no processor`)
  return body(cpu as PinnedProcessor, argument as A)
}
