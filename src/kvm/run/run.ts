import { X86_EFLAGS_IF, X86_EFLAGS_TF } from '../../isa/control-registers.ts'
import { EAGAIN, EINTR, EINVAL, EIO } from '../../linux/errno.ts'
import { hostPkru } from '../../linux/fpu/door.ts'
import { calledFrom } from '../../linux/oops.ts'
import {
  type MaybePreemptible,
  PREEMPTION_POINT,
  type Preemptible,
  SLEEP,
  withPreemptionDisabled,
} from '../../linux/preemption.ts'
import type { PinnedProcessor } from '../../linux/processor.ts'
import type { SignalSet } from '../../linux/signal/signal-set.ts'
import type { Task } from '../../linux/task.ts'
import {
  KVM_EXIT_DIRTY_RING_FULL,
  KVM_EXIT_INTR,
  KVM_EXIT_IOAPIC_EOI,
  KVM_EXIT_IRQ_WINDOW_OPEN,
  KVM_EXIT_SHUTDOWN,
  KVM_EXIT_TPR_ACCESS,
  KVM_EXIT_UNKNOWN,
  KVM_MP_STATE_HALTED,
  KVM_MP_STATE_INIT_RECEIVED,
  KVM_MP_STATE_RUNNABLE,
  KVM_MP_STATE_UNINITIALIZED,
  KVM_RUN_X86_SMM,
} from '../abi/exit-reasons.ts'
import { KVM_RUN_PAGE as AT } from '../abi/structs.ts'
import type { IoctlCall } from '../ioctl-table.ts'
import { updateClockPage } from '../pv/clock-page.ts'
import { notePreempted, updateStealTime } from '../pv/steal-time.ts'
import { getCr8, setCr8 } from '../vcpu/control-registers.ts'
import { loadGuestRegisters, putGuestRegisters } from '../vcpu/guest-registers.ts'
import { exportSyncRegs, importSyncRegs, KVM_SYNC_X86_VALID_FIELDS } from '../vcpu/sync-regs.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import * as V from '../vcpu/vcpu.ts'
import { ENTER_GUEST, EXIT_TO_USER } from './exit-results.ts'
import { handleExit } from './exits.ts'
import { hasInjectableInterrupt, injectEvents, interruptAllowed, processNmis } from './injection.ts'
import { KVM_GUESTDBG_SINGLESTEP } from './instruction.ts'
import { worldSwitch } from './world-switch.ts'

/** KVM_RUN could not finish without the scheduler: sleep, preemption, signal. Not a result of KVM_RUN. */
const NEEDS_SCHEDULER = -4096
/** Requests that are looked at before each entry. */
const ANY_REQUEST = -1

/**
 * KVM_RUN. Order: KAPI-13. Exits that need neither sleep nor preemption are finished here, in plain code; only then is a
 * generator made.
 */
export function kvmRun(vcpu: Vcpu, argument: number, call: IoctlCall): MaybePreemptible<number> {
  if (argument !== 0) return call.refuse(EINVAL, 'KAPI-06', 'KVM_RUN takes no argument')
  const { task } = call
  if (task.kernel.yieldsEverywhere) return runWithEveryPreemptionPoint(vcpu, call)
  const immediate = vcpu.run.immediateExit
  const mask = vcpu.signalMask === null ? null : beginSignalMask(vcpu, task)
  vcpu.runner = task
  vcpu.run.setU16(AT.flags, 0)
  withPreemptionDisabled(task, loadVcpu, vcpu)
  const started = prepare(vcpu, task, call, immediate)
  let result = started
  if (started === ENTER_GUEST) {
    vcpu.run.exitReason = KVM_EXIT_UNKNOWN
    result = runnable(vcpu) ? withPreemptionDisabled(task, runUntilAttention, vcpu) : NEEDS_SCHEDULER
  }
  if (result !== NEEDS_SCHEDULER) return finishRun(vcpu, task, mask, result)
  return started === NEEDS_SCHEDULER ? waitUninitialized(vcpu, task, mask) : runLoop(vcpu, task, mask)
}

