import type { Kernel } from '../../linux/kernel.ts'
import type { PinnedProcessor } from '../../linux/processor.ts'
import { hostDetectsSplitLocks, isDetectionOn, switchDetectionForGuest } from '../../linux/splitlock/door.ts'
import type { Kvm } from '../kvm.ts'
import type { Vcpu } from './vcpu.ts'

/** MSR_TEST_CTRL[29] and MSR_IA32_CORE_CAPS[5]. SLD §1. */
export const TEST_CTRL_SPLIT_LOCK_DETECT = 1n << 29n
export const CORE_CAPS_SPLIT_LOCK_DETECT = 1n << 5n

/** Split-lock detection of one vCPU under the proposals that give it to guests. SLD-43. */
export interface GuestSplitLock {
  /** The guest's MSR_TEST_CTRL. */
  testCtrl: bigint
  /** Its MSR_IA32_CORE_CAPS. */
  coreCapabilities: bigint
  /** What to restore: detection of the vCPU's thread, taken when guest state was loaded (host_sld_on). */
  hostDetection: boolean
  /** The processor has the guest's setting (SLD-54). */
  loaded: boolean
}

/** Null where guests see nothing of it, as in every release (SLD-36). */
export function newGuestSplitLock(kvm: Kvm): GuestSplitLock | null {
  if (kvm.profile.splitLock.guestVirtualization === 'none') return null
  return { testCtrl: 0n, coreCapabilities: kvm.supportedCoreCapabilities, hostDetection: true, loaded: false }
}

/**
 * MSR_IA32_CORE_CAPS that a vCPU may have. v8 wants SMT to be impossible, because the register is the core's (SLD-44); v10 does
 * not ask (SLD-52). A modelled host has one thread a core.
 */
export const supportedCoreCapabilities = (kernel: Kernel): bigint =>
  hostDetectsSplitLocks(kernel) ? CORE_CAPS_SPLIT_LOCK_DETECT : 0n

/** The guest asked for #AC on split locks: it is always told. The capability is not looked at again (SLD-48, SLD-64). */
export const guestDetectsSplitLocks = ({ splitLock }: Vcpu): boolean =>
  splitLock !== null && (splitLock.testCtrl & TEST_CTRL_SPLIT_LOCK_DETECT) !== 0n

/** Before a VM entry: the guest's setting, unless it is loaded already (SLD §6, SLD-57). */
export function loadGuestDetection(cpu: PinnedProcessor, vcpu: Vcpu, splitLock: GuestSplitLock): void {
  if (splitLock.loaded) return
  splitLock.hostDetection = isDetectionOn(cpu.current!)
  splitLock.loaded = true
  switchTo(cpu, splitLock, guestDetectsSplitLocks(vcpu))
}

/** The vCPU leaves its processor: at the end of an ioctl, or because its thread is scheduled out. */
export function putGuestDetection(cpu: PinnedProcessor, splitLock: GuestSplitLock): void {
  if (!splitLock.loaded) return
  switchTo(cpu, splitLock, splitLock.hostDetection)
  splitLock.loaded = false
}

function switchTo(cpu: PinnedProcessor, { coreCapabilities }: GuestSplitLock, on: boolean): void {
  if ((coreCapabilities & CORE_CAPS_SPLIT_LOCK_DETECT) !== 0n) switchDetectionForGuest(cpu, on)
}

/** A write of MSR_TEST_CTRL by guest or host. False: a bit is set that this vCPU does not have (SLD-45). */
export function writeTestCtrl(splitLock: GuestSplitLock, value: bigint): boolean {
  const valid = (splitLock.coreCapabilities & CORE_CAPS_SPLIT_LOCK_DETECT) !== 0n ? TEST_CTRL_SPLIT_LOCK_DETECT : 0n
  if ((value & ~valid) !== 0n) return false
  splitLock.testCtrl = value
  return true
}

/** The stored setting reaches the processor at once only if the guest's is on it (SLD-60). */
export function propagateTestCtrl(cpu: PinnedProcessor, vcpu: Vcpu): void {
  const { splitLock } = vcpu
  if (splitLock?.loaded) switchTo(cpu, splitLock, guestDetectsSplitLocks(vcpu))
}

/** A host's write of MSR_IA32_CORE_CAPS: a subset of what is supported (SLD-44). */
export function writeCoreCapabilities(vcpu: Vcpu, splitLock: GuestSplitLock, value: bigint): boolean {
  const { kvm } = vcpu.vm
  if ((value & ~kvm.supportedCoreCapabilities) !== 0n) return false
  splitLock.coreCapabilities = value
  const lost = (value & CORE_CAPS_SPLIT_LOCK_DETECT) === 0n
  if (lost && kvm.profile.splitLock.clearingCapabilityClearsControl) splitLock.testCtrl &= ~TEST_CTRL_SPLIT_LOCK_DETECT
  return true
}
