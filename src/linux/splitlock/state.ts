import type { HostProcessor } from '../hardware.ts'
import type { Kernel } from '../kernel.ts'
import { RateLimit } from '../rate-limit.ts'
import { WaitQueue } from '../wait-queue.ts'
import { parseSplitLockOption, type SplitLockMode } from './mode.ts'
import { probeTestCtrl } from './probe.ts'

/** Split-lock detection of one host: what boot found and decided, and what warn mode keeps. SLD §2, §3. */
export class SplitLock {
  readonly mode: SplitLockMode
  /** The processor is one that has MSR_TEST_CTRL[29], and nothing above us hides it (SLD-09, SLD-10). */
  readonly isSupported: boolean
  /** Feature flag split_lock_detect: boot found MSR_TEST_CTRL[29] to work (SLD-10, SLD-11). */
  readonly hasSplitLockDetect: boolean
  /** Feature flag bus_lock_detect: IA32_DEBUGCTL[2] (CPUID.(7,0):ECX[24]). */
  readonly hasBusLockDetect: boolean
  /** MSR_TEST_CTRL without the detection bit, as boot found it on the first processor: every later write keeps it (SLD-12). */
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

  /** @param boot the processor that boots @param option text of `split_lock_detect=`, undefined when it is not given */
  constructor(kernel: Kernel, boot: HostProcessor, option: string | undefined) {
    const { model, profile } = kernel
    const { mode, perSecond } = parseSplitLockOption(option)
    this.isSupported = model.splitLockDetect && !model.has('hypervisor')
    const found = this.isSupported ? probeTestCtrl(boot) : null
    if (this.isSupported && found === null) kernel.log.write('x86/split lock detection: MSR access failed: Disabled')
    this.hasBusLockDetect = profile.splitLock.busLockDetection && model.has('bus-lock-detect')
    // Up to 5.11 `off` returned before the feature flag was set (SLD-11).
    this.hasSplitLockDetect = found !== null && (mode !== 'off' || profile.splitLock.featureSetWhenOff)
    this.mode = found !== null || this.hasBusLockDetect ? mode : 'off'
    this.cacheValue = found ?? 0n
    this.busLockRate = new RateLimit(() => kernel.clock.now, 1e9, perSecond)
  }
}
