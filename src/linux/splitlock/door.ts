/**
 * The split-lock door: KVM reports a guest's #AC and says which setting a guest wants on the processor. The mode variable, the
 * thread flag and the MSR write stay on this side. SLD §5.
 */
import type { Kernel } from '../kernel.ts'
import type { Preemptible } from '../preemption.ts'
import type { PinnedProcessor } from '../processor.ts'
import { forceFault } from '../signal/send.ts'
import { BUS_ADRALN, SIGBUS } from '../signal/signals.ts'
import type { Task } from '../task.ts'
import type { SplitLockMode } from './mode.ts'
import { isDetectionOffFor, setDetectionOfThread } from './thread-flag.ts'
import { warnSplitLock } from './warn.ts'

export type { SplitLockMode } from './mode.ts'

/** Feature flag split_lock_detect of the host. */
export const hostDetectsSplitLocks = ({ splitLock }: Kernel): boolean => splitLock.hasSplitLockDetect

/** How the host treats split locks (what v8 exports to KVM). */
export const hostSplitLockMode = ({ splitLock }: Kernel): SplitLockMode => splitLock.mode

/**
 * A guest took #AC that is not its own alignment check. SLD-32, -33; Linux 6.12 handle_guest_split_lock().
 * @returns what the vCPU's thread has to do before the guest tries again, in warn mode; null: it has got SIGBUS, and KVM_RUN ends
 */
export function handleGuestSplitLock(task: Task, rip: number): Preemptible<void> | null {
  const { mode } = task.kernel.splitLock
  if (mode === 'warn') return warnSplitLock(task, rip)
  const which = mode === 'fatal' ? 'fatal' : 'bogus'
  task.kernel.log.once(
    'guest split_lock',
    `x86/split lock detection: #AC: ${task.comm}/${task.tid} ${which} split_lock trap at address: 0x${rip.toString(16)}`,
  )
  task.trap.number = 17
  task.trap.errorCode = 0
  forceFault(task, { signal: SIGBUS, code: BUS_ADRALN, address: 0 })
  return null
}

/** Whether detection is on for this thread when it is not in a guest: what there is to restore (v8's host_sld_on). SLD-43. */
export const isDetectionOn = (task: Task): boolean => !isDetectionOffFor(task)

/**
 * Detection for the running thread becomes what its guest, or afterwards the host, wants; nothing happens outside warn mode or
 * where it is so already by the flag (SLD-43, -55). One switch for both directions, so that nobody else writes register or flag.
 */
export function switchDetectionForGuest(cpu: PinnedProcessor, on: boolean): void {
  const task = cpu.current!
  if (task.kernel.splitLock.mode !== 'warn' || isDetectionOn(task) === on) return
  setDetectionOfThread(cpu, on)
}
