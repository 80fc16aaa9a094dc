import { MSR_TEST_CTRL } from '../../isa/msr-index.ts'
import type { HostProcessor } from '../hardware.ts'

/** MSR_TEST_CTRL[29]: a locked access across cache lines raises #AC. */
export const MSR_TEST_CTRL_SPLIT_LOCK_DETECT = 1n << 29n

/** Whoever writes the register sees to the thread's flag (`thread-flag.ts`): `wrmsr` does not take it by name. */
const OWNED: number = MSR_TEST_CTRL
export const writeTestCtrl = (processor: HostProcessor, value: bigint): number => processor.wrmsr(OWNED, value)

/**
 * Writes detection into MSR_TEST_CTRL, other bits as they are, and reads it back. SLD-10; Linux 6.12 split_lock_verify_msr().
 * @returns whether the register is there, took the value and shows it
 */
export function verifyTestCtrl(processor: HostProcessor, on: boolean): boolean {
  if (!processor.hasMsr(MSR_TEST_CTRL)) return false
  const others = processor.rdmsr(MSR_TEST_CTRL) & ~MSR_TEST_CTRL_SPLIT_LOCK_DETECT
  const wanted = on ? others | MSR_TEST_CTRL_SPLIT_LOCK_DETECT : others
  return writeTestCtrl(processor, wanted) === 0 && processor.rdmsr(MSR_TEST_CTRL) === wanted
}

/**
 * Finds out whether detection can be turned off and on, and leaves it off. SLD-10, SLD-12; Linux 6.12 __split_lock_setup().
 * @returns the other bits of the register, which every later write keeps; null: it does not work
 */
export function probeTestCtrl(processor: HostProcessor): bigint | null {
  if (!verifyTestCtrl(processor, false)) return null
  const cacheValue = processor.rdmsr(MSR_TEST_CTRL)
  if (!verifyTestCtrl(processor, true)) return null
  writeTestCtrl(processor, cacheValue)
  return cacheValue
}
