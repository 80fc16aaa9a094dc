import { EBADF, EFAULT, EINVAL } from '../errno.ts'
import { type OpenFile, POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT } from '../file.ts'
import { type MaybePreemptible, type Preemptible, SLEEP } from '../preemption.ts'
import { SignalSet } from '../signal/signal-set.ts'
import type { Task } from '../task.ts'
import type { SyscallArguments } from './arguments.ts'
import { full, type SyscallRows } from './support.ts'
import { readTimespec } from './timespec.ts'

const POLLPRI = 2

/** Waiting for files. */
export const pollCalls: SyscallRows = {
  7: {
    name: 'poll',
    args: 'ptr uint int',
    support: full,
    run: (task, a) =>
      poll(task, a.long(0), a.u32(1), a.int(2) < 0 ? Number.POSITIVE_INFINITY : task.kernel.clock.now + a.int(2) * 1e6),
  },
  23: { name: 'select', args: 'int ptr ptr ptr ptr', support: full, run: select },
  270: { name: 'pselect6', args: 'int ptr ptr ptr ptr ptr', support: full, run: pselect6 },
  271: { name: 'ppoll', args: 'ptr uint ptr ptr size', support: full, run: ppoll },
}

interface Watched {
  readonly fd: number
  readonly wanted: number
  file: OpenFile | null
}

function readyOf(watched: Watched): number {
  if (watched.fd < 0) return 0
  if (watched.file === null) return POLLNVAL
  return watched.file.poll() & (watched.wanted | POLLERR | POLLHUP)
}

/** Sleeps until one of the files is ready; the result is the number that are. `store` writes what was found. */
function waitForFiles(
  task: Task,
  list: Watched[],
  deadline: number,
  store: (ready: number[]) => number,
): MaybePreemptible<number> {
  const ready = list.map(readyOf)
  if (ready.some((bits) => bits !== 0) || task.kernel.clock.now >= deadline) return store(ready)
  return sleepForFiles(task, list, deadline, store)
}

function* sleepForFiles(task: Task, list: Watched[], deadline: number, store: (ready: number[]) => number): Preemptible<number> {
  const { clock } = task.kernel
  const queues = new Set(list.map((each) => each.file?.pollQueue ?? null).filter((queue) => queue !== null))
  for (const queue of queues) queue.add(task)
  const timer = deadline === Number.POSITIVE_INFINITY ? null : clock.arm(deadline, () => task.wake())
  try {
    for (;;) {
      const ready = list.map(readyOf)
      if (ready.some((bits) => bits !== 0) || clock.now >= deadline) return store(ready)
      // poll goes on after a signal without handler; with one it is EINTR (ERESTARTNOHAND).
      if (task.signalPending()) return -514
      task.prepareToSleep()
      yield SLEEP
    }
  } finally {
    for (const queue of queues) queue.remove(task)
    if (timer !== null) clock.cancel(timer)
  }
}

function poll(task: Task, user: number, count: number, deadline: number): MaybePreemptible<number> {
  if (count > task.group.limits.soft[7]) return -EINVAL
  const list: Watched[] = []
  for (let i = 0; i < count; i++) {
    const fd = task.mm.getUser32(user + i * 8)
    const events = task.mm.getUser32(user + i * 8 + 4)
    if (fd < 0 || events < 0) return -EFAULT
    list.push({ fd: fd | 0, wanted: events & 0xffff, file: task.files.get(fd | 0) })
  }
  return waitForFiles(task, list, deadline, (ready) => {
    let found = 0
    for (let i = 0; i < count; i++) {
      if (!task.mm.putUser32(user + i * 8 + 4, list[i].wanted | (ready[i] << 16))) return -EFAULT
      if (ready[i] !== 0) found++
    }
    return found
  })
}

/** Replaces the mask for the length of the call. False: EFAULT. */
function temporaryMask(task: Task, user: number): boolean {
  if (user === 0) return true
  if (!task.mm.getUser64(user)) return false
  const saved = new SignalSet()
  saved.copy(task.blocked)
  task.savedBlocked = saved
  task.blocked.set(task.mm.lo & ~((1 << 8) | (1 << 18)), task.mm.hi)
  return true
}

function ppoll(task: Task, a: SyscallArguments): MaybePreemptible<number> {
  let deadline = Number.POSITIVE_INFINITY
  if (a.long(2) !== 0) {
    const time = readTimespec(task, a.long(2))
    if (time < 0) return time
    deadline = task.kernel.clock.now + time
  }
  if (!temporaryMask(task, a.long(3))) return -EFAULT
  return poll(task, a.long(0), a.u32(1), deadline)
}

function select(task: Task, a: SyscallArguments): MaybePreemptible<number> {
  let deadline = Number.POSITIVE_INFINITY
  if (a.long(4) !== 0) {
    const seconds = task.mm.getUserLong(a.long(4))
    const micros = task.mm.getUserLong(a.long(4) + 8)
    if (Number.isNaN(seconds) || Number.isNaN(micros)) return -EFAULT
    if (seconds < 0 || micros < 0) return -EINVAL
    deadline = task.kernel.clock.now + seconds * 1e9 + micros * 1000
  }
  return selectFiles(task, a, deadline)
}

function pselect6(task: Task, a: SyscallArguments): MaybePreemptible<number> {
  let deadline = Number.POSITIVE_INFINITY
  if (a.long(4) !== 0) {
    const time = readTimespec(task, a.long(4))
    if (time < 0) return time
    deadline = task.kernel.clock.now + time
  }
  if (a.long(5) !== 0) {
    const mask = task.mm.getUserLong(a.long(5))
    if (Number.isNaN(mask) || !temporaryMask(task, mask)) return -EFAULT
  }
  return selectFiles(task, a, deadline)
}

const SETS = [POLLIN | POLLHUP | POLLERR, POLLOUT | POLLERR, POLLPRI]

function selectFiles(task: Task, a: SyscallArguments, deadline: number): MaybePreemptible<number> {
  const count = a.int(0)
  if (count < 0) return -EINVAL
  const users = [a.long(1), a.long(2), a.long(3)]
  const words = Math.ceil(count / 32)
  const sets: number[][] = []
  for (const user of users) {
    const set: number[] = []
    for (let i = 0; i < words; i++) {
      const word = user === 0 ? 0 : task.mm.getUser32(user + i * 4)
      if (word < 0) return -EFAULT
      set.push(word)
    }
    sets.push(set)
  }
  const list: Watched[] = []
  for (let fd = 0; fd < count; fd++) {
    let wanted = 0
    SETS.forEach((events, i) => {
      if ((sets[i][fd >> 5] >>> (fd & 31)) & 1) wanted |= events
    })
    if (wanted === 0) continue
    const file = task.files.get(fd)
    if (file === null) return -EBADF
    list.push({ fd, wanted, file })
  }
  return waitForFiles(task, list, deadline, (ready) => storeSets(task, users, sets, words, list, ready))
}

function storeSets(task: Task, users: number[], sets: number[][], words: number, list: Watched[], ready: number[]): number {
  let found = 0
  for (let i = 0; i < 3; i++) {
    if (users[i] === 0) continue
    const out = new Array<number>(words).fill(0)
    list.forEach((each, at) => {
      const asked = (sets[i][each.fd >> 5] >>> (each.fd & 31)) & 1
      if (asked !== 0 && (ready[at] & SETS[i]) !== 0) {
        out[each.fd >> 5] |= 1 << (each.fd & 31)
        found++
      }
    })
    for (let word = 0; word < words; word++) if (!task.mm.putUser32(users[i] + word * 4, out[word])) return -EFAULT
  }
  return found
}
