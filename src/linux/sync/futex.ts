import { EAGAIN, EFAULT, EINVAL, ENOSYS, ERESTART_RESTARTBLOCK, ERESTARTSYS, ETIMEDOUT } from '../errno.ts'
import { type MaybePreemptible, type Preemptible, SLEEP } from '../preemption.ts'
import type { SyscallArguments } from '../syscalls/arguments.ts'
import { readTimespec } from '../syscalls/timespec.ts'
import type { Task } from '../task.ts'
import type { FutexWaiter } from './futex-table.ts'

/** futex(2): LUX-23. */

const FUTEX_WAIT = 0
const FUTEX_WAKE = 1
const FUTEX_REQUEUE = 3
const FUTEX_CMP_REQUEUE = 4
const FUTEX_WAKE_OP = 5
const FUTEX_WAIT_BITSET = 9
const FUTEX_WAKE_BITSET = 10
const FUTEX_PRIVATE_FLAG = 128
const FUTEX_CLOCK_REALTIME = 256
const MATCH_ANY = 0xffffffff | 0

export function futex(task: Task, a: SyscallArguments): MaybePreemptible<number> {
  const user = a.long(0)
  const op = a.int(1)
  const value = a.int(2)
  const isPrivate = (op & FUTEX_PRIVATE_FLAG) !== 0
  const command = op & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)
  switch (command) {
    case FUTEX_WAIT:
      return wait(task, a, user, value, isPrivate, MATCH_ANY, false, false)
    case FUTEX_WAIT_BITSET:
      return wait(task, a, user, value, isPrivate, a.int(5), true, (op & FUTEX_CLOCK_REALTIME) !== 0)
    case FUTEX_WAKE:
      return futexWake(task, user, value, MATCH_ANY, !isPrivate)
    case FUTEX_WAKE_BITSET:
      return futexWake(task, user, value, a.int(5), !isPrivate)
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
      return requeue(task, a, user, value, isPrivate, command === FUTEX_CMP_REQUEUE)
    case FUTEX_WAKE_OP:
      return wakeOp(task, a, user, value, isPrivate)
    default:
      task.kernel.syscalls.note(`futex operation ${command}`)
      return -ENOSYS
  }
}

/** Key of a word, or -errno. Shared words are named by their physical page (or, unbacked private memory, by address). */
function keyOf(task: Task, user: number, shared: boolean): string | number {
  if (user % 4 !== 0) return -EINVAL
  if (!task.mm.inUserRange(user, 4)) return -EFAULT
  const vma = task.mm.vmas.find(user)
  if (!shared || vma === null || !vma.shared) {
    if (shared && task.mm.getUser32(user) < 0) return -EFAULT
    return `${task.mm.id}:${user}`
  }
  const page = task.mm.getUserPage(user, false)
  return page < 0 ? -EFAULT : `p:${page - (page % 4096) + (user % 4096)}`
}

function wait(
  task: Task,
  a: SyscallArguments,
  user: number,
  value: number,
  isPrivate: boolean,
  bitset: number,
  absolute: boolean,
  realtime: boolean,
): MaybePreemptible<number> {
  if (bitset === 0) return -EINVAL
  const timeout = a.long(3)
  let deadline = Number.POSITIVE_INFINITY
  if (timeout !== 0) {
    const time = readTimespec(task, timeout)
    if (time < 0) return time
    deadline = absolute
      ? realtime
        ? time - (task.kernel.realTime() - task.kernel.clock.now)
        : time
      : task.kernel.clock.now + time
  }
  return startWait(task, user, value, isPrivate, bitset, deadline)
}

function startWait(
  task: Task,
  user: number,
  value: number,
  isPrivate: boolean,
  bitset: number,
  deadline: number,
): MaybePreemptible<number> {
  const key = keyOf(task, user, !isPrivate)
  if (typeof key === 'number') return key
  const now = task.mm.getUser32(user)
  if (now < 0) return -EFAULT
  if ((now | 0) !== value) return -EAGAIN
  return sleepOn(task, key, user, value, isPrivate, bitset, deadline)
}