/** The same steps in the same order, with the places between them where Linux's could lose the processor. */
function* runWithEveryPreemptionPoint(vcpu: Vcpu, call: IoctlCall): Preemptible<number> {
  const { task } = call
  const immediate = vcpu.run.immediateExit
  const mask = vcpu.signalMask === null ? null : beginSignalMask(vcpu, task)
  vcpu.runner = task
  vcpu.run.setU16(AT.flags, 0)
  yield PREEMPTION_POINT
  withPreemptionDisabled(task, loadVcpu, vcpu)
  yield PREEMPTION_POINT
  const started = prepare(vcpu, task, call, immediate)
  yield PREEMPTION_POINT
  if (started === NEEDS_SCHEDULER) return yield* waitUninitialized(vcpu, task, mask)
  if (started !== ENTER_GUEST) return finishRun(vcpu, task, mask, started)
  vcpu.run.exitReason = KVM_EXIT_UNKNOWN
  return yield* runLoop(vcpu, task, mask)
}

function beginSignalMask(vcpu: Vcpu, task: Task): SignalSet {
  const mask = vcpu.signalMask!
  return task.beginTemporaryMask(Number(mask & 0xffffffffn) | 0, Number(mask >> 32n) | 0)
}

function loadVcpu(cpu: PinnedProcessor, vcpu: Vcpu): void {
  vcpu.vm.kvm.kernel.costs.kvmRuns++
  vcpu.hostPkru = hostPkru(vcpu.runner!)
  try {
    loadGuestRegisters(cpu, vcpu)
  } catch (error) {
    throw calledFrom(error, 'kvm_arch_vcpu_ioctl_run', 'kvm_vcpu_ioctl')
  }
  if (vcpu.msrs.stealTime & 1n) vcpu.request(V.REQ_STEAL_UPDATE)
}

function putVcpu(cpu: PinnedProcessor, vcpu: Vcpu): void {
  vcpu.residency.leave(cpu)
  putGuestRegisters(cpu, vcpu)
}

/** Everything before the run loop: ENTER_GUEST to go on, NEEDS_SCHEDULER to wait for INIT, else the result. */
function prepare(vcpu: Vcpu, task: Task, call: IoctlCall, immediate: boolean): number {
  const { run } = vcpu
  if (vcpu.mpState === KVM_MP_STATE_UNINITIALIZED) return immediate ? -EINTR : NEEDS_SCHEDULER
  const valid = run.u32(AT.kvm_valid_regs) | run.u32(AT.kvm_valid_regs + 4)
  const dirty = run.u32(AT.kvm_dirty_regs)
  if ((valid | dirty | run.u32(AT.kvm_dirty_regs + 4)) & ~KVM_SYNC_X86_VALID_FIELDS) {
    return call.refuse(EINVAL, 'KAPI-15', 'kvm_valid_regs or kvm_dirty_regs has a bit beside 0..2')
  }
  if (dirty !== 0) {
    const imported = importSyncRegs(vcpu, dirty, call)
    if (imported !== 0) return imported
  }
  if (vcpu.lapic === null && !setCr8(vcpu, run.u32(AT.cr8))) return call.refuse(EINVAL, 'KAPI-18', 'kvm_run.cr8 is above 15')
  const { completion } = vcpu
  if (completion !== null) {
    vcpu.completion = null
    const result = completion(vcpu)
    if (result <= 0) return result
  }
  // immediate_exit was sampled at the start (KAPI-19).
  if (immediate) return -EINTR
  return task.signalPending() ? interrupted(vcpu) : ENTER_GUEST
}

function interrupted(vcpu: Vcpu): number {
  vcpu.run.exitReason = KVM_EXIT_INTR
  vcpu.stats.signal_exits++
  return -EINTR
}

const runnable = (vcpu: Vcpu): boolean => vcpu.mpState === KVM_MP_STATE_RUNNABLE

/**
 * The inner loop: enters the guest and handles exits until user space, a signal, the scheduler or a halt needs attention.
 * Runs with preemption disabled as one plain function; the processor may be lost only between two calls of it.
 */
function runUntilAttention(cpu: PinnedProcessor, vcpu: Vcpu): number {
  const task = vcpu.runner!
  for (;;) {
    if (vcpu.requests !== 0 || wantsInterruptWindow(vcpu)) {
      const result = serviceRequests(vcpu)
      if (result !== ENTER_GUEST) return result
      if (!runnable(vcpu)) return NEEDS_SCHEDULER
    }
    if (vcpu.guestDebug & KVM_GUESTDBG_SINGLESTEP) vcpu.context.rflagsRest |= X86_EFLAGS_TF
    if (vcpu.splitLock !== null) vcpu.splitLock.load(cpu)
    const reason = worldSwitch(cpu, vcpu)
    const result = handleExit(vcpu, cpu, reason)
    if (result !== ENTER_GUEST) return result
    if (vcpu.injectAgain) {
      vcpu.injectAgain = false
      vcpu.request(V.REQ_EVENT)
    }
    if (windowIsOpen(vcpu)) return irqWindowExit(vcpu)
    if (cpu.needResched || vcpu.beforeEntry !== null || !runnable(vcpu) || task.signalPending()) return NEEDS_SCHEDULER
  }
}

