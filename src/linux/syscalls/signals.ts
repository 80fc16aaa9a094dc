import { EAGAIN, EFAULT, EINTR, EINVAL, EPERM, ERESTARTNOHAND, ESRCH } from '../errno.ts'
import { type MaybePreemptible, type Preemptible, SLEEP } from '../preemption.ts'
import { SA_RESTORER, SIG_IGN, type SignalAction } from '../signal/actions.ts'
import { sigaltstack } from '../signal/alt-stack.ts'
import { sendGroupSignal, sendSignal } from '../signal/send.ts'
import { writeSiginfo } from '../signal/siginfo.ts'
import { SignalSet } from '../signal/signal-set.ts'
import { defaultAction, NSIG, SI_TKILL, SI_USER, SIGKILL, SIGSTOP, type SignalInfo } from '../signal/signals.ts'
import { rtSigreturn } from '../signal/sigreturn.ts'
import type { Task } from '../task.ts'
import type { ThreadGroup } from '../thread-group.ts'
import type { SyscallArguments } from './arguments.ts'
import { full, partial, type SyscallRows } from './support.ts'
import { readTimespec } from './timespec.ts'

/** Signals: LUX-37, -51, §7. */
export const signalCalls: SyscallRows = {
  13: { name: 'rt_sigaction', args: 'sig ptr ptr size', support: full, run: rtSigaction },
  14: { name: 'rt_sigprocmask', args: 'SIG_HOW ptr ptr size', support: full, run: rtSigprocmask },
  15: { name: 'rt_sigreturn', args: '', support: full, run: (task) => rtSigreturn(task) },
  34: { name: 'pause', args: '', support: full, run: (task) => sleepUntilHandler(task) },
  62: { name: 'kill', args: 'int sig', support: full, run: (task, a) => kill(task, a.int(0), a.int(1)) },
  127: { name: 'rt_sigpending', args: 'ptr size', support: full, run: rtSigpending },
  128: { name: 'rt_sigtimedwait', args: 'ptr ptr ptr size', support: full, run: rtSigtimedwait },
  129: {
    name: 'rt_sigqueueinfo',
    args: 'int sig ptr',
    support: full,
    run: (task, a) => queueInfo(task, a.int(0), 0, a.int(1), a.long(2)),
  },
  130: { name: 'rt_sigsuspend', args: 'ptr size', support: full, run: rtSigsuspend },
  131: { name: 'sigaltstack', args: 'ptr ptr', support: full, run: (task, a) => sigaltstack(task, a.long(0), a.long(1)) },
  200: { name: 'tkill', args: 'int sig', support: full, run: (task, a) => tkill(task, -1, a.int(0), a.int(1)) },
  234: {
    name: 'tgkill',
    args: 'int int sig',
    support: full,
    run: (task, a) => (a.int(0) <= 0 ? -EINVAL : tkill(task, a.int(0), a.int(1), a.int(2))),
  },
  282: { name: 'signalfd', args: 'fd ptr size', support: partial('absent'), run: (task) => absent(task, 'signalfd') },
  289: { name: 'signalfd4', args: 'fd ptr size hex', support: partial('absent'), run: (task) => absent(task, 'signalfd4') },
  297: {
    name: 'rt_tgsigqueueinfo',
    args: 'int int sig ptr',
    support: full,
    run: (task, a) => queueInfo(task, a.int(0), a.int(1), a.int(2), a.long(3)),
  },
}

function absent(task: Task, name: string): number {
  task.kernel.syscalls.note(name)
  return -38
}

