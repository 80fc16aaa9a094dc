import { EFAULT, EINVAL, EIO, EPERM, ESRCH } from '../errno.ts'
import { killTask, resume, sendSignal } from '../signal/send.ts'
import { writeSiginfo } from '../signal/siginfo.ts'
import { NSIG, SI_USER, SIGSTOP } from '../signal/signals.ts'
import type { SyscallArguments } from '../syscalls/arguments.ts'
import type { Task } from '../task.ts'
import { archPrctlOn } from './arch-prctl.ts'
import { attach, detach, type PtraceLink } from './link.ts'
import { getRegset, setRegset } from './regsets.ts'
import { peekUser, pokeUser, readUserRegs, USER_REGS_SIZE, writeUserRegs } from './user-regs.ts'

/** ptrace(2) requests: LUX-54..56. */

const PTRACE_TRACEME = 0
const PTRACE_PEEKTEXT = 1
const PTRACE_PEEKDATA = 2
const PTRACE_PEEKUSER = 3
const PTRACE_POKETEXT = 4
const PTRACE_POKEDATA = 5
const PTRACE_POKEUSER = 6
const PTRACE_CONT = 7
const PTRACE_KILL = 8
const PTRACE_SINGLESTEP = 9
const PTRACE_GETREGS = 12
const PTRACE_SETREGS = 13
const PTRACE_GETFPREGS = 14
const PTRACE_SETFPREGS = 15
const PTRACE_ATTACH = 16
const PTRACE_DETACH = 17
const PTRACE_SYSCALL = 24
const PTRACE_ARCH_PRCTL = 30
const PTRACE_SETOPTIONS = 0x4200
const PTRACE_GETEVENTMSG = 0x4201
const PTRACE_GETSIGINFO = 0x4202
const PTRACE_GETREGSET = 0x4204
const PTRACE_SETREGSET = 0x4205
const PTRACE_SEIZE = 0x4206
const PTRACE_INTERRUPT = 0x4207
const NT_PRFPREG = 2
const RFLAGS_TF = 0x100
const KNOWN_OPTIONS = 0x1001ff

export function ptrace(task: Task, a: SyscallArguments): number {
  const request = a.int(0)
  if (request === PTRACE_TRACEME) return traceMe(task)
  const target = task.kernel.tasks.get(a.int(1))
  if (target === undefined || (target.state === 'dead' && request !== PTRACE_KILL)) return -ESRCH
  if (request === PTRACE_ATTACH || request === PTRACE_SEIZE) return attachTo(task, target, request === PTRACE_SEIZE, a.long(3))
  const link = target.ptrace
  if (link === null || link.tracer !== task) return -ESRCH
  if (request === PTRACE_KILL) {
    if (target.state === 'traced') killTask(target)
    return 0
  }
  if (request === PTRACE_INTERRUPT) {
    if (!link.seized) return -EIO
    link.trapPending = true
    if (target.state === 'sleeping') target.wake()
    else if (target.cpu !== null) target.cpu.needResched = true
    return 0
  }
  if (target.state !== 'traced') return -ESRCH
  return onStopped(task, target, link, request, a)
}

function traceMe(task: Task): number {
  if (task.ptrace !== null) return -EPERM
  const parent = task.group.parent
  if (parent === null || parent.tasks.length === 0) return -EPERM
  attach(parent.leader, task)
  return 0
}

function attachTo(task: Task, target: Task, seize: boolean, options: number): number {
  if (target.group === task.group || target.ptrace !== null) return -EPERM
  if (seize && (options & ~KNOWN_OPTIONS) !== 0) return -EIO
  const link = attach(task, target)
  link.seized = seize
  if (seize) link.options = options
  else sendSignal(target, { signal: SIGSTOP, code: SI_USER, pid: task.group.pid, uid: task.kernel.uid })
  return 0
}

