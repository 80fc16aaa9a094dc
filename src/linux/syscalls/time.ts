import { EFAULT, EINVAL, ENODEV, EOPNOTSUPP, EPERM, ERESTART_RESTARTBLOCK } from '../errno.ts'
import { type MaybePreemptible, type Preemptible, SLEEP } from '../preemption.ts'
import { IntervalTimers } from '../signal/interval-timers.ts'
import type { Task } from '../task.ts'
import type { SyscallArguments } from './arguments.ts'
import { full, partial, type SyscallRows } from './support.ts'
import { readTimespec, writeTimespec, writeTimeval } from './timespec.ts'

const CLOCK_REALTIME = 0
const CLOCK_MONOTONIC = 1
const CLOCK_PROCESS_CPUTIME_ID = 2
const CLOCK_THREAD_CPUTIME_ID = 3
const CLOCK_MONOTONIC_RAW = 4
const CLOCK_REALTIME_COARSE = 5
const CLOCK_MONOTONIC_COARSE = 6
const CLOCK_BOOTTIME = 7
const CLOCK_TAI = 11
const TIMER_ABSTIME = 1
/** One jiffy at HZ = 250, the resolution of the coarse clocks. */
const COARSE = 4_000_000

/** Time: LUX-04, -53. */
export const timeCalls: SyscallRows = {
  35: { name: 'nanosleep', args: 'ptr ptr', support: full, run: (task, a) => nanosleep(task, a.long(0), a.long(1)) },
  36: {
    name: 'getitimer',
    args: 'int ptr',
    support: partial('ITIMER_REAL only'),
    run: (task, a) => getitimer(task, a.int(0), a.long(1)),
  },
  37: { name: 'alarm', args: 'uint', support: full, run: (task, a) => alarm(task, a.u32(0)) },
  38: { name: 'setitimer', args: 'int ptr ptr', support: partial('ITIMER_REAL only'), run: setitimer },
  96: { name: 'gettimeofday', args: 'ptr ptr', support: full, run: gettimeofday },
  100: {
    name: 'times',
    args: 'ptr',
    support: partial('all time is user time'),
    run: (task, a) => {
      const user = a.long(0)
      const ticks = (ns: number) => Math.floor(ns / 1e7)
      if (user !== 0) {
        const values = [ticks(processTime(task)), 0, ticks(childrenTime(task)), 0]
        for (let i = 0; i < 4; i++) if (!task.mm.putUserLong(user + i * 8, values[i])) return -EFAULT
      }
      return ticks(task.kernel.clock.now)
    },
  },
  201: {
    name: 'time',
    args: 'ptr',
    support: full,
    run: (task, a) => {
      const seconds = Math.floor(task.kernel.realTime() / 1e9)
      return a.long(0) === 0 || task.mm.putUserLong(a.long(0), seconds) ? seconds : -EFAULT
    },
  },
  219: {
    name: 'restart_syscall',
    args: '',
    support: full,
    run: (task) => {
      const { restart } = task
      task.restart = null
      return restart === null ? -4 : restart()
    },
  },
  227: { name: 'clock_settime', args: 'int ptr', support: full, run: () => -EPERM },
  228: { name: 'clock_gettime', args: 'CLOCK ptr', support: full, run: clockGettime },
  229: { name: 'clock_getres', args: 'CLOCK ptr', support: full, run: clockGetres },
  230: { name: 'clock_nanosleep', args: 'CLOCK hex ptr ptr', support: full, run: clockNanosleep },
}

function cpuNs(task: Task, instructions: number): number {
  return Math.floor((instructions * 1000) / task.kernel.clock.instructionsPerMicrosecond)
}

/** CPU time of the whole process, ns. */
export function processTime(task: Task): number {
  let instructions = task.group.deadTime
  for (const each of task.group.tasks) instructions += each.runInstructions
  return cpuNs(task, instructions)
}

export function childrenTime(task: Task): number {
  return cpuNs(task, task.group.childrenTime)
}

export function threadTime(task: Task): number {
  return cpuNs(task, task.runInstructions)
}

/** Value of a clock in ns, or -errno. */
function clockValue(task: Task, clock: number): number {
  const { kernel } = task
  switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_TAI:
      return kernel.realTime()
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_BOOTTIME:
      return kernel.clock.now
    case CLOCK_REALTIME_COARSE:
      return kernel.realTime() - (kernel.clock.now % COARSE)
    case CLOCK_MONOTONIC_COARSE:
      return kernel.clock.now - (kernel.clock.now % COARSE)
    case CLOCK_PROCESS_CPUTIME_ID:
      return processTime(task)
    case CLOCK_THREAD_CPUTIME_ID:
      return threadTime(task)
    default:
      return cpuClock(task, clock)
  }
}

/** Clocks of another process or thread (clock_getcpuclockid): bits 2..0 say which, the rest is the complemented pid. */
function cpuClock(task: Task, clock: number): number {
  if (clock >= 0) return -EINVAL
  const pid = ~(clock >> 3)
  const perThread = (clock & 4) !== 0
  if ((clock & 3) === 3) return -EINVAL
  if (perThread) {
    const target = pid === 0 ? task : task.kernel.tasks.get(pid)
    return target === undefined ? -EINVAL : threadTime(target)
  }
  const group = pid === 0 ? task.group : task.kernel.groups.get(pid)
  return group === undefined ? -EINVAL : processTime(group.leader)
}