function* sleepOn(
  task: Task,
  key: string,
  user: number,
  value: number,
  isPrivate: boolean,
  bitset: number,
  deadline: number,
): Preemptible<number> {
  const { clock, futexes } = task.kernel
  const waiter: FutexWaiter = { task, key, bitset, woken: false }
  futexes.add(waiter)
  const timer = deadline === Number.POSITIVE_INFINITY ? null : clock.arm(deadline, () => task.wake())
  try {
    for (;;) {
      if (waiter.woken) return 0
      if (clock.now >= deadline) return -ETIMEDOUT
      if (task.signalPending()) {
        if (deadline === Number.POSITIVE_INFINITY) return -ERESTARTSYS
        task.restart = () => startWait(task, user, value, isPrivate, bitset, deadline)
        return -ERESTART_RESTARTBLOCK
      }
      task.prepareToSleep()
      yield SLEEP
    }
  } finally {
    futexes.remove(waiter)
    if (timer !== null) clock.cancel(timer)
  }
}

/** Wakes waiters; also used at thread exit. */
export function futexWake(task: Task, user: number, count: number, bitset: number, shared: boolean): number {
  if (bitset === 0) return -EINVAL
  const key = keyOf(task, user, shared)
  if (typeof key === 'number') return key
  return task.kernel.futexes.wake(key, Math.max(count, 1), bitset)
}

function requeue(task: Task, a: SyscallArguments, user: number, wakeCount: number, isPrivate: boolean, compare: boolean): number {
  const from = keyOf(task, user, !isPrivate)
  const to = keyOf(task, a.long(4), !isPrivate)
  if (typeof from === 'number') return from
  if (typeof to === 'number') return to
  const requeueCount = a.int(3)
  if (wakeCount < 0 || requeueCount < 0) return -EINVAL
  if (compare) {
    const now = task.mm.getUser32(user)
    if (now < 0) return -EFAULT
    if ((now | 0) !== a.int(5)) return -EAGAIN
  }
  const { futexes } = task.kernel
  const woken = wakeCount === 0 ? 0 : futexes.wake(from, wakeCount, MATCH_ANY)
  return woken + futexes.requeue(from, to, requeueCount)
}

/** FUTEX_WAKE_OP: changes the second word atomically and wakes on it depending on what it held. */
function wakeOp(task: Task, a: SyscallArguments, user: number, count: number, isPrivate: boolean): number {
  const second = a.long(4)
  const encoded = a.int(5)
  const from = keyOf(task, user, !isPrivate)
  const to = keyOf(task, second, !isPrivate)
  if (typeof from === 'number') return from
  if (typeof to === 'number') return to
  const raw = task.mm.getUser32(second)
  if (raw < 0) return -EFAULT
  const old = raw | 0
  let operand = (encoded << 8) >> 20
  if ((encoded & 0x80000000) !== 0) operand = 1 << (operand & 31)
  const operations = [operand, (old + operand) | 0, old | operand, old & ~operand, old ^ operand]
  const operation = (encoded >>> 28) & 7
  if (operation > 4) return -ENOSYS
  if (!task.mm.putUser32(second, operations[operation])) return -EFAULT
  const comparand = (encoded << 20) >> 20
  const comparisons = [old === comparand, old !== comparand, old < comparand, old <= comparand, old > comparand, old >= comparand]
  const comparison = (encoded >>> 24) & 15
  if (comparison > 5) return -ENOSYS
  const { futexes } = task.kernel
  const woken = futexes.wake(from, Math.max(count, 1), MATCH_ANY)
  return comparisons[comparison] ? woken + futexes.wake(to, Math.max(a.int(3), 1), MATCH_ANY) : woken
}