function onStopped(task: Task, target: Task, link: PtraceLink, request: number, a: SyscallArguments): number {
  const address = a.long(2)
  const data = a.long(3)
  switch (request) {
    case PTRACE_PEEKTEXT:
    case PTRACE_PEEKDATA: {
      if (!forceRead(target, address)) return -EIO
      return task.mm.putUser64(data, target.mm.lo, target.mm.hi) ? 0 : -EFAULT
    }
    case PTRACE_POKETEXT:
    case PTRACE_POKEDATA:
      return forceWrite(target, address, a.u32(3) | 0, a.high(3)) ? 0 : -EIO
    case PTRACE_PEEKUSER:
      return peekUser(task, target, address, data)
    case PTRACE_POKEUSER:
      return pokeUser(target, address, a.u32(3) | 0, a.high(3))
    case PTRACE_CONT:
    case PTRACE_SYSCALL:
    case PTRACE_SINGLESTEP:
      return resumeTracee(target, link, request, data)
    case PTRACE_DETACH:
      if (data < 0 || data > NSIG) return -EIO
      link.resumeSignal = data
      detach(target)
      return 0
    case PTRACE_SETOPTIONS:
      if ((data & ~KNOWN_OPTIONS) !== 0) return -EINVAL
      link.options = data
      return 0
    case PTRACE_GETEVENTMSG:
      return task.mm.putUserLong(data, link.message) ? 0 : -EFAULT
    case PTRACE_GETSIGINFO:
      return storeSiginfo(task, link, data)
    case PTRACE_GETREGS: {
      const bytes = new Uint8Array(USER_REGS_SIZE)
      readUserRegs(target, bytes)
      return task.mm.copyToUser(data, bytes, 0, bytes.length) ? 0 : -EFAULT
    }
    case PTRACE_SETREGS: {
      const bytes = new Uint8Array(USER_REGS_SIZE)
      if (!task.mm.copyFromUser(bytes, 0, data, bytes.length)) return -EFAULT
      return writeUserRegs(target, bytes, bytes.length)
    }
    case PTRACE_GETFPREGS:
      return getRegset(task, target, NT_PRFPREG, data, 512, null)
    case PTRACE_SETFPREGS:
      return setRegset(task, target, NT_PRFPREG, data, 512)
    case PTRACE_GETREGSET:
    case PTRACE_SETREGSET:
      return regset(task, target, request === PTRACE_GETREGSET, address, data)
    case PTRACE_ARCH_PRCTL:
      return archPrctlOn(task, target, data, address)
    default:
      task.kernel.syscalls.note(`ptrace request 0x${request.toString(16)}`)
      return -EIO
  }
}

function resumeTracee(target: Task, link: PtraceLink, request: number, signal: number): number {
  if (signal < 0 || signal > NSIG) return -EIO
  link.stopsAtSyscalls = request === PTRACE_SYSCALL
  link.singleStep = request === PTRACE_SINGLESTEP
  if (link.singleStep) target.context.rflagsRest = target.context.rflagsRest | RFLAGS_TF
  link.resumeSignal = signal
  resume(target)
  return 0
}

function storeSiginfo(task: Task, link: PtraceLink, user: number): number {
  if (link.info === null) return -EINVAL
  const bytes = new Uint8Array(128)
  writeSiginfo(new DataView(bytes.buffer), 0, link.info)
  return task.mm.copyToUser(user, bytes, 0, 128) ? 0 : -EFAULT
}

/** PTRACE_GETREGSET and SETREGSET: iovec {base, len}; the length moved is stored back. */
function regset(task: Task, target: Task, get: boolean, type: number, iov: number): number {
  const base = task.mm.getUserLong(iov)
  const length = task.mm.getUserLong(iov + 8)
  if (Number.isNaN(base) || Number.isNaN(length)) return -EFAULT
  return get ? getRegset(task, target, type, base, length, iov + 8) : setRegset(task, target, type, base, length, iov + 8)
}

/** Reads through protections, as the kernel does for a tracer. */
function forceRead(target: Task, address: number): boolean {
  if (target.mm.getUser64(address)) return true
  const vma = target.mm.vmas.find(address)
  if (vma === null || vma.prot !== 0) return false
  const { prot } = vma
  vma.prot = 1
  const ok = target.mm.getUser64(address)
  vma.prot = prot
  target.mm.zap(address - (address % 4096), address - (address % 4096) + 4096)
  return ok
}

/** Writes through protections: a private page without write permission gets its own copy. */
function forceWrite(target: Task, address: number, lo: number, hi: number): boolean {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setInt32(0, lo, true)
  view.setInt32(4, hi, true)
  return target.mm.forceCopyToUser(address, bytes, 0, 8) === 8
}
