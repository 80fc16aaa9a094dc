import type { MaybePreemptible } from '../preemption.ts'
import type { Task } from '../task.ts'
import type { SyscallArguments } from './arguments.ts'

/** How much of a call is modelled. */
export type Support =
  | { readonly kind: 'full' }
  /** Works as far as `what` says. */
  | { readonly kind: 'partial'; readonly what: string }
  /** Always the same errno, as on a kernel or machine without the facility. */
  | { readonly kind: 'refused'; readonly errno: string; readonly why: string }

export const full: Support = { kind: 'full' }
export const partial = (what: string): Support => ({ kind: 'partial', what })
export const refused = (errno: string, why: string): Support => ({ kind: 'refused', errno, why })

/**
 * One system call. `args` says what strace shows, one word an argument: `fd` `int` `uint` `hex` `ptr` `size` `str` (a string in
 * user memory) `buf` (bytes, length in the next argument) `mode` `sig` or the name of a flag table of `strace-flags.ts`.
 */
export interface SyscallRow {
  readonly name: string
  readonly args: string
  readonly support: Support
  readonly run: (task: Task, a: SyscallArguments) => MaybePreemptible<number>
}

/** Rows by number. */
export type SyscallRows = Readonly<Record<number, SyscallRow>>
