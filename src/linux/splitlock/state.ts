import type { Kernel } from '../kernel.ts'
import { RateLimit } from '../rate-limit.ts'
import { WaitQueue } from '../wait-queue.ts'
import { parseSplitLockOption, type SplitLockMode } from './mode.ts'

/** MSR_TEST_CTRL[29]: a locked access across cache lines raises #AC. */
export const MSR_TEST_CTRL_SPLIT_LOCK_DETECT = 1n << 29n

/** Split-lock detection of one host: what boot found and decided, and what warn mode keeps. SLD §2, §3. */
export class SplitLock {
  readonly mode: SplitLockMode
  /** Feature flag split_lock_detect: MSR_TEST_CTRL[29] works, and nothing above us hides it (SLD-09, SLD-10). */
  readonly hasSplitLockDetect: boolean
  /** Feature flag bus_lock_detect: IA32_DEBUGCTL[2] (CPUID.(7,0):ECX[24]). */
  readonly hasBusLockDetect: boolean
  /** MSR_TEST_CTRL without the detection bit, as boot found it: every later write keeps it (SLD-12). */
  readonly cacheValue: bigint
  /** sysctl kernel.split_lock_mitigate (SLD-15). */
  mitigate = true
  /** buslock_sem: at most one processor runs with detection off while mitigation is on (SLD-19). */
  busLockHeld = false
  readonly busLockWaiters = new WaitQueue()
  /** Processors with delayed work pending that turns detection on again; with shared work at most one (SLD-21). */
  readonly reenablePending = new Set<number>()
  /** ratelimit:N (SLD-24). */
  readonly busLockRate: RateLimit

  /** @param option text of `split_lock_detect=`, undefined when it is not given */
  constructor(kernel: Kernel, option: string | undefined) {
    const { model, profile } = kernel
    const { mode, perSecond } = parseSplitLockOption(option)
    const supported = model.splitLockDetect && !model.has('hypervisor')
    this.hasBusLockDetect = profile.splitLock.busLockDetection && model.has('bus-lock-detect')
    // Up to 5.11 `off` returned before the feature flag was set (SLD-11).
    this.hasSplitLockDetect = supported && (mode !== 'off' || profile.splitLock.featureSetWhenOff)
    this.mode = supported || this.hasBusLockDetect ? mode : 'off'
    this.cacheValue = 0n
    this.busLockRate = new RateLimit(() => kernel.clock.now, 1e9, perSecond)
  }
}
