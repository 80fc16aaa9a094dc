import { type Preemptible, withPreemptionDisabled } from '../preemption.ts'
import type { PinnedProcessor } from '../processor.ts'
import type { Task } from '../task.ts'
import { INTERRUPTED, WaitQueue, waitUntil } from '../wait-queue.ts'
import { setDetection } from './test-ctrl.ts'
import { setDetectionOfThread } from './thread-flag.ts'

/** CONFIG_HZ=250, as Debian builds. */
const JIFFY = 4e6
/** Detection is off for at most about this long (SLD-20). */
const REENABLE_AFTER = 2 * JIFFY
/** Misery factor #1: the culprit sleeps before it may go on. */
const PENALTY = 10e6

/**
 * Warn mode deals with a split lock of `task`, in user mode or in its guest: says so once, lets it wait, then turns detection off
 * so that the instruction can be tried again. SLD-19, SLD-22; Linux 6.12 split_lock_warn(), 5.18 for the thread flag.
 */
export function* warnSplitLock(task: Task, rip: number): Preemptible<void> {
  const { kernel } = task
  const { splitLock, profile } = kernel
  const byFlag = profile.splitLock.warnDesign === 'thread-flag'
  if (byFlag || !task.reportedSplitLock) {
    const text = `x86/split lock detection: #AC: ${task.comm}/${task.tid} took a split_lock trap at address: 0x${rip.toString(16)}`
    kernel.log.rateLimited('split_lock', text)
  }
  task.reportedSplitLock = true
  if (byFlag) {
    withPreemptionDisabled(task, setDetectionOfThread, false)
    return
  }
  const exclusive = splitLock.mitigate
  if (exclusive) {
    if ((yield* waitUntil(task, new WaitQueue(), () => false, kernel.clock.now + PENALTY)) === INTERRUPTED) return
    if ((yield* waitUntil(task, splitLock.busLockWaiters, () => !splitLock.busLockHeld)) === INTERRUPTED) return
    splitLock.busLockHeld = true
  }
  withPreemptionDisabled(task, allowForAWhile, exclusive)
}

/** Detection off on this processor, and work queued to turn it on again. */
function allowForAWhile(cpu: PinnedProcessor, exclusive: boolean): void {
  const { splitLock, clock, profile } = cpu.kernel
  if (exclusive) {
    clock.armOn(cpu, clock.now + REENABLE_AFTER, (there) => {
      setDetection(there, true)
      splitLock.busLockHeld = false
      splitLock.busLockWaiters.wakeAll()
    })
  } else {
    // Work that is pending already is not queued again, whoever asks: with one item for all, the flaw of SLD-21.
    const item = profile.splitLock.sharedReenableWork ? 0 : cpu.id
    if (!splitLock.reenablePending.has(item)) {
      splitLock.reenablePending.add(item)
      clock.armOn(cpu, clock.now + REENABLE_AFTER, (there) => {
        splitLock.reenablePending.delete(item)
        setDetection(there, true)
      })
    }
  }
  setDetection(cpu, false)
}