function rtSigaction(task: Task, a: SyscallArguments): number {
  const signal = a.int(0)
  const newUser = a.long(1)
  const oldUser = a.long(2)
  if (a.long(3) !== 8) return -EINVAL
  if (signal < 1 || signal > NSIG || (newUser !== 0 && (signal === SIGKILL || signal === SIGSTOP))) return -EINVAL
  const { mm } = task
  let wanted: SignalAction | null = null
  if (newUser !== 0) {
    const bytes = new Uint8Array(32)
    if (!mm.copyFromUser(bytes, 0, newUser, 32)) return -EFAULT
    const view = new DataView(bytes.buffer)
    const long = (at: number) => view.getInt32(at + 4, true) * 4294967296 + view.getUint32(at, true)
    const mask = SignalSet.of()
    mask.set(view.getInt32(24, true), view.getInt32(28, true))
    mask.delete(SIGKILL)
    mask.delete(SIGSTOP)
    wanted = { handler: long(0), flags: view.getInt32(8, true), restorer: long(16), maskLo: mask.lo, maskHi: mask.hi }
  }
  const old = task.actions.get(signal)
  if (wanted !== null) {
    task.actions.set(signal, wanted)
    dropIgnored(task, signal)
  }
  if (oldUser === 0) return 0
  const stored =
    mm.putUserLong(oldUser, old.handler) &&
    mm.putUser64(oldUser + 8, old.flags, 0) &&
    mm.putUserLong(oldUser + 16, (old.flags & SA_RESTORER) !== 0 ? old.restorer : 0) &&
    mm.putUser64(oldUser + 24, old.maskLo, old.maskHi)
  return stored ? 0 : -EFAULT
}

/** A signal that is now ignored and pending is forgotten. */
function dropIgnored(task: Task, signal: number): void {
  const { handler } = task.actions.get(signal)
  if (handler !== SIG_IGN && !(handler === 0 && defaultAction(signal) === 'ignore')) return
  const set = SignalSet.of(signal)
  task.group.pending.flush(set)
  for (const each of task.group.tasks) each.pending.flush(set)
}

const SIG_BLOCK = 0
const SIG_UNBLOCK = 1
const SIG_SETMASK = 2

function rtSigprocmask(task: Task, a: SyscallArguments): number {
  const how = a.int(0)
  const newUser = a.long(1)
  const oldUser = a.long(2)
  if (a.long(3) !== 8) return -EINVAL
  const { mm, blocked } = task
  const oldLo = blocked.lo
  const oldHi = blocked.hi
  if (newUser !== 0) {
    if (!mm.getUser64(newUser)) return -EFAULT
    const wanted = new SignalSet()
    wanted.set(mm.lo, mm.hi)
    wanted.delete(SIGKILL)
    wanted.delete(SIGSTOP)
    if (how === SIG_BLOCK) blocked.union(wanted)
    else if (how === SIG_UNBLOCK) blocked.subtract(wanted)
    else if (how === SIG_SETMASK) blocked.copy(wanted)
    else return -EINVAL
  }
  return oldUser === 0 || mm.putUser64(oldUser, oldLo, oldHi) ? 0 : -EFAULT
}

function rtSigpending(task: Task, a: SyscallArguments): number {
  if (a.long(1) > 8) return -EINVAL
  const lo = (task.pending.set.lo | task.group.pending.set.lo) & task.blocked.lo
  const hi = (task.pending.set.hi | task.group.pending.set.hi) & task.blocked.hi
  return task.mm.putUser64(a.long(0), lo, hi) ? 0 : -EFAULT
}

function* sleepUntilHandler(task: Task): Preemptible<number> {
  while (!task.signalPending()) {
    task.prepareToSleep()
    yield SLEEP
  }
  return -ERESTARTNOHAND
}

function rtSigsuspend(task: Task, a: SyscallArguments): MaybePreemptible<number> {
  if (a.long(1) !== 8) return -EINVAL
  if (!task.mm.getUser64(a.long(0))) return -EFAULT
  const saved = new SignalSet()
  saved.copy(task.blocked)
  task.savedBlocked = saved
  task.blocked.set(task.mm.lo, task.mm.hi)
  task.blocked.delete(SIGKILL)
  task.blocked.delete(SIGSTOP)
  return sleepUntilHandler(task)
}

