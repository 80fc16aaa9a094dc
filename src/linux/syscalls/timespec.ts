import { EFAULT, EINVAL } from '../errno.ts'
import type { Task } from '../task.ts'

/** struct timespec as ns, or -errno. */
export function readTimespec(task: Task, user: number): number {
  const seconds = task.mm.getUserLong(user)
  const nanoseconds = task.mm.getUserLong(user + 8)
  if (Number.isNaN(seconds) || Number.isNaN(nanoseconds)) return -EFAULT
  if (seconds < 0 || nanoseconds < 0 || nanoseconds >= 1e9) return -EINVAL
  // Beyond 2^53 ns the sum loses digits nobody can tell apart: a hundred days.
  return Math.min(seconds, 9e9) * 1e9 + nanoseconds
}

export function writeTimespec(task: Task, user: number, ns: number): boolean {
  const seconds = Math.floor(ns / 1e9)
  return task.mm.putUserLong(user, seconds) && task.mm.putUserLong(user + 8, ns - seconds * 1e9)
}

export function writeTimeval(task: Task, user: number, ns: number): boolean {
  const seconds = Math.floor(ns / 1e9)
  return task.mm.putUserLong(user, seconds) && task.mm.putUserLong(user + 8, Math.floor((ns - seconds * 1e9) / 1000))
}
