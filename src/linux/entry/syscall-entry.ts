import { REG } from '../../machine/execution-context.ts'
import { ENOSYS, ERESTART_RESTARTBLOCK, ERESTARTSYS } from '../errno.ts'
import type { MaybePreemptible, Preemptible } from '../preemption.ts'
import type { HostCpu } from '../processor.ts'
import { stopAtSyscall } from '../ptrace/stops.ts'
import { forceFault } from '../signal/send.ts'
import { SI_KERNEL, SIGSEGV } from '../signal/signals.ts'
import { traceEntry, traceExit } from '../syscalls/strace.ts'
import { compatTable, type SyscallRow, syscallTable } from '../syscalls/table.ts'
import type { Task } from '../task.ts'

/** SYSCALL from 64-bit code (LUX-09). */
export function enterSyscall(task: Task): void {
  const nr = task.context.lo(REG.RAX)
  task.origRax = nr
  task.origRaxHi = task.context.hi(REG.RAX)
  task.args.compat = false
  dispatch(task, nr, syscallTable[nr])
}

/** INT n from user mode: 0x80 is the 32-bit system call (LUX-12), every other gate is closed to user mode. */
export function enterSyscall32(cpu: HostCpu, task: Task): void {
  const { vector } = cpu.processor.fault
  if (vector !== 0x80) {
    // RIP is past the instruction; the #GP of a gate with DPL 0 points at it (SDM Vol. 2A INT n).
    task.context.advanceRip(-2)
    task.trap.number = 13
    task.trap.errorCode = vector * 8 + 2
    forceFault(task, { signal: SIGSEGV, code: SI_KERNEL, address: 0 })
    return
  }
  const nr = task.context.lo(REG.RAX)
  task.origRax = nr
  task.origRaxHi = 0
  task.args.compat = true
  dispatch(task, nr, compatTable[nr])
}

function dispatch(task: Task, nr: number, row: SyscallRow | undefined): void {
  const { kernel } = task
  task.refusal = null
  task.restartCheck = false
  kernel.syscalls.count(nr)
  if (task.ptrace?.stopsAtSyscalls) {
    task.activity = tracedCall(task, nr, row)
    task.activityKind = 'syscall'
    return
  }
  if (kernel.trace.syscall !== undefined) traceEntry(task, nr, row)
  const result = call(task, nr, row)
  if (typeof result === 'number') finishSyscall(task, result)
  else {
    task.activity = result
    task.activityKind = 'syscall'
  }
}

function call(task: Task, nr: number, row: SyscallRow | undefined): MaybePreemptible<number> {
  if (row === undefined) {
    if (nr >= 0) task.kernel.syscalls.note(`system call ${nr}`)
    return -ENOSYS
  }
  return row.run(task, task.args)
}

/** A call of a tracee that stops at entry and exit; the tracer may change number, arguments and result meanwhile. */
function* tracedCall(task: Task, nr: number, row: SyscallRow | undefined): Preemptible<number> {
  task.context.set(REG.RAX, -ENOSYS, -1)
  yield* stopAtSyscall(task)
  const wanted = task.origRax
  const chosen = wanted === nr ? row : (task.args.compat ? compatTable : syscallTable)[wanted]
  if (task.kernel.trace.syscall !== undefined) traceEntry(task, wanted, chosen)
  // Number -1 calls nothing: the result is what the tracer put into RAX.
  const started = wanted === -1 ? resultRegister(task) : call(task, wanted, chosen)
  const result = typeof started === 'number' ? started : yield* started
  if (task.state === 'dead') return NO_RESULT
  if (task.ptrace?.stopsAtSyscalls) {
    if (result !== NO_RESULT) setResult(task, result)
    yield* stopAtSyscall(task)
    if (result === NO_RESULT) return result
    return resultRegister(task)
  }
  return result
}

function resultRegister(task: Task): number {
  return (task.context.lo(REG.RAX) >>> 0) + 4294967296 * task.context.hi(REG.RAX)
}

function setResult(task: Task, result: number): void {
  task.context.set(REG.RAX, result | 0, Math.floor(result / 4294967296) | 0)
}

/** Result of a call that replaced the registers itself: rt_sigreturn, execve. */
export const NO_RESULT = Number.POSITIVE_INFINITY

/** Puts the result where the program expects it. */
export function finishSyscall(task: Task, result: number): void {
  if (task.kernel.trace.syscall !== undefined) traceExit(task, result)
  if (result === NO_RESULT) return
  setResult(task, result)
  if (result <= -ERESTARTSYS && result >= -ERESTART_RESTARTBLOCK) task.restartCheck = true
  else if (!task.signalPending()) task.forgetSyscall()
}
