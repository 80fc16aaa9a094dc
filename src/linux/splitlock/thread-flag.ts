import type { PinnedProcessor } from '../processor.ts'
import type { Task } from '../task.ts'
import { setDetection } from './test-ctrl.ts'

/**
 * The thread flag of the older design (TIF_SLD, Linux 5.7 to 5.18, and the proposals for guests). `Task.splitLockAllowed` is the
 * one place it is kept: set = detection is off while this thread runs. Everything else is derived (SLD-30). It is read-only but for
 * this file, which writes it together with the register, or for a thread that does not run yet.
 */
const flagOf = (task: Task): { splitLockAllowed: boolean } => task

/** Detection is off while this thread runs. */
export const isDetectionOffFor = (task: Task | null): boolean => task?.splitLockAllowed === true

/**
 * Context switch from `previous` to `next`, null = the idle thread: the register is written if the flags differ, and not looked at
 * otherwise (SLD-27). Linux 5.18 switch_to_sld().
 */
export function switchDetection(cpu: PinnedProcessor, previous: Task | null, next: Task | null): void {
  const off = isDetectionOffFor(next)
  if (isDetectionOffFor(previous) !== off) setDetection(cpu, !off)
}

/** Detection on or off for the running thread: register and flag together, which is why the processor is pinned (SLD-53, SLD-55). */
export function setDetectionOfThread(cpu: PinnedProcessor, on: boolean): void {
  setDetection(cpu, on)
  flagOf(cpu.current!).splitLockAllowed = !on
}

/** A new thread, which does not run yet, starts with its parent's flag (SLD-28). */
export function inheritDetection(parent: Task, child: Task): void {
  flagOf(child).splitLockAllowed = parent.splitLockAllowed
}
