import { MSR_TEST_CTRL } from '../../isa/msr-index.ts'
import type { PinnedProcessor } from '../processor.ts'
import { MSR_TEST_CTRL_SPLIT_LOCK_DETECT, writeTestCtrl } from './probe.ts'

/** Turns split-lock detection of this processor on or off (sld_update_msr). SLD-12. */
export function setDetection(cpu: PinnedProcessor, on: boolean): void {
  const { cacheValue } = cpu.kernel.splitLock
  writeTestCtrl(cpu.processor, on ? cacheValue | MSR_TEST_CTRL_SPLIT_LOCK_DETECT : cacheValue)
}

/** Whether this processor detects split locks now, as the register says. */
export function detectionIsOn(cpu: PinnedProcessor): boolean {
  return (cpu.processor.rdmsr(MSR_TEST_CTRL) & MSR_TEST_CTRL_SPLIT_LOCK_DETECT) !== 0n
}
