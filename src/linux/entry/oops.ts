import type { HostOops } from '../oops.ts'
import { exitTask } from '../proc/exit.ts'
import type { HostCpu } from '../processor.ts'
import { SIGSEGV } from '../signal/signals.ts'
import type { Task } from '../task.ts'

/**
 * The host kernel oopsed while it ran for `task`: the task dies where it stands, what it held stays held (make_task_dead). The
 * log keeps the line, the exception's cause and the instruction the task was about to return to.
 */
export function oopsInTask(cpu: HostCpu, task: Task, oops: HostOops): void {
  const { log } = task.kernel
  log.write(`${oops.message}`)
  log.write(`CPU: ${cpu.id} PID: ${task.tid} Comm: ${task.comm} ${oops.detail} (${oops.rule})`)
  log.write(`RIP: 0033:0x${task.context.rip.toString(16)} RSP: 0x${task.context.reg(4).toString(16)}`)
  task.kernel.trace.event?.('oops', task, { message: oops.message, rule: oops.rule })
  task.activity = null
  cpu.fpuOwner = null
  task.fpu.abandonGuest()
  exitTask(task, SIGSEGV)
}