/** User space asked to be told when it can inject, and interrupts are its business. KAPI-20. */
function wantsInterruptWindow(vcpu: Vcpu): boolean {
  return vcpu.run.requestInterruptWindow && acceptsUserInterrupt(vcpu)
}
function acceptsUserInterrupt(vcpu: Vcpu): boolean {
  if (vcpu.vm.irqchipMode === 'kernel') return false
  if (vcpu.vm.irqchipMode === 'split') return vcpu.splitExternal < 0 && vcpu.lapic!.acceptsPic
  return !vcpu.interruptInjected
}
/** The guest could take an interrupt now. */
function readyForInterrupt(vcpu: Vcpu): boolean {
  return (
    acceptsUserInterrupt(vcpu) &&
    !vcpu.exception.pending &&
    !vcpu.exception.injected &&
    interruptAllowed(vcpu) &&
    !vcpu.interruptInjected &&
    !vcpu.nmiInjected
  )
}
const windowIsOpen = (vcpu: Vcpu): boolean => vcpu.run.requestInterruptWindow && readyForInterrupt(vcpu)

function irqWindowExit(vcpu: Vcpu): number {
  vcpu.run.exitReason = KVM_EXIT_IRQ_WINDOW_OPEN
  vcpu.stats.request_irq_exits++
  return EXIT_TO_USER
}

/** Requests in the order of KAPI-21. ENTER_GUEST to go on. */
function serviceRequests(vcpu: Vcpu): number {
  const { run } = vcpu
  if (vcpu.requests & ANY_REQUEST) {
    if (vcpu.takeRequest(V.REQ_VM_DEAD)) return -EIO
    if (vcpu.requests & V.REQ_DIRTY_RING_SOFT_FULL) {
      run.exitReason = KVM_EXIT_DIRTY_RING_FULL
      return EXIT_TO_USER
    }
    if (vcpu.takeRequest(V.REQ_CLOCK_UPDATE)) updateClockPage(vcpu)
    if (vcpu.takeRequest(V.REQ_TLB_FLUSH)) vcpu.vmcs.space.flush()
    if (vcpu.takeRequest(V.REQ_REPORT_TPR_ACCESS)) {
      run.exitReason = KVM_EXIT_TPR_ACCESS
      return EXIT_TO_USER
    }
    if (vcpu.takeRequest(V.REQ_TRIPLE_FAULT)) {
      run.exitReason = KVM_EXIT_SHUTDOWN
      return EXIT_TO_USER
    }
    if (vcpu.takeRequest(V.REQ_STEAL_UPDATE)) updateStealTime(vcpu)
    if (vcpu.takeRequest(V.REQ_NMI)) processNmis(vcpu)
    if (vcpu.takeRequest(V.REQ_IOAPIC_EOI_EXIT)) {
      run.exitReason = KVM_EXIT_IOAPIC_EOI
      run.setU8(AT.EXIT, vcpu.pendingIoapicEoi)
      return EXIT_TO_USER
    }
    vcpu.takeRequest(V.REQ_MSR_FILTER_CHANGED)
  }
  if (vcpu.takeRequest(V.REQ_EVENT) || wantsInterruptWindow(vcpu)) {
    vcpu.stats.req_event++
    vcpu.lapic?.processInitSipi()
    if (vcpu.mpState === KVM_MP_STATE_INIT_RECEIVED) return ENTER_GUEST
    injectEvents(vcpu)
    if (wantsInterruptWindow(vcpu)) vcpu.vmcs.controls.interruptWindowExiting = true
  }
  return ENTER_GUEST
}

