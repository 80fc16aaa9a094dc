import type { Task } from '../task.ts'

/** A task waiting on a futex word. */
export interface FutexWaiter {
  readonly task: Task
  key: string
  readonly bitset: number
  woken: boolean
}

/** Who waits on which word, in order of arrival. Keys: private words by address space and address, shared ones by physical page. */
export class FutexTable {
  private readonly queues = new Map<string, FutexWaiter[]>()

  add(waiter: FutexWaiter): void {
    const queue = this.queues.get(waiter.key)
    if (queue === undefined) this.queues.set(waiter.key, [waiter])
    else queue.push(waiter)
  }

  remove(waiter: FutexWaiter): void {
    const queue = this.queues.get(waiter.key)
    if (queue === undefined) return
    const index = queue.indexOf(waiter)
    if (index >= 0) queue.splice(index, 1)
    if (queue.length === 0) this.queues.delete(waiter.key)
  }

  /** Wakes up to `count` waiters whose bitset meets `bitset`. */
  wake(key: string, count: number, bitset: number): number {
    const queue = this.queues.get(key)
    if (queue === undefined) return 0
    let woken = 0
    for (const waiter of [...queue]) {
      if (woken >= count) break
      if ((waiter.bitset & bitset) === 0) continue
      this.remove(waiter)
      waiter.woken = true
      waiter.task.wake()
      woken++
    }
    return woken
  }

  /** Moves up to `count` waiters to another word. */
  requeue(from: string, to: string, count: number): number {
    const queue = this.queues.get(from)
    if (queue === undefined || from === to) return 0
    let moved = 0
    for (const waiter of [...queue]) {
      if (moved >= count) break
      this.remove(waiter)
      waiter.key = to
      this.add(waiter)
      moved++
    }
    return moved
  }
}
