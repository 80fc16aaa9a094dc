import { X86_EFLAGS_AC } from '../../isa/control-registers.ts'
import { type Preemptible, SLEEP } from '../preemption.ts'
import { forceFault } from '../signal/send.ts'
import { BUS_ADRALN, SIGBUS } from '../signal/signals.ts'
import type { Task } from '../task.ts'
import { warnSplitLock } from './warn.ts'

/** A thread over the rate limit looks again after this long. */
const RATE_LIMIT_SLEEP = 20e6

/**
 * #AC in user mode. SLD-17; Linux 6.12 handle_user_split_lock().
 * @returns what has to be done before the instruction is tried again; null when it is SIGBUS
 */
export function userSplitLock(task: Task, rip: number): Preemptible<number> | null {
  if ((task.context.rflagsRest & X86_EFLAGS_AC) !== 0 || task.kernel.splitLock.mode === 'fatal') return null
  return asWork(warnSplitLock(task, rip))
}

function* asWork(work: Preemptible<void>): Preemptible<number> {
  yield* work
  return 0
}

/**
 * #DB for a bus lock that user mode took; the instruction is complete. SLD-24; Linux 6.12 handle_bus_lock().
 * @returns what has to be done before the thread goes on; null when nothing has
 */
export function userBusLock(task: Task, rip: number): Preemptible<number> | null {
  switch (task.kernel.splitLock.mode) {
    case 'off':
      return null
    case 'fatal':
      forceFault(task, { signal: SIGBUS, code: BUS_ADRALN, address: 0 })
      return null
    case 'warn':
      reportBusLock(task, rip)
      return null
    case 'ratelimit':
      return limited(task, rip)
  }
}

function* limited(task: Task, rip: number): Preemptible<number> {
  const { splitLock, clock } = task.kernel
  while (!splitLock.busLockRate.allow()) {
    const until = clock.now + RATE_LIMIT_SLEEP
    clock.arm(until, () => task.wake())
    // Signals do not end it.
    while (clock.now < until) {
      task.prepareToSleep()
      yield SLEEP
    }
  }
  reportBusLock(task, rip)
  return 0
}

function reportBusLock(task: Task, rip: number): void {
  const text = `x86/split lock detection: #DB: ${task.comm}/${task.tid} took a bus_lock trap at address: 0x${rip.toString(16)}`
  task.kernel.log.rateLimited('bus_lock', text)
}
