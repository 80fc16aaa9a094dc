import { CTL, REG } from '../../machine/execution-context.ts'
import { CONTEXT_STRIDE } from '../../machine/memory-map.ts'
import { E2BIG, EAGAIN, EFAULT, EINVAL, ENOMEM, ERESTARTSYS } from '../errno.ts'
import { cloneFpu } from '../fpu/lifecycle.ts'
import { forkMm } from '../mm/fork.ts'
import type { MaybePreemptible, Preemptible } from '../preemption.ts'
import { attach, PTRACE_O_TRACECLONE, PTRACE_O_TRACEFORK, PTRACE_O_TRACEVFORK } from '../ptrace/link.ts'
import { stopForEvent } from '../ptrace/stops.ts'
import { inheritShadowStack, startShadowStack } from '../shstk/clone.ts'
import { inheritDetection } from '../splitlock/thread-flag.ts'
import type { SyscallArguments } from '../syscalls/arguments.ts'
import { SS_DISABLE, Task } from '../task.ts'
import { ThreadGroup } from '../thread-group.ts'
import { WaitQueue, waitUntil } from '../wait-queue.ts'

/** clone, clone3, fork, vfork: LUX-20, -21. */

export const CLONE_VM = 0x100
export const CLONE_FS = 0x200
export const CLONE_FILES = 0x400
export const CLONE_SIGHAND = 0x800
export const CLONE_PIDFD = 0x1000
export const CLONE_PTRACE = 0x2000
export const CLONE_VFORK = 0x4000
export const CLONE_PARENT = 0x8000
export const CLONE_THREAD = 0x10000
export const CLONE_NEWNS = 0x20000
export const CLONE_SYSVSEM = 0x40000
export const CLONE_SETTLS = 0x80000
export const CLONE_PARENT_SETTID = 0x100000
export const CLONE_CHILD_CLEARTID = 0x200000
export const CLONE_DETACHED = 0x400000
export const CLONE_UNTRACED = 0x800000
export const CLONE_CHILD_SETTID = 0x1000000
const CLONE_CLEAR_SIGHAND = 0x100000000
const NAMESPACES = CLONE_NEWNS | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000

export interface CloneRequest {
  readonly flags: number
  readonly clearHandlers: boolean
  readonly exitSignal: number
  /** New RSP; 0 = the parent's. */
  readonly stack: number
  /** clone3 only; else 0. */
  readonly stackSize: number
  readonly parentTid: number
  readonly childTid: number
  readonly tls: number
}

/** clone(flags, stack, parent_tid, child_tid, tls). */
export function clone(task: Task, a: SyscallArguments): MaybePreemptible<number> {
  const flags = a.u32(0)
  return create(task, {
    flags: flags & ~0xff,
    clearHandlers: false,
    exitSignal: flags & 0xff,
    stack: a.long(1),
    stackSize: 0,
    parentTid: a.long(2),
    childTid: a.long(3),
    tls: a.long(4),
  })
}

export function fork(task: Task): MaybePreemptible<number> {
  return create(task, {
    flags: 0,
    clearHandlers: false,
    exitSignal: 17,
    stack: 0,
    stackSize: 0,
    parentTid: 0,
    childTid: 0,
    tls: 0,
  })
}

export function vfork(task: Task): MaybePreemptible<number> {
  return create(task, {
    flags: CLONE_VFORK | CLONE_VM,
    clearHandlers: false,
    exitSignal: 17,
    stack: 0,
    stackSize: 0,
    parentTid: 0,
    childTid: 0,
    tls: 0,
  })
}

