import { ECHILD, EFAULT, EINVAL, ERESTARTSYS } from '../errno.ts'
import type { MaybePreemptible, Preemptible } from '../preemption.ts'
import { collectTracee } from '../ptrace/link.ts'
import type { SyscallArguments } from '../syscalls/arguments.ts'
import type { Task } from '../task.ts'
import type { ThreadGroup, WaitStatus } from '../thread-group.ts'
import { WOKEN, waitUntil } from '../wait-queue.ts'
import { release } from './exit.ts'

export const WNOHANG = 1
export const WUNTRACED = 2
export const WEXITED = 4
export const WCONTINUED = 8
export const WNOWAIT = 0x01000000
const WNOTHREAD = 0x20000000
const WALL = 0x40000000
const WCLONE = 0x80000000 | 0

const P_ALL = 0
const P_PID = 1
const P_PGID = 2

/** What a wait found. */
export interface ChildEvent {
  readonly pid: number
  readonly status: WaitStatus
}

/** Which children, and which of their changes. */
interface Wanted {
  readonly matches: (pid: number, pgid: number) => boolean
  readonly options: number
}

/** wait4(2): LUX-25. */
export function wait4(task: Task, a: SyscallArguments): MaybePreemptible<number> {
  const pid = a.int(0)
  const options = a.int(2)
  if ((options & ~(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE)) !== 0) return -EINVAL
  const group = task.group
  const matches =
    pid > 0
      ? (p: number) => p === pid
      : pid === -1
        ? () => true
        : pid === 0
          ? (_p: number, g: number) => g === group.pgid
          : (_p: number, g: number) => g === -pid
  const wanted = { matches, options: options | WEXITED }
  return run(task, wanted, (event) => {
    if (event === null) return 0
    const status = a.long(1)
    const usage = a.long(3)
    if (status !== 0 && !task.mm.putUser32(status, event.status)) return -EFAULT
    if (usage !== 0 && !task.mm.clearUser(usage, 144)) return -EFAULT
    return event.pid
  })
}

/** waitid(2). */
export function waitid(task: Task, a: SyscallArguments): MaybePreemptible<number> {
  const type = a.int(0)
  const id = a.int(1)
  const user = a.long(2)
  const options = a.int(3)
  if ((options & ~(WNOHANG | WUNTRACED | WEXITED | WCONTINUED | WNOWAIT | WNOTHREAD | WALL | WCLONE)) !== 0) return -EINVAL
  if ((options & (WUNTRACED | WEXITED | WCONTINUED)) === 0) return -EINVAL
  if (type !== P_ALL && type !== P_PID && type !== P_PGID) return -EINVAL
  const matches = (p: number, g: number) =>
    type === P_ALL || (type === P_PID ? p === id : g === (id === 0 ? task.group.pgid : id))
  return run(task, { matches, options }, (event) => {
    if (user === 0) return 0
    const bytes = new Uint8Array(128)
    const view = new DataView(bytes.buffer)
    if (event !== null) {
      const killed = (event.status & 0x7f) !== 0
      const stopped = (event.status & 0xff) === 0x7f
      view.setInt32(0, 17, true)
      view.setInt32(8, event.status === 0xffff ? 6 : stopped ? 5 : killed ? ((event.status & 0x80) !== 0 ? 3 : 2) : 1, true)
      view.setInt32(16, event.pid, true)
      view.setInt32(20, task.kernel.uid, true)
      view.setInt32(24, event.status === 0xffff ? 18 : stopped || !killed ? event.status >> 8 : event.status & 0x7f, true)
    }
    return task.mm.copyToUser(user, bytes, 0, 128) ? 0 : -EFAULT
  })
}

function run(task: Task, wanted: Wanted, store: (event: ChildEvent | null) => number): MaybePreemptible<number> {
  const event = look(task, wanted)
  if (event !== 'nothing yet') return event === 'no child' ? -ECHILD : store(event)
  if ((wanted.options & WNOHANG) !== 0) return store(null)
  return waitAndStore(task, wanted, store)
}

function* waitAndStore(task: Task, wanted: Wanted, store: (event: ChildEvent | null) => number): Preemptible<number> {
  let event = look(task, wanted)
  const result = yield* waitUntil(task, task.group.childEvents, () => {
    if (event === 'nothing yet') event = look(task, wanted)
    return event !== 'nothing yet'
  })
  if (event === 'no child') return -ECHILD
  if (event !== 'nothing yet') return store(event)
  return result === WOKEN ? 0 : -ERESTARTSYS
}

function look(task: Task, wanted: Wanted): ChildEvent | 'no child' | 'nothing yet' {
  let any = false
  const tracee = collectTracee(task, wanted.matches, (wanted.options & WNOWAIT) === 0)
  if (tracee === 'waiting') any = true
  else if (tracee !== null) return tracee
  for (const child of task.group.children) {
    if (!wanted.matches(child.pid, child.pgid)) continue
    any = true
    const event = eventOf(child, wanted.options)
    if (event !== null) return event
  }
  return any ? 'nothing yet' : 'no child'
}

function eventOf(child: ThreadGroup, options: number): ChildEvent | null {
  const keep = (options & WNOWAIT) !== 0
  if (child.zombie && (options & WEXITED) !== 0) {
    // A tracer other than the parent collects it first.
    if (child.leader.ptrace !== null && child.leader.ptrace.tracer.group !== child.parent) return null
    if (!keep) release(child)
    return { pid: child.pid, status: child.groupExit ?? 0 }
  }
  if (child.stopSignal !== 0 && !child.stopReported && (options & WUNTRACED) !== 0) {
    if (!keep) child.stopReported = true
    return { pid: child.pid, status: (child.stopSignal << 8) | 0x7f }
  }
  if (!child.continuedReported && (options & WCONTINUED) !== 0) {
    if (!keep) child.continuedReported = true
    return { pid: child.pid, status: 0xffff }
  }
  return null
}
