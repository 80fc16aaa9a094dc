import { dropFpu } from '../fpu/lifecycle.ts'
import { ptraceDetachAll, ptraceExit } from '../ptrace/link.ts'
import { freeArea } from '../shstk/area.ts'
import { killTask, notifyParent, sendGroupSignal } from '../signal/send.ts'
import { CLD_DUMPED, CLD_EXITED, CLD_KILLED, SI_USER, SIGCONT, SIGHUP } from '../signal/signals.ts'
import { futexWake } from '../sync/futex.ts'
import { exitRobustList } from '../sync/robust-list.ts'
import type { Task } from '../task.ts'
import type { ThreadGroup, WaitStatus } from '../thread-group.ts'

/** exit_group(2), or a deadly signal: every task of the group goes (LUX-26). The caller dies here, the others when they look. */
export function exitGroup(task: Task, status: WaitStatus): void {
  const { group } = task
  if (group.groupExit === null) {
    group.groupExit = status
    for (const other of group.tasks) if (other !== task) killTask(other)
  }
  exitTask(task, group.groupExit)
}

/** One task ends (do_exit). Its memory, files and extended state go; the last one leaves a zombie. */
export function exitTask(task: Task, status: WaitStatus): void {
  if (task.state === 'dead') return
  const { kernel, group } = task
  task.exitStatus = status
  task.kernel.scheduler.dequeue(task)
  exitRobustList(task)
  freeArea(task)
  clearChildTid(task)
  ptraceDetachAll(task)
  task.state = 'dead'
  task.files.release(task)
  const { mm } = task
  finishVfork(group)
  group.deadTime += task.runInstructions
  group.tasks.splice(group.tasks.indexOf(task), 1)
  dropFpu(task)
  mm.release()
  if (task !== group.leader) kernel.tasks.delete(task.tid)
  ptraceExit(task, status)
  group.threadEvents.wakeAll()
  if (group.tasks.length === 0) groupIsDead(group)
  kernel.machine.freeContext(task.context)
}

/** LUX-22: pthread_join waits on this. */
function clearChildTid(task: Task): void {
  if (task.clearChildTid === 0) return
  if (task.mm.shared) {
    task.mm.putUser32(task.clearChildTid, 0)
    futexWake(task, task.clearChildTid, 1, 0xffffffff, true)
  }
  task.clearChildTid = 0
}

/** The parent of a vfork child goes on. */
export function finishVfork(group: ThreadGroup): void {
  const done = group.vforkDone
  if (done === null) return
  group.vforkDone = null
  done.wakeAll()
}

function groupIsDead(group: ThreadGroup): void {
  // What the leader left counts when nobody called exit_group: the last exit of all tasks' statuses is the leader's.
  group.groupExit = group.groupExit ?? group.leader.exitStatus
  group.zombie = true
  orphanChildren(group)
  group.timers?.cancelAll()
  const status = group.groupExit
  const code = (status & 0x7f) === 0 ? CLD_EXITED : (status & 0x80) !== 0 ? CLD_DUMPED : CLD_KILLED
  const value = code === CLD_EXITED ? status >> 8 : status & 0x7f
  if (notifyParent(group, code, value) || group.parent === null) release(group)
}

/** Children of a dead process belong to nobody: the model's init collects them when they die. */
function orphanChildren(group: ThreadGroup): void {
  for (const child of group.children) {
    child.parent = null
    if (child.zombie) release(child)
    else if (child.stopSignal !== 0 && child.pgid !== group.pgid) {
      sendGroupSignal(child, { signal: SIGHUP, code: SI_USER, pid: 0 })
      sendGroupSignal(child, { signal: SIGCONT, code: SI_USER, pid: 0 })
    }
  }
  group.children.clear()
}

/** The process is collected: its number is free. The first program stays visible to the driver. */
export function release(group: ThreadGroup): void {
  const { kernel } = group
  kernel.groups.delete(group.pid)
  kernel.tasks.delete(group.leader.tid)
  if (group.parent !== null) {
    group.parent.children.delete(group)
    group.parent.childrenTime += group.deadTime + group.childrenTime
  }
}