/** clone3(struct clone_args *, size). */
export function clone3(task: Task, a: SyscallArguments): MaybePreemptible<number> {
  const user = a.long(0)
  const size = a.long(1)
  if (size < 64) return -EINVAL
  if (size > 4096) return -E2BIG
  const bytes = new Uint8Array(Math.max(size, 88))
  if (!task.mm.copyFromUser(bytes, 0, user, size)) return -EFAULT
  for (let i = 88; i < size; i++) if (bytes[i] !== 0) return -E2BIG
  const view = new DataView(bytes.buffer)
  const field = (index: number) => view.getUint32(index * 8 + 4, true) * 4294967296 + view.getUint32(index * 8, true)
  const flags = field(0)
  const [exitSignal, stack, stackSize] = [field(4), field(5), field(6)]
  if (flags >= 0x400000000 || exitSignal > 64 || ((flags % 4294967296) & 0xff) !== 0) return -EINVAL
  if (field(9) !== 0) return -EINVAL // set_tid needs privilege in the pid namespace
  if ((stack === 0) !== (stackSize === 0)) return -EINVAL
  const clearHandlers = flags >= CLONE_CLEAR_SIGHAND && Math.floor(flags / CLONE_CLEAR_SIGHAND) % 2 === 1
  if (flags >= 0x200000000) {
    task.kernel.syscalls.note('clone3 CLONE_INTO_CGROUP')
    return -EINVAL
  }
  const low = (flags % 4294967296) | 0
  if ((low & (CLONE_THREAD | CLONE_PARENT)) !== 0 && exitSignal !== 0) return -EINVAL
  if (clearHandlers && (low & CLONE_SIGHAND) !== 0) return -EINVAL
  return create(task, {
    flags: low,
    clearHandlers,
    exitSignal,
    stack: stack + stackSize,
    stackSize,
    parentTid: field(3),
    childTid: field(2),
    tls: field(7),
  })
}

function create(task: Task, request: CloneRequest): MaybePreemptible<number> {
  const { flags } = request
  const { kernel } = task
  if ((flags & CLONE_SIGHAND) !== 0 && (flags & CLONE_VM) === 0) return -EINVAL
  if ((flags & CLONE_THREAD) !== 0 && (flags & CLONE_SIGHAND) === 0) return -EINVAL
  if ((flags & NAMESPACES) !== 0) {
    kernel.syscalls.note('clone with a new namespace')
    return -1
  }
  if ((flags & CLONE_PIDFD) !== 0) {
    kernel.syscalls.note('clone CLONE_PIDFD')
    return -EINVAL
  }
  let child: Task | number
  try {
    child = copyTask(task, request)
  } catch (error) {
    // Execution contexts or memory ran out.
    if (error instanceof RangeError) return -EAGAIN
    throw error
  }
  if (typeof child === 'number') return child
  if ((flags & CLONE_PARENT_SETTID) !== 0) task.mm.putUser32(request.parentTid, child.tid)
  const event = traceEvent(task, request)
  if (event !== 0) {
    const link = attach(task.ptrace!.tracer, child)
    link.options = task.ptrace!.options
    link.seized = task.ptrace!.seized
    link.trapPending = true
  }
  kernel.scheduler.enqueue(child)
  if ((flags & CLONE_VFORK) === 0 && event === 0) return child.tid
  return finishCreate(task, child, (flags & CLONE_VFORK) !== 0, event)
}

/** PTRACE_EVENT_FORK 1, VFORK 2, CLONE 3; 0 when the tracer did not ask. */
function traceEvent(task: Task, request: CloneRequest): number {
  const options = task.ptrace?.options ?? 0
  if ((request.flags & CLONE_UNTRACED) !== 0) return 0
  if ((request.flags & CLONE_VFORK) !== 0) return (options & PTRACE_O_TRACEVFORK) !== 0 ? 2 : 0
  if (request.exitSignal !== 17) return (options & PTRACE_O_TRACECLONE) !== 0 ? 3 : 0
  return (options & PTRACE_O_TRACEFORK) !== 0 ? 1 : 0
}

