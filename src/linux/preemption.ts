import type { Kernel } from './kernel.ts'
import { type PinnedProcessor, pinnedProcessor } from './processor.ts'
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
 * What pinned code may give to preemptible code: values. Not the processor, nor anything that could hold it: a generator or a
 * promise that goes on later, a function, an object.
 */
// biome-ignore lint/suspicious/noConfusingVoidType: what a function without result gives
export type Unpinned = number | bigint | string | boolean | null | undefined | void

/**
 * Runs `body` on the processor that `task` runs on now; it cannot lose it meanwhile, because `body` is a plain function.
 * `argument` spares a closure on hot paths.
 *
 * That `body` is no generator and gives nothing back that holds the processor, the compiler sees. It does not see a `body` that puts the
 * processor into a variable or object of somebody else; `test/linux/preemption.test.ts` looks for that in all of `src`.
 */
export function withPreemptionDisabled<T extends Unpinned, A = undefined>(
  task: Task,
  body: (cpu: PinnedProcessor, argument: A) => T,
  argument?: A,
): T {
  const cpu = task.cpu
  if (cpu === null || cpu.current !== task) throw new Error(`task ${task.tid} disables preemption but runs on no processor`)
  return body(pinnedProcessor(cpu), argument as A)
}

/** Runs `body` on each processor, as boot and the loading of a module do. Linux: on_each_cpu(). */
export function onEachProcessor({ cpus }: Kernel, body: (cpu: PinnedProcessor) => Unpinned): void {
  for (const cpu of cpus) body(pinnedProcessor(cpu))
}
