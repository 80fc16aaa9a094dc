import type { Refusal } from './errno.ts'
import type { Task } from './task.ts'

/** What watchers of the kernel are told; every hook is optional and costs nothing while absent. */
export interface KernelTrace {
  /** A system call returns (or never will: `result` null for exit and execve that succeeded). */
  syscall?: (task: Task, text: string, result: number | null, refusal: Refusal | null) => void
  /** A signal is delivered. */
  signal?: (task: Task, text: string) => void
  /** A program ended. */
  exit?: (task: Task, text: string) => void
  /** A refusal that no call returns: an exception of a task, or of a guest that the task runs (`vcpu`: its id, -1 for none). */
  exception?: (task: Task | null, vcpu: number, refusal: Refusal) => void
  /** A program is killed by a signal that an exception became; null: nothing was refused. */
  death?: (task: Task, signal: string, refusal: Refusal | null) => void
  /** Extended state: `fpstate_grown`, `permission`, ... with the values. */
  fpu?: (event: string, task: Task, values: Record<string, number>) => void
  /** Anything KVM reports under the kernel's own event names. */
  event?: (name: string, task: Task | null, values: Record<string, number | string>) => void
  /** The scheduler put a task on a processor. */
  schedule?: (task: Task, cpu: number) => void
}
