import { REG } from '../../machine/execution-context.ts'
import { disownRegisters } from '../fpu/register-owner.ts'
import type { HostOops } from '../oops.ts'
import { withPreemptionDisabled } from '../preemption.ts'
import { exitTask } from '../proc/exit.ts'
import type { HostCpu } from '../processor.ts'
import { SIGSEGV } from '../signal/signals.ts'
import { syscallTable } from '../syscalls/table.ts'
import type { Task } from '../task.ts'

/**
 * The host kernel oopsed while it ran for `task`: the task dies where it stands, what it held stays held (make_task_dead). The
 * log keeps what a real one prints, without the addresses that a model of the kernel does not have.
 */
export function oopsInTask(cpu: HostCpu, task: Task, oops: HostOops): void {
  const { log, trace } = task.kernel
  for (const line of report(cpu, task, oops)) log.emergency(line)
  trace.event?.('oops', task, { message: oops.message, rule: oops.rule, function: oops.site.function })
  task.activity = null
  withPreemptionDisabled(task, disownRegisters)
  task.fpu.abandonGuest()
  exitTask(task, SIGSEGV)
}

const hex16 = (value: number | bigint): string => value.toString(16).padStart(16, '0')

function report(cpu: HostCpu, task: Task, oops: HostOops): string[] {
  const { kernel } = task
  const { site } = oops
  const { release, version } = kernel.profile.uname
  const warned = site.warning === undefined ? [] : [`WARNING: CPU: ${cpu.id} PID: ${task.tid} at ${site.warning}`]
  const tainted = warned.length > 0 ? 'Tainted: G        W         ' : 'Not tainted'
  kernel.oopses++
  return [
    ...warned,
    `Oops: ${oops.message}: 0000 [#${kernel.oopses}] SMP`,
    `CPU: ${cpu.id} UID: ${kernel.uid} PID: ${task.tid} Comm: ${task.comm} ${tainted} ${release} ${version}`,
    `${oops.detail} (${oops.rule})`,
    `RIP: 0010:${site.function}`,
    Object.entries(site.registers)
      .map(([name, value]) => `${name}: ${hex16(value >>> 0)}`)
      .join(' '),
    `PKRU: ${(cpu.processor.pkru >>> 0).toString(16).padStart(8, '0')}`,
    'Call Trace:',
    ' <TASK>',
    ...[...oops.callers, ...syscallCallers(task)].map((name) => ` ${name}`),
    ...userRegisters(task),
    ' </TASK>',
    '---[ end trace 0000000000000000 ]---',
  ]
}

/** The way from the program into the kernel. */
function syscallCallers(task: Task): string[] {
  const name = syscallTable[task.origRax]?.name
  return name === undefined ? [] : [`__x64_sys_${name}`, 'do_syscall_64', 'entry_SYSCALL_64_after_hwframe']
}

/** What the program will never return to. */
function userRegisters({ context, origRax }: Task): string[] {
  const reg = (nr: number): string => hex16(BigInt(context.hi(nr) >>> 0) * 0x1_0000_0000n + BigInt(context.lo(nr) >>> 0))
  return [
    `RIP: 0033:0x${context.rip.toString(16)}`,
    `RSP: 002b:${reg(REG.RSP)} EFLAGS: ${context.rflags.toString(16).padStart(8, '0')} ORIG_RAX: ${hex16(origRax >>> 0)}`,
    `RBX: ${reg(REG.RBX)} RDX: ${reg(REG.RDX)} RSI: ${reg(REG.RSI)}`,
    `RDI: ${reg(REG.RDI)} RBP: ${reg(REG.RBP)} R8:  ${reg(REG.R8)}`,
  ]
}