function* finishCreate(task: Task, child: Task, isVfork: boolean, event: number): Preemptible<number> {
  const { tid, group } = child
  const done = isVfork ? new WaitQueue() : null
  if (done !== null) group.vforkDone = done
  if (event !== 0) yield* stopForEvent(task, event, tid)
  if (done !== null) {
    const result = yield* waitUntil(task, done, () => group.vforkDone !== done, Number.POSITIVE_INFINITY, true)
    if (result !== 0) return -ERESTARTSYS
  }
  return tid
}

function copyTask(parent: Task, request: CloneRequest): Task | number {
  const { kernel } = parent
  const { flags } = request
  const isThread = (flags & CLONE_THREAD) !== 0
  const mm = (flags & CLONE_VM) !== 0 ? parent.mm.retain() : forkMm(kernel, parent.mm)
  if (mm === null) return -ENOMEM
  const shstk = inheritShadowStack(parent, flags, request.stackSize)
  if (typeof shstk === 'number') {
    mm.release()
    return shstk
  }
  const tid = kernel.allocatePid()
  const group = isThread ? parent.group : newGroup(parent, tid, request)
  const files = (flags & CLONE_FILES) !== 0 ? parent.files.retain() : parent.files.copy()
  const fs = (flags & CLONE_FS) !== 0 ? parent.fs : parent.fs.copy()
  const actions = (flags & CLONE_SIGHAND) !== 0 ? parent.actions : parent.actions.copy()
  if ((flags & CLONE_SIGHAND) !== 0) actions.users++
  if (request.clearHandlers) actions.resetHandlers()
  const child = new Task(kernel, tid, group, mm, files, fs, actions)
  copyRegisters(parent, child, request)
  child.fpu = cloneFpu(parent, isThread)
  child.shstk = shstk
  startShadowStack(child, flags)
  child.comm = parent.comm
  inheritDetection(parent, child)
  child.affinity = parent.affinity
  child.cpuId = parent.cpuId
  child.blocked.copy(parent.blocked)
  const keepsAltStack = (flags & (CLONE_VM | CLONE_VFORK)) !== CLONE_VM
  child.altStack = keepsAltStack ? { ...parent.altStack } : { sp: 0, size: 0, flags: SS_DISABLE }
  if ((flags & CLONE_VM) === 0) Object.assign(child.rseq, parent.rseq)
  child.tls.splice(0, 3, ...parent.tls)
  if ((flags & CLONE_CHILD_CLEARTID) !== 0) child.clearChildTid = request.childTid
  if ((flags & CLONE_CHILD_SETTID) !== 0) child.mm.putUser32(request.childTid, tid)
  if (!isThread) group.leader = child
  group.tasks.push(child)
  kernel.tasks.set(tid, child)
  return child
}

function newGroup(parent: Task, pid: number, request: CloneRequest): ThreadGroup {
  const { kernel } = parent
  const adopter = (request.flags & CLONE_PARENT) !== 0 ? parent.group.parent : parent.group
  const group = new ThreadGroup(kernel, pid, adopter)
  if (adopter === null) {
    group.pgid = parent.group.pgid
    group.sid = parent.group.sid
  }
  group.limits = parent.group.limits.copy()
  group.exitSignal = (request.flags & CLONE_PARENT) !== 0 ? parent.group.exitSignal : request.exitSignal
  group.exePath = parent.group.exePath
  kernel.groups.set(pid, group)
  return group
}

/** The child returns 0 from the same call, on its own stack and thread pointer if it was given them. */
function copyRegisters(parent: Task, child: Task, request: CloneRequest): void {
  const { mem } = parent.context
  mem.u8.copyWithin(child.context.base, parent.context.base, parent.context.base + CONTEXT_STRIDE)
  child.context.set(REG.RAX, 0, 0)
  if (request.stack !== 0) child.context.set(REG.RSP, request.stack | 0, Math.floor(request.stack / 4294967296) | 0)
  if ((request.flags & CLONE_SETTLS) !== 0)
    child.context.setSegmentBase(4, request.tls | 0, Math.floor(request.tls / 4294967296) | 0)
  child.context.setCtl(CTL.CR3, child.mm.table.root, 0)
}
