import { EFAULT, EINVAL, EPERM, ESRCH } from '../errno.ts'
import { execve } from '../exec/execve.ts'
import { clone, clone3, fork, vfork } from '../proc/clone.ts'
import { exitGroup, exitTask } from '../proc/exit.ts'
import { wait4, waitid } from '../proc/wait.ts'
import { ptrace } from '../ptrace/requests.ts'
import { rseq } from '../sched/rseq.ts'
import { readLdt, writeLdt } from '../segments/ldt.ts'
import { mapShadowStack } from '../shstk/area.ts'
import { futex } from '../sync/futex.ts'
import type { Task } from '../task.ts'
import { archPrctl } from './arch-prctl.ts'
import type { SyscallArguments } from './arguments.ts'
import { prctl } from './prctl.ts'
import { full, partial, refused, type SyscallRows } from './support.ts'

/** Processes and threads: LUX §3, §5. */
export const processCalls: SyscallRows = {
  39: { name: 'getpid', args: '', support: full, run: (task) => task.group.pid },
  56: { name: 'clone', args: 'CLONE ptr ptr ptr hex', support: partial('no namespaces, no pidfd'), run: clone },
  57: { name: 'fork', args: '', support: full, run: fork },
  58: { name: 'vfork', args: '', support: full, run: vfork },
  59: {
    name: 'execve',
    args: 'str ptr ptr',
    support: partial('static x86-64 programs and #! scripts'),
    run: (task, a) => execve(task, -100, a.long(0), a.long(1), a.long(2)),
  },
  60: {
    name: 'exit',
    args: 'int',
    support: full,
    run: (task, a) => {
      exitTask(task, (a.int(0) & 0xff) << 8)
      return 0
    },
  },
  61: { name: 'wait4', args: 'int ptr WAIT ptr', support: full, run: wait4 },
  101: { name: 'ptrace', args: 'PTRACE int ptr ptr', support: partial('LUX-54'), run: ptrace },
  102: { name: 'getuid', args: '', support: full, run: (task) => task.kernel.uid },
  104: { name: 'getgid', args: '', support: full, run: (task) => task.kernel.gid },
  105: {
    name: 'setuid',
    args: 'int',
    support: partial('only to itself'),
    run: (task, a) => (a.int(0) === task.kernel.uid ? 0 : -EPERM),
  },
  106: {
    name: 'setgid',
    args: 'int',
    support: partial('only to itself'),
    run: (task, a) => (a.int(0) === task.kernel.gid ? 0 : -EPERM),
  },
  107: { name: 'geteuid', args: '', support: full, run: (task) => task.kernel.uid },
  108: { name: 'getegid', args: '', support: full, run: (task) => task.kernel.gid },
  109: { name: 'setpgid', args: 'int int', support: full, run: (task, a) => setpgid(task, a.int(0), a.int(1)) },
  110: { name: 'getppid', args: '', support: full, run: (task) => task.group.parent?.pid ?? 1 },
  111: { name: 'getpgrp', args: '', support: full, run: (task) => task.group.pgid },
  112: { name: 'setsid', args: '', support: full, run: setsid },
  115: { name: 'getgroups', args: 'int ptr', support: full, run: () => 0 },
  117: {
    name: 'setresuid',
    args: 'int int int',
    support: partial('only to itself'),
    run: (task, a) => onlyItself(task.kernel.uid, a),
  },
  118: { name: 'getresuid', args: 'ptr ptr ptr', support: full, run: (task, a) => storeThree(task, a, task.kernel.uid) },
  119: {
    name: 'setresgid',
    args: 'int int int',
    support: partial('only to itself'),
    run: (task, a) => onlyItself(task.kernel.gid, a),
  },
  120: { name: 'getresgid', args: 'ptr ptr ptr', support: full, run: (task, a) => storeThree(task, a, task.kernel.gid) },
  121: {
    name: 'getpgid',
    args: 'int',
    support: full,
    run: (task, a) => (a.int(0) === 0 ? task.group : task.kernel.groups.get(a.int(0)))?.pgid ?? -ESRCH,
  },
  124: {
    name: 'getsid',
    args: 'int',
    support: full,
    run: (task, a) => (a.int(0) === 0 ? task.group : task.kernel.groups.get(a.int(0)))?.sid ?? -ESRCH,
  },
  154: {
    name: 'modify_ldt',
    args: 'int ptr size',
    support: partial('no 16-bit segments'),
    run: (task, a) => (a.int(0) === 0 ? readLdt(task, a.long(1), a.long(2)) : writeLdt(task, a.int(0), a.long(1), a.long(2))),
  },
  157: { name: 'prctl', args: 'int hex hex hex hex', support: partial('names, dumpable, no_new_privs'), run: prctl },
  158: { name: 'arch_prctl', args: 'ARCH hex', support: full, run: archPrctl },
  172: { name: 'iopl', args: 'int', support: refused('EPERM', 'needs privilege'), run: () => -EPERM },
  173: {
    name: 'ioperm',
    args: 'hex int int',
    support: refused('EPERM', 'needs privilege'),
    run: (_task, a) => (a.int(2) === 0 ? 0 : -EPERM),
  },
  186: { name: 'gettid', args: '', support: full, run: (task) => task.tid },
  202: { name: 'futex', args: 'ptr FUTEX int ptr ptr hex', support: partial('no priority inheritance'), run: futex },
  218: {
    name: 'set_tid_address',
    args: 'ptr',
    support: full,
    run: (task, a) => {
      task.clearChildTid = a.long(0)
      return task.tid
    },
  },
  231: {
    name: 'exit_group',
    args: 'int',
    support: full,
    run: (task, a) => {
      exitGroup(task, (a.int(0) & 0xff) << 8)
      return 0
    },
  },
  247: { name: 'waitid', args: 'int int ptr WAIT ptr', support: full, run: waitid },
  273: {
    name: 'set_robust_list',
    args: 'ptr size',
    support: full,
    run: (task, a) => {
      if (a.long(1) !== 24) return -EINVAL
      task.robustList = a.long(0)
      return 0
    },
  },
  274: {
    name: 'get_robust_list',
    args: 'int ptr ptr',
    support: full,
    run: (task, a) => {
      const target = a.int(0) === 0 ? task : task.kernel.tasks.get(a.int(0))
      if (target === undefined) return -ESRCH
      return task.mm.putUserLong(a.long(1), target.robustList) && task.mm.putUserLong(a.long(2), 24) ? 0 : -EFAULT
    },
  },
  322: {
    name: 'execveat',
    args: 'dirfd str ptr ptr hex',
    support: partial('no AT_EMPTY_PATH'),
    run: (task, a) => execve(task, a.int(0), a.long(1), a.long(2), a.long(3)),
  },
  334: {
    name: 'rseq',
    args: 'ptr uint hex hex',
    support: full,
    run: (task, a) => rseq(task, a.long(0), a.u32(1), a.int(2), a.u32(3)),
  },
  435: { name: 'clone3', args: 'ptr size', support: partial('no namespaces, no pidfd, no cgroup'), run: clone3 },
  453: { name: 'map_shadow_stack', args: 'ptr size hex', support: full, run: mapShadowStack },
}

