import { X86_CR4_OSXSAVE, X86_CR4_PKE } from '../../isa/control-registers.ts'
import type { CpuidRegisters } from '../../isa/cpu-model.ts'
import { X86_TRAP_NM } from '../../isa/vectors.ts'
import { XFEATURE_MASK_PKRU } from '../../isa/xfeatures.ts'
import {
  ensureRegistersLoaded,
  guestXfd,
  guestXfdErr,
  isConfidential,
  setGuestXfdErr,
  syncGuestXfdAfterExit,
} from '../../linux/fpu/door.ts'
import type { HostProcessor } from '../../linux/hardware.ts'
import type { PinnedProcessor } from '../../linux/processor.ts'
import { CTL } from '../../machine/execution-context.ts'
import { EXIT_REASON_EXCEPTION_NMI } from '../../machine/exits.ts'
import { PKRU } from '../../machine/memory-map.ts'
import type { MmioPort, Vmcs } from '../../machine/vmcs.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'

/** What KVM uses of a logical processor beyond what the host kernel does: the hardware half of virtualization. */
export interface VirtualizingProcessor extends HostProcessor {
  enterGuest(vmcs: Vmcs, budget: number): number
  emulateInstruction(vmcs: Vmcs, port: MmioPort): number
  /** The last emulated instruction had a locked operand across cache lines. */
  readonly emulatedSplitLock: boolean
  cpuid(leaf: number, subleaf: number): CpuidRegisters
}

/**
 * One world switch: loads what the guest owns and the host does not tolerate for longer (GFPU §2 table), enters the guest, and
 * takes it back. Order as Linux 6.12 vcpu_enter_guest() and kvm_load_guest_xsave_state().
 *
 * @returns the basic exit reason. Runs for as long as the host clock allows (`EXIT_REASON_PREEMPTION_TIMER`).
 */
export function worldSwitch(cpu: PinnedProcessor, vcpu: Vcpu): number {
  const processor = cpu.processor as VirtualizingProcessor
  ensureRegistersLoaded(cpu)
  vcpu.supervisorSsp.enter(cpu)
  const enteredWithErr = guestXfdErr(vcpu.guestFpu)
  if (enteredWithErr !== 0) processor.writeXfdErr(enteredWithErr)
  loadGuestXsaveState(processor, vcpu)

  vcpu.hasRun = true
  vcpu.stats.exits++
  const reason = processor.enterGuest(vcpu.vmcs, cpu.budget())
  cpu.account(processor.retired)

  loadHostXsaveState(processor, vcpu)
  if (vcpu.xfdPassThrough) syncGuestXfdAfterExit(cpu)
  if (
    reason === EXIT_REASON_EXCEPTION_NMI &&
    (vcpu.vmcs.exitInterruptionInfo & 0xff) === X86_TRAP_NM &&
    guestXfd(vcpu.guestFpu) !== 0
  ) {
    // Read before the host can take an #NM of its own (GFPU-30).
    setGuestXfdErr(vcpu.guestFpu, processor.readXfdErr())
  }
  if (guestXfdErr(vcpu.guestFpu) !== 0) processor.writeXfdErr(0)
  return reason
}

/** Runs one guest instruction with accesses to unbacked guest-physical addresses answered by `port`, in the guest's state. */
export function emulateOne(cpu: PinnedProcessor, vcpu: Vcpu, port: MmioPort): number {
  const processor = cpu.processor as VirtualizingProcessor
  ensureRegistersLoaded(cpu)
  vcpu.supervisorSsp.enter(cpu)
  loadGuestXsaveState(processor, vcpu)
  const result = processor.emulateInstruction(vcpu.vmcs, port)
  cpu.account(processor.retired)
  loadHostXsaveState(processor, vcpu)
  // SLD-46: no #AC for anybody.
  if (processor.emulatedSplitLock) cpu.kernel.log.warnOnce('kvm: emulating exchange as write')
  return result
}

/** XCR0, IA32_XSS and PKRU become the guest's, where it can tell. GFPU-17..19; not for encrypted registers, GFPU-23. */
function loadGuestXsaveState(processor: HostProcessor, vcpu: Vcpu): void {
  if (isConfidential(vcpu.guestFpu)) return
  const cr4 = vcpu.context.ctlLo(CTL.CR4)
  const { kvm } = vcpu.vm
  if (cr4 & X86_CR4_OSXSAVE) {
    if (vcpu.xcr0 !== kvm.hostXcr0) processor.setXcr0(vcpu.xcr0)
    if (vcpu.guestHasXsaves && vcpu.xss !== kvm.hostXss) processor.setXss(vcpu.xss)
  }
  if (kvm.hostHasPku && vcpu.pkru !== vcpu.hostPkru && (vcpu.xcr0 & XFEATURE_MASK_PKRU || cr4 & X86_CR4_PKE))
    processor.setPkru(vcpu.pkru)
}

function loadHostXsaveState(processor: HostProcessor, vcpu: Vcpu): void {
  if (isConfidential(vcpu.guestFpu)) return
  const cr4 = vcpu.context.ctlLo(CTL.CR4)
  const { kvm } = vcpu.vm
  if (kvm.hostHasPku && (vcpu.xcr0 & XFEATURE_MASK_PKRU || cr4 & X86_CR4_PKE)) {
    vcpu.pkru = vcpu.context.mem.u32[(processor.registerFile + PKRU) >> 2]
    if (vcpu.pkru !== vcpu.hostPkru) processor.setPkru(vcpu.hostPkru)
  }
  if (cr4 & X86_CR4_OSXSAVE) {
    if (vcpu.xcr0 !== kvm.hostXcr0) processor.setXcr0(kvm.hostXcr0)
    if (vcpu.guestHasXsaves && vcpu.xss !== kvm.hostXss) processor.setXss(kvm.hostXss)
  }
}
