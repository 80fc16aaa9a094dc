import { HOST_EXIT_BUDGET, HOST_EXIT_EXCEPTION, HOST_EXIT_SOFTWARE_INTERRUPT, HOST_EXIT_SYSCALL } from '../../machine/exits.ts'
import { handleException } from '../entry/exceptions.ts'
import { exitWork, hasExitWork } from '../entry/exit-work.ts'
import { oopsInTask } from '../entry/oops.ts'
import { enterSyscall, enterSyscall32, finishSyscall } from '../entry/syscall-entry.ts'
import { loadForUser } from '../fpu/registers.ts'
import { HostOops } from '../oops.ts'
import { PREEMPTION_POINT } from '../preemption.ts'
import type { PinnedProcessor } from '../processor.ts'
import type { Task } from '../task.ts'

/** Runs `task` on `cpu` until it sleeps, dies, or the processor is wanted for something else. */
export function runTask(cpu: PinnedProcessor, task: Task): void {
  try {
    while (task.state === 'runnable' && step(cpu, task)) {
      // goes on
    }
  } catch (error) {
    if (!(error instanceof HostOops)) throw error
    oopsInTask(cpu, task, error)
  }
}

/** One stretch of kernel or user mode. False: give up the processor now. */
function step(cpu: PinnedProcessor, task: Task): boolean {
  if (task.activity !== null) return continueActivity(cpu, task)
  if (cpu.needResched) return false
  if (hasExitWork(task)) {
    task.activity = exitWork(task)
    task.activityKind = 'work'
    return true
  }
  runUser(cpu, task)
  return true
}

function continueActivity(cpu: PinnedProcessor, task: Task): boolean {
  const progress = task.activity!.next()
  if (progress.done !== true) return progress.value === PREEMPTION_POINT ? !cpu.needResched : task.state === 'runnable'
  task.activity = null
  if (task.state === 'dead') return false
  if (task.activityKind === 'syscall') finishSyscall(task, progress.value)
  return true
}

function runUser(cpu: PinnedProcessor, task: Task): void {
  const { processor } = cpu
  if (task.fpu.needLoad) loadForUser(task.fpu, cpu)
  const reason = processor.runHost(task.context, task.mm.space, cpu.budget())
  task.runInstructions += processor.retired
  cpu.account(processor.retired)
  switch (reason) {
    case HOST_EXIT_BUDGET:
      return
    case HOST_EXIT_SYSCALL:
      enterSyscall(task)
      return
    case HOST_EXIT_EXCEPTION:
      handleException(cpu, task)
      return
    case HOST_EXIT_SOFTWARE_INTERRUPT:
      enterSyscall32(cpu, task)
      return
    default:
      throw new Error(`runHost returned ${reason}`)
  }
}
