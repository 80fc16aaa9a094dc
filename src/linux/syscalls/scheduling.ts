import { EFAULT, EINVAL, EPERM, ESRCH } from '../errno.ts'
import { type MaybePreemptible, PREEMPTION_POINT, type Preemptible } from '../preemption.ts'
import { mayRunOn, moveAway } from '../sched/affinity.ts'
import type { Task } from '../task.ts'
import type { SyscallArguments } from './arguments.ts'
import { full, partial, type SyscallRows } from './support.ts'

/** Scheduling: LUX-27, -28. */
export const schedulingCalls: SyscallRows = {
  24: { name: 'sched_yield', args: '', support: full, run: schedYield },
  140: { name: 'getpriority', args: 'int int', support: partial('nice is always 0'), run: () => 20 },
  141: {
    name: 'setpriority',
    args: 'int int int',
    support: partial('nice is always 0'),
    run: (_task, a) => (a.int(2) === 0 ? 0 : -13),
  },
  142: { name: 'sched_setparam', args: 'int ptr', support: partial('SCHED_OTHER only'), run: () => 0 },
  143: {
    name: 'sched_getparam',
    args: 'int ptr',
    support: partial('SCHED_OTHER only'),
    run: (task, a) => (task.mm.putUser32(a.long(1), 0) ? 0 : -EFAULT),
  },
  144: {
    name: 'sched_setscheduler',
    args: 'int int ptr',
    support: partial('SCHED_OTHER only'),
    run: (_task, a) => (a.int(1) === 0 || a.int(1) === 3 || a.int(1) === 5 ? 0 : -EPERM),
  },
  145: { name: 'sched_getscheduler', args: 'int', support: partial('SCHED_OTHER only'), run: () => 0 },
  146: {
    name: 'sched_get_priority_max',
    args: 'int',
    support: full,
    run: (_task, a) => (a.int(0) === 1 || a.int(0) === 2 ? 99 : 0),
  },
  147: {
    name: 'sched_get_priority_min',
    args: 'int',
    support: full,
    run: (_task, a) => (a.int(0) === 1 || a.int(0) === 2 ? 1 : 0),
  },
  203: { name: 'sched_setaffinity', args: 'int size ptr', support: full, run: setAffinity },
  204: { name: 'sched_getaffinity', args: 'int size ptr', support: full, run: getAffinity },
  309: { name: 'getcpu', args: 'ptr ptr ptr', support: full, run: getcpu },
}

function* schedYield(task: Task): Preemptible<number> {
  task.yielding = true
  task.cpu!.needResched = true
  yield PREEMPTION_POINT
  return 0
}

function setAffinity(task: Task, a: SyscallArguments): MaybePreemptible<number> {
  const tid = a.int(0)
  const length = a.u32(1)
  const target = tid === 0 ? task : task.kernel.tasks.get(tid)
  if (target === undefined || target.state === 'dead') return -ESRCH
  let mask = 0
  for (let i = 0; i < Math.min(length, 4); i++) {
    const byte = task.mm.getUser8(a.long(2) + i)
    if (byte < 0) return -EFAULT
    mask |= byte << (i * 8)
  }
  const { cpus, onlineMask } = task.kernel
  if ((mask & onlineMask) === 0) return -EINVAL
  // Those that are offline count when they come back.
  target.affinity = mask & ((1 << cpus.length) - 1)
  if (mayRunOn(target, cpus[target.cpuId])) return 0
  if (target !== task) {
    task.kernel.scheduler.migrateAway(target)
    return 0
  }
  return moveAway(task)
}

/** Online processors only. Returns the bytes the kernel's mask has: 8. */
function getAffinity(task: Task, a: SyscallArguments): number {
  const tid = a.int(0)
  const length = a.u32(1)
  const target = tid === 0 ? task : task.kernel.tasks.get(tid)
  if (length * 8 < task.kernel.cpus.length || length % 8 !== 0) return -EINVAL
  if (target === undefined || target.state === 'dead') return -ESRCH
  return task.mm.putUser64(a.long(2), target.affinity & task.kernel.onlineMask, 0) ? 8 : -EFAULT
}

function getcpu(task: Task, a: SyscallArguments): number {
  const { mm } = task
  if (a.long(0) !== 0 && !mm.putUser32(a.long(0), task.cpuId)) return -EFAULT
  return a.long(1) === 0 || mm.putUser32(a.long(1), 0) ? 0 : -EFAULT
}