/** KVM_RUN as code that can lose the processor: preemption, halts, signals between entries. */
function* runLoop(vcpu: Vcpu, task: Task, mask: SignalSet | null): Preemptible<number> {
  let result = NEEDS_SCHEDULER
  while (result === NEEDS_SCHEDULER) {
    if (vcpu.beforeEntry !== null) {
      const work = vcpu.beforeEntry
      vcpu.beforeEntry = null
      yield* work
    }
    if (task.signalPending()) {
      result = interrupted(vcpu)
      break
    }
    if (!runnable(vcpu)) {
      halted(vcpu)
      if (!runnable(vcpu)) {
        // Blocks in the kernel: HLT, or waiting for SIPI. Timers, interrupts and signals wake it.
        notePreempted(vcpu)
        vcpu.wakeups.add(task)
        task.prepareToSleep()
        yield SLEEP
        vcpu.wakeups.remove(task)
        if (vcpu.msrs.stealTime & 1n) vcpu.request(V.REQ_STEAL_UPDATE)
        continue
      }
    }
    if (task.cpu!.needResched) {
      notePreempted(vcpu)
      yield PREEMPTION_POINT
      if (vcpu.msrs.stealTime & 1n) vcpu.request(V.REQ_STEAL_UPDATE)
      continue
    }
    result = withPreemptionDisabled(task, runUntilAttention, vcpu)
  }
  if (task.kernel.yieldsEverywhere) yield PREEMPTION_POINT
  return finishRun(vcpu, task, mask, result)
}

/** Whether a halted vCPU has a reason to go on: makes it runnable if so. Linux 6.12 vcpu_block(). */
function halted(vcpu: Vcpu): void {
  vcpu.lapic?.processInitSipi()
  if (vcpu.mpState !== KVM_MP_STATE_HALTED) return
  if (vcpu.requests & V.REQ_NMI) {
    vcpu.takeRequest(V.REQ_NMI)
    processNmis(vcpu)
  }
  const wakes =
    vcpu.exception.pending ||
    vcpu.pvUnhalted ||
    (vcpu.nmiPending > 0 && !vcpu.nmiMasked) ||
    (vcpu.requests & V.REQ_TRIPLE_FAULT) !== 0 ||
    (interruptAllowed(vcpu) && hasInjectableInterrupt(vcpu))
  if (!wakes) return
  vcpu.pvUnhalted = false
  vcpu.mpState = KVM_MP_STATE_RUNNABLE
  vcpu.stats.halt_wakeup++
  vcpu.request(V.REQ_EVENT)
}

/** An AP that was never started: KVM_RUN waits for INIT and SIPI, then lets user space call again. KAPI-14. */
function* waitUninitialized(vcpu: Vcpu, task: Task, mask: SignalSet | null): Preemptible<number> {
  while (vcpu.mpState === KVM_MP_STATE_UNINITIALIZED && !task.signalPending()) {
    if (vcpu.lapic !== null && (vcpu.lapic.initPending || vcpu.lapic.sipiPending)) break
    vcpu.wakeups.add(task)
    task.prepareToSleep()
    yield SLEEP
    vcpu.wakeups.remove(task)
  }
  vcpu.lapic?.processInitSipi()
  return finishRun(vcpu, task, mask, task.signalPending() ? interrupted(vcpu) : -EAGAIN)
}

/** Puts the guest FPU, exports what user space asked for, writes the post-run fields (KAPI-17, KAPI-22). */
function finishRun(vcpu: Vcpu, task: Task, mask: SignalSet | null, result: number): number {
  const { run, context } = vcpu
  if (vcpu.guestDebug & KVM_GUESTDBG_SINGLESTEP) context.rflagsRest &= ~X86_EFLAGS_TF
  withPreemptionDisabled(task, putVcpu, vcpu)
  const valid = run.u32(AT.kvm_valid_regs)
  if (valid !== 0) exportSyncRegs(vcpu, valid)
  run.setU8(AT.if_flag, context.rflagsRest & X86_EFLAGS_IF ? 1 : 0)
  run.setHalves(AT.cr8, getCr8(vcpu), 0)
  run.setU64(AT.apic_base, vcpu.apicBase)
  run.setU8(AT.ready_for_interrupt_injection, vcpu.vm.irqchipMode === 'kernel' || readyForInterrupt(vcpu) ? 1 : 0)
  if (vcpu.smm) run.setU8(AT.flags, run.u8(AT.flags) | KVM_RUN_X86_SMM)
  vcpu.runner = null
  vcpu.vm.kvm.kernel.costs.runReturned(result, run.exitReason)
  if (mask !== null) task.endTemporaryMask(mask)
  return result
}
