import type { Kernel } from '../../linux/kernel.ts'
import type { PinnedProcessor } from '../../linux/processor.ts'
import { hostDetectsSplitLocks, hostSplitLockMode, isDetectionOn, switchDetectionForGuest } from '../../linux/splitlock/door.ts'
import type { Kvm } from '../kvm.ts'

/** MSR_TEST_CTRL[29] and MSR_IA32_CORE_CAPS[5]. SLD §1. */
export const TEST_CTRL_SPLIT_LOCK_DETECT = 1n << 29n
export const CORE_CAPS_SPLIT_LOCK_DETECT = 1n << 5n

/**
 * MSR_IA32_CORE_CAPS that a vCPU may have. SMT has to be impossible, because the register is the core's (SLD-44); but not for v10 in
 * fatal mode, where nobody writes it (SLD-52).
 */
export function supportedCoreCapabilities(kernel: Kernel): bigint {
  if (!hostDetectsSplitLocks(kernel)) return 0n
  const despiteSmt = kernel.profile.splitLock.offeredDespiteSmtIfFatal && hostSplitLockMode(kernel) === 'fatal'
  return kernel.machine.threadsPerCore === 1 || despiteSmt ? CORE_CAPS_SPLIT_LOCK_DETECT : 0n
}

/** Null where guests see nothing of it, as in every release (SLD-36). */
export function newGuestSplitLock(kvm: Kvm): GuestSplitLock | null {
  return kvm.profile.splitLock.guestVirtualization === 'none' ? null : new GuestSplitLock(kvm)
}

/** Split-lock detection of one vCPU under the proposals that give it to guests. SLD-43. */
export class GuestSplitLock {
  private readonly kvm: Kvm
  /** The guest's MSR_TEST_CTRL. */
  testCtrl = 0n
  /** Its MSR_IA32_CORE_CAPS. */
  coreCapabilities: bigint
  /** What to restore: detection of the vCPU's thread, taken when guest state was loaded (host_sld_on). */
  hostDetection = true
  /** The processor has the guest's setting (SLD-54). */
  loaded = false

  constructor(kvm: Kvm) {
    this.kvm = kvm
    this.coreCapabilities = kvm.supportedCoreCapabilities
  }

  /** The guest asked for #AC on split locks: it is always told. The capability is not looked at again (SLD-48, SLD-64). */
  get guestDetects(): boolean {
    return (this.testCtrl & TEST_CTRL_SPLIT_LOCK_DETECT) !== 0n
  }
  private get isOffered(): boolean {
    return (this.coreCapabilities & CORE_CAPS_SPLIT_LOCK_DETECT) !== 0n
  }

  // ---- world switch (SLD §6): preemption is off in all of these ----

  /** Before a VM entry: the guest's setting, unless it is loaded already (SLD-57). */
  load(cpu: PinnedProcessor): void {
    if (this.loaded) return
    this.hostDetection = isDetectionOn(cpu.current!)
    this.loaded = true
    this.switchTo(cpu, this.guestDetects)
  }

  /** The vCPU leaves its processor: at the end of an ioctl, or because its thread is scheduled out. */
  put(cpu: PinnedProcessor): void {
    if (!this.loaded) return
    this.switchTo(cpu, this.hostDetection)
    this.loaded = false
  }

  /** The stored setting reaches the processor at once only if the guest's is on it (SLD-60). */
  propagate(cpu: PinnedProcessor): void {
    if (this.loaded) this.switchTo(cpu, this.guestDetects)
  }

  private switchTo(cpu: PinnedProcessor, on: boolean): void {
    if (this.isOffered) switchDetectionForGuest(cpu, on)
  }

  // ---- registers ----

  /** A write of MSR_TEST_CTRL by guest or host. False: a bit is set that this vCPU does not have (SLD-45). */
  writeTestCtrl(value: bigint): boolean {
    const valid = this.isOffered ? TEST_CTRL_SPLIT_LOCK_DETECT : 0n
    if ((value & ~valid) !== 0n) return false
    this.testCtrl = value
    return true
  }

  /** A host's write of MSR_IA32_CORE_CAPS: a subset of what is supported (SLD-44). */
  writeCoreCapabilities(value: bigint): boolean {
    if ((value & ~this.kvm.supportedCoreCapabilities) !== 0n) return false
    this.coreCapabilities = value
    if (!this.isOffered && this.kvm.profile.splitLock.clearingCapabilityClearsControl)
      this.testCtrl &= ~TEST_CTRL_SPLIT_LOCK_DETECT
    return true
  }
}
