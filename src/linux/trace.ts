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
  /** Extended state: `fpstate_grown`, `permission`, ... with the values. */
  fpu?: (event: string, task: Task, values: Record<string, number>) => void
  /** Anything KVM reports under the kernel's own event names. */
  event?: (name: string, task: Task | null, values: Record<string, number | string>) => void
  /** The scheduler put a task on a processor. */
  schedule?: (task: Task, cpu: number) => void
}