function rtSigtimedwait(task: Task, a: SyscallArguments): MaybePreemptible<number> {
  if (a.long(3) !== 8) return -EINVAL
  if (!task.mm.getUser64(a.long(0))) return -EFAULT
  const wanted = new SignalSet()
  wanted.set(task.mm.lo, task.mm.hi)
  wanted.delete(SIGKILL)
  wanted.delete(SIGSTOP)
  const infoUser = a.long(1)
  let deadline = Number.POSITIVE_INFINITY
  if (a.long(2) !== 0) {
    const time = readTimespec(task, a.long(2))
    if (time < 0) return time
    deadline = task.kernel.clock.now + time
  }
  const info = takeWanted(task, wanted)
  if (info !== null) return reportSignal(task, info, infoUser)
  return waitForSignal(task, wanted, infoUser, deadline)
}

function takeWanted(task: Task, wanted: SignalSet): SignalInfo | null {
  const none = new SignalSet()
  return task.pending.take(none, wanted) ?? task.group.pending.take(none, wanted)
}

function reportSignal(task: Task, info: SignalInfo, user: number): number {
  if (user === 0) return info.signal
  const bytes = new Uint8Array(128)
  writeSiginfo(new DataView(bytes.buffer), 0, info)
  return task.mm.copyToUser(user, bytes, 0, 128) ? info.signal : -EFAULT
}

function* waitForSignal(task: Task, wanted: SignalSet, user: number, deadline: number): Preemptible<number> {
  const { clock } = task.kernel
  const timer = deadline === Number.POSITIVE_INFINITY ? null : clock.arm(deadline, () => task.wake())
  task.waitsForSignals = true
  try {
    for (;;) {
      const info = takeWanted(task, wanted)
      if (info !== null) return reportSignal(task, info, user)
      if (task.signalPending()) return -EINTR
      if (clock.now >= deadline) return -EAGAIN
      task.prepareToSleep()
      yield SLEEP
    }
  } finally {
    task.waitsForSignals = false
    if (timer !== null) clock.cancel(timer)
  }
}

function kill(task: Task, pid: number, signal: number): number {
  if (signal < 0 || signal > NSIG) return -EINVAL
  const { kernel } = task
  const info: SignalInfo = { signal, code: SI_USER, pid: task.group.pid, uid: kernel.uid }
  if (pid > 0) {
    const group = kernel.groups.get(pid) ?? kernel.tasks.get(pid)?.group
    if (group === undefined) return -ESRCH
    if (signal !== 0) sendGroupSignal(group, info)
    return 0
  }
  let targets: ThreadGroup[]
  if (pid === -1) targets = [...kernel.groups.values()].filter((group) => group !== task.group)
  else {
    const pgid = pid === 0 ? task.group.pgid : -pid
    targets = [...kernel.groups.values()].filter((group) => group.pgid === pgid)
  }
  if (targets.length === 0) return -ESRCH
  if (signal !== 0) for (const group of targets) sendGroupSignal(group, info)
  return 0
}

function tkill(task: Task, tgid: number, tid: number, signal: number): number {
  if (tid <= 0 || signal < 0 || signal > NSIG) return -EINVAL
  const target = task.kernel.tasks.get(tid)
  if (target === undefined || target.state === 'dead' || (tgid > 0 && target.group.pid !== tgid)) return -ESRCH
  if (signal !== 0) sendSignal(target, { signal, code: SI_TKILL, pid: task.group.pid, uid: task.kernel.uid })
  return 0
}

function queueInfo(task: Task, tgid: number, tid: number, signal: number, user: number): number {
  const bytes = new Uint8Array(128)
  if (!task.mm.copyFromUser(bytes, 0, user, 128)) return -EFAULT
  if (signal < 0 || signal > NSIG) return -EINVAL
  const code = new DataView(bytes.buffer).getInt32(8, true)
  // Nobody may pretend to be the kernel or kill(2) towards others.
  if ((code >= 0 || code === SI_TKILL) && tgid !== task.group.pid) return -EPERM
  const info: SignalInfo = { signal, code, raw: bytes.slice(16) }
  if (tid === 0) {
    const group = task.kernel.groups.get(tgid)
    if (group === undefined) return -ESRCH
    if (signal !== 0) sendGroupSignal(group, info)
    return 0
  }
  const target = task.kernel.tasks.get(tid)
  if (target === undefined || target.group.pid !== tgid) return -ESRCH
  if (signal !== 0) sendSignal(target, info)
  return 0
}
