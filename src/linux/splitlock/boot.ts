import { MSR_IA32_DEBUGCTLMSR } from '../../isa/msr-index.ts'
import type { Kernel } from '../kernel.ts'
import type { PinnedProcessor } from '../processor.ts'
import { verifyTestCtrl } from './probe.ts'
import type { SplitLock } from './state.ts'
import { setDetection } from './test-ctrl.ts'

const DEBUGCTLMSR_BUS_LOCK_DETECT = 4n

/** Detection of a processor that comes up, by #AC and by #DB. SLD-14; Linux 6.12 split_lock_init(), bus_lock_init(). */
export function initDetection(cpu: PinnedProcessor): void {
  const { splitLock } = cpu.kernel
  initSplitLock(cpu, splitLock)
  if (splitLock.hasBusLockDetect) setBusLockTrap(cpu, detectsByDb(splitLock))
}

/**
 * A processor goes offline. In warn mode the work that would turn its detection on again will run on another one, and a sibling
 * shares its register: detection is on from now, whatever it was. SLD-16; Linux 6.12 splitlock_cpu_offline(), since 5.19.
 */
export function detectionGoesOffline(cpu: PinnedProcessor): void {
  const { splitLock, profile } = cpu.kernel
  if (profile.splitLock.warnDesign === 'timed-reenable' && splitLock.mode === 'warn' && splitLock.hasSplitLockDetect) {
    setDetection(cpu, true)
  }
}

/** What boot says in the log. */
export function announceDetection({ splitLock, log }: Kernel): void {
  if (!splitLock.hasSplitLockDetect && !splitLock.hasBusLockDetect) return
  const text = announcement(splitLock)
  if (text !== null) log.write(`x86/split lock detection: ${text}`)
}

/** Its other bits stay. */
function initSplitLock({ processor }: PinnedProcessor, splitLock: SplitLock): void {
  if (splitLock.mode === 'ratelimit') verifyTestCtrl(processor, false)
  else if (splitLock.isSupported) verifyTestCtrl(processor, splitLock.mode !== 'off')
}

/** Split locks raise #AC: in warn and fatal mode, where the processor can. */
const detectsByAc = ({ mode, hasSplitLockDetect }: SplitLock): boolean =>
  hasSplitLockDetect && (mode === 'warn' || mode === 'fatal')

/** Bus locks raise #DB: where the processor can and #AC does not do it. */
const detectsByDb = (splitLock: SplitLock): boolean =>
  splitLock.hasBusLockDetect && splitLock.mode !== 'off' && !detectsByAc(splitLock)

function setBusLockTrap({ processor }: PinnedProcessor, on: boolean): void {
  const others = processor.rdmsr(MSR_IA32_DEBUGCTLMSR) & ~DEBUGCTLMSR_BUS_LOCK_DETECT
  processor.wrmsr(MSR_IA32_DEBUGCTLMSR, others | (on ? DEBUGCTLMSR_BUS_LOCK_DETECT : 0n))
}

/** The line of the boot log (sld_state_show). */
function announcement(splitLock: SplitLock): string | null {
  const { mode, hasSplitLockDetect } = splitLock
  switch (mode) {
    case 'off':
      return 'disabled'
    case 'warn':
      return hasSplitLockDetect
        ? '#AC: crashing the kernel on kernel split_locks and warning on user-space split_locks'
        : '#DB: warning on user-space bus_locks'
    case 'fatal':
      return hasSplitLockDetect
        ? '#AC: crashing the kernel on kernel split_locks and sending SIGBUS on user-space split_locks'
        : '#DB: sending SIGBUS on user-space bus_locks'
    case 'ratelimit':
      return splitLock.hasBusLockDetect
        ? `#DB: setting system wide bus lock rate limit to ${splitLock.busLockRate.burst}/sec`
        : null
  }
}