function onlyItself(id: number, a: SyscallArguments): number {
  for (let i = 0; i < 3; i++) if (a.int(i) !== -1 && a.int(i) !== id) return -EPERM
  return 0
}

function storeThree(task: Task, a: SyscallArguments, id: number): number {
  for (let i = 0; i < 3; i++) if (!task.mm.putUser32(a.long(i), id)) return -EFAULT
  return 0
}

function setpgid(task: Task, pid: number, pgid: number): number {
  if (pgid < 0) return -EINVAL
  const group = pid === 0 ? task.group : task.kernel.groups.get(pid)
  if (group === undefined || (group !== task.group && group.parent !== task.group)) return -ESRCH
  if (group !== task.group && group.hasExecuted) return -13
  if (group.sid === group.pid) return -EPERM
  const wanted = pgid === 0 ? group.pid : pgid
  if (
    wanted !== group.pid &&
    ![...task.kernel.groups.values()].some((each) => each.pgid === wanted && each.sid === task.group.sid)
  ) {
    return -EPERM
  }
  group.pgid = wanted
  return 0
}

function setsid(task: Task): number {
  const { group } = task
  if ([...task.kernel.groups.values()].some((each) => each.pgid === group.pid)) return -EPERM
  group.pgid = group.pid
  group.sid = group.pid
  return group.pid
}
