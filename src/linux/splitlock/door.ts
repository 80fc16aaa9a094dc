/**
 * The split-lock door: KVM reports a guest's #AC and says what the guest wants on the processor; mode, flag and MSR writes stay
 * on this side. Detection is off on this host for now (mode 'off': the processor's MSR_TEST_CTRL bit is never set), so no guest
 * access raises a split-lock #AC and every #AC a guest takes is its own alignment check.
 */
import type { PinnedProcessor } from '../processor.ts'
import type { Task } from '../task.ts'

export type SplitLockMode = 'off' | 'warn' | 'fatal' | 'ratelimit'

/** How the host treats split locks. */
export function splitLockMode(_task: Task): SplitLockMode {
  return 'off'
}

/**
 * A guest took #AC that its own alignment checking does not explain.
 * @returns true when the host dealt with it and the guest just continues; false when it must be told (SIGBUS or the guest's #AC)
 */
export function handleGuestSplitLock(_cpu: PinnedProcessor, _task: Task, _ripLo: number, _ripHi: number): boolean {
  return false
}