function clockGettime(task: Task, a: SyscallArguments): number {
  const now = clockValue(task, a.int(0))
  if (now < 0) return now
  return writeTimespec(task, a.long(1), now) ? 0 : -EFAULT
}

function clockGetres(task: Task, a: SyscallArguments): number {
  const clock = a.int(0)
  const now = clockValue(task, clock)
  if (now < 0) return now
  const resolution = clock === CLOCK_REALTIME_COARSE || clock === CLOCK_MONOTONIC_COARSE ? COARSE : 1
  return a.long(1) === 0 || writeTimespec(task, a.long(1), resolution) ? 0 : -EFAULT
}

function gettimeofday(task: Task, a: SyscallArguments): number {
  if (a.long(0) !== 0 && !writeTimeval(task, a.long(0), task.kernel.realTime())) return -EFAULT
  return a.long(1) === 0 || task.mm.putUser64(a.long(1), 0, 0) ? 0 : -EFAULT
}

function nanosleep(task: Task, request: number, remainder: number): MaybePreemptible<number> {
  const time = readTimespec(task, request)
  return time < 0 ? time : sleepUntil(task, task.kernel.clock.now + time, remainder)
}

function clockNanosleep(task: Task, a: SyscallArguments): MaybePreemptible<number> {
  const clock = a.int(0)
  const time = readTimespec(task, a.long(2))
  if (time < 0) return time
  const { kernel } = task
  if (clock === CLOCK_THREAD_CPUTIME_ID) return -EINVAL
  if (clock !== CLOCK_REALTIME && clock !== CLOCK_MONOTONIC && clock !== CLOCK_BOOTTIME && clock !== CLOCK_TAI) {
    return clock === CLOCK_MONOTONIC_RAW || clock === CLOCK_REALTIME_COARSE || clock === CLOCK_MONOTONIC_COARSE
      ? -EOPNOTSUPP
      : -EINVAL
  }
  if ((a.int(1) & TIMER_ABSTIME) === 0) return sleepUntil(task, kernel.clock.now + time, a.long(3))
  const realtime = clock === CLOCK_REALTIME || clock === CLOCK_TAI
  return sleepUntil(task, realtime ? time - (kernel.realTime() - kernel.clock.now) : time, 0, true)
}

/** Sleeps; a signal ends it early, and restart_syscall continues it (LUX-13). */
function* sleepUntil(task: Task, deadline: number, remainder: number, absolute = false): Preemptible<number> {
  const { clock } = task.kernel
  const timer = clock.arm(deadline, () => task.wake())
  try {
    while (clock.now < deadline) {
      if (task.signalPending()) {
        if (absolute) return -514
        if (remainder !== 0 && !writeTimespec(task, remainder, deadline - clock.now)) return -EFAULT
        task.restart = () => sleepUntil(task, deadline, remainder)
        return -ERESTART_RESTARTBLOCK
      }
      task.prepareToSleep()
      yield SLEEP
    }
    return 0
  } finally {
    clock.cancel(timer)
  }
}

function alarm(task: Task, seconds: number): number {
  const timers = IntervalTimers.of(task.group)
  const left = Math.ceil(timers.remaining / 1e9)
  timers.set(seconds * 1e9, 0)
  return left
}

function getitimer(task: Task, which: number, user: number): number {
  if (which !== 0) return which === 1 || which === 2 ? absentTimer(task) : -EINVAL
  return writeItimer(task, user) ? 0 : -EFAULT
}

function absentTimer(task: Task): number {
  task.kernel.syscalls.note('ITIMER_VIRTUAL or ITIMER_PROF')
  return -ENODEV
}

function writeItimer(task: Task, user: number): boolean {
  const timers = IntervalTimers.of(task.group)
  return writeTimeval(task, user, timers.interval) && writeTimeval(task, user + 16, timers.remaining)
}

function readTimeval(task: Task, user: number): number {
  const seconds = task.mm.getUserLong(user)
  const micros = task.mm.getUserLong(user + 8)
  if (Number.isNaN(seconds) || Number.isNaN(micros)) return -EFAULT
  return seconds < 0 || micros < 0 || micros >= 1e6 ? -EINVAL : Math.min(seconds, 9e9) * 1e9 + micros * 1000
}

function setitimer(task: Task, a: SyscallArguments): number {
  if (a.int(0) !== 0) return a.int(0) === 1 || a.int(0) === 2 ? absentTimer(task) : -EINVAL
  let interval = 0
  let value = 0
  if (a.long(1) !== 0) {
    interval = readTimeval(task, a.long(1))
    value = readTimeval(task, a.long(1) + 16)
    if (interval < 0) return interval
    if (value < 0) return value
  }
  if (a.long(2) !== 0 && !writeItimer(task, a.long(2))) return -EFAULT
  IntervalTimers.of(task.group).set(value, interval)
  return 0
}
