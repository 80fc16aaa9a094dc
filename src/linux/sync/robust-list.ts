import type { Task } from '../task.ts'
import { futexWake } from './futex.ts'

const FUTEX_OWNER_DIED = 0x40000000
const FUTEX_WAITERS = 0x80000000
const TID_MASK = 0x3fffffff
const LIMIT = 2048

/** A task dies holding robust mutexes: marks each as ownerless and wakes one waiter (exit_robust_list; LUX-22). */
export function exitRobustList(task: Task): void {
  const head = task.robustList
  task.robustList = 0
  if (head === 0) return
  const { mm } = task
  const offset = mm.getUserLong(head + 8)
  const pending = mm.getUserLong(head + 16)
  let entry = mm.getUserLong(head)
  if (Number.isNaN(offset) || Number.isNaN(pending) || Number.isNaN(entry)) return
  for (let i = 0; i < LIMIT; i++) {
    const address = entry - (entry % 2)
    if (address === head || address === 0) break
    const next = mm.getUserLong(address)
    if (address !== pending - (pending % 2) && !handleDeath(task, address + offset)) return
    if (Number.isNaN(next)) return
    entry = next
  }
  if (pending !== 0) handleDeath(task, pending - (pending % 2) + offset)
}

function handleDeath(task: Task, word: number): boolean {
  const { mm } = task
  const value = mm.getUser32(word)
  if (value < 0) return false
  if ((value & TID_MASK) !== task.tid) return true
  if (!mm.putUser32(word, (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED)) return false
  if ((value & FUTEX_WAITERS) !== 0) futexWake(task, word, 1, -1, true)
  return true
}
