import {
  DR6_BD,
  DR6_BUS_LOCK,
  DR6_FIXED_1,
  DR6_RTM,
  DR6_VOLATILE,
  DR7_FIXED_1,
  DR7_GD,
  DR7_VOLATILE,
  X86_CR0_AM,
  X86_CR0_TS,
  X86_CR4_DE,
  X86_CR4_VMXE,
  X86_EFLAGS_AC,
} from '../../isa/control-registers.ts'
import { X86_TRAP_AC, X86_TRAP_BP, X86_TRAP_DB, X86_TRAP_GP, X86_TRAP_NM, X86_TRAP_UD } from '../../isa/vectors.ts'
import { EFAULT } from '../../linux/errno.ts'
import type { PinnedProcessor } from '../../linux/processor.ts'
import { handleGuestSplitLock, hostDetectsSplitLocks } from '../../linux/splitlock/door.ts'
import { CTL, REG } from '../../machine/execution-context.ts'
import * as EXIT from '../../machine/exits.ts'
import {
  INTR_INFO_DELIVER_CODE,
  INTR_INFO_VALID,
  INTR_TYPE_EXT_INTR,
  INTR_TYPE_HARD_EXCEPTION,
  INTR_TYPE_NMI,
  INTR_TYPE_SOFT_EXCEPTION,
  INTR_TYPE_SOFT_INTR,
} from '../../machine/vmcs.ts'
import {
  KVM_EXIT_EXCEPTION,
  KVM_EXIT_FAIL_ENTRY,
  KVM_EXIT_HLT,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_SET_TPR,
  KVM_EXIT_SHUTDOWN,
  KVM_EXIT_X86_BUS_LOCK,
  KVM_INTERNAL_ERROR_DELIVERY_EV,
  KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
  KVM_MP_STATE_HALTED,
  KVM_RUN_X86_BUS_LOCK,
} from '../abi/exit-reasons.ts'
import { KVM_RUN_PAGE } from '../abi/structs.ts'
import { cpuidResult, guestCpuidHas, lookUpGuestCpuid } from '../cpuid/vcpu-cpuid.ts'
import { cr4Refused, guestXfdArmed, refusedToGuest, xcr0WithoutRoom, xsetbvMisused } from '../explain.ts'
import { GUEST_FETCH, MAPPED, NO_USER_PAGE } from '../memory/guest-memory.ts'
import { getCr8, setCr0, setCr4, setCr8 } from '../vcpu/control-registers.ts'
import { GUEST_INTR_STATE_NMI, REQ_EVENT, type Vcpu } from '../vcpu/vcpu.ts'
import { setXcr0, xcr0Refusal } from '../vcpu/xcr0.ts'
import { emulationFailure, fetchInstruction } from './emulation-failure.ts'
import { ENTER_GUEST, EXIT_TO_USER } from './exit-results.ts'
import { handleHypercall, handleInvalidOpcode } from './hypercall.ts'
import {
  debugExit,
  is64BitCode,
  KVM_GUESTDBG_SINGLESTEP,
  KVM_GUESTDBG_USE_HW_BP,
  KVM_GUESTDBG_USE_SW_BP,
  skipInstruction,
} from './instruction.ts'
import { handleMmio } from './mmio.ts'
import { handleMsrRead, handleMsrWrite } from './msr-exit.ts'
import { handleIo } from './pio.ts'
import { reallocExit } from './realloc-exit.ts'

/** What a VM exit asks for: ENTER_GUEST, EXIT_TO_USER, or -errno. */
type ExitHandler = (vcpu: Vcpu, cpu: PinnedProcessor) => number

// ---- exceptions ----

function handleException(vcpu: Vcpu): number {
  const { vmcs } = vcpu
  const vector = vmcs.exitInterruptionInfo & 0xff
  switch (vector) {
    case X86_TRAP_NM:
      vcpu.vm.kvm.trace?.deviceNotAvailable(vcpu)
      refusedToGuest(vcpu, '#NM', () => guestXfdArmed(vcpu))
      vcpu.queueException(X86_TRAP_NM)
      return ENTER_GUEST
    case X86_TRAP_UD:
      return handleInvalidOpcode(vcpu)
    case X86_TRAP_DB:
      return handleDebugException(vcpu)
    case X86_TRAP_BP:
      return handleBreakpoint(vcpu)
    case X86_TRAP_AC:
      return handleAlignmentCheck(vcpu)
    default:
      vcpu.run.exitReason = KVM_EXIT_EXCEPTION
      vcpu.run.setU32(0x20, vector)
      vcpu.run.setU32(0x24, vmcs.exitErrorCode)
      return EXIT_TO_USER
  }
}

function handleDebugException(vcpu: Vcpu): number {
  const dr6Bits = vcpu.vmcs.exitQualification
  if (vcpu.guestDebug & (KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP)) return debugExit(vcpu, X86_TRAP_DB, dr6Bits)
  vcpu.queueDebug(dr6Bits)
  return ENTER_GUEST
}

/** INT3: only intercepted for KVM_GUESTDBG_USE_SW_BP; RIP is reported at the instruction (KAPI-57). */
function handleBreakpoint(vcpu: Vcpu): number {
  if ((vcpu.guestDebug & KVM_GUESTDBG_USE_SW_BP) === 0) {
    vcpu.queueException(X86_TRAP_BP)
    return ENTER_GUEST
  }
  const { context } = vcpu
  context.setRip((context.ripLo - 1) | 0, context.ripLo === 0 ? context.ripHi - 1 : context.ripHi)
  return debugExit(vcpu, X86_TRAP_BP, 0)
}

/** SLD-31..33, -38, -48: the guest's own alignment check, and what a guest with detection asked for, is injected; else the host decides. */
function handleAlignmentCheck(vcpu: Vcpu): number {
  const { context, vm } = vcpu
  const task = vcpu.runner!
  const ownCheck = context.cpl === 3 && (context.ctlLo(CTL.CR0) & X86_CR0_AM) !== 0 && (context.rflagsRest & X86_EFLAGS_AC) !== 0
  if (vm.kvm.isAmd || !hostDetectsSplitLocks(vm.kvm.kernel) || ownCheck || vcpu.splitLock?.guestDetects === true) {
    vcpu.queueExceptionWithCode(X86_TRAP_AC, 0)
    return ENTER_GUEST
  }
  vcpu.beforeEntry = handleGuestSplitLock(task, context.ripHi * 4294967296 + (context.ripLo >>> 0))
  if (vcpu.beforeEntry !== null) return ENTER_GUEST
  vcpu.run.exitReason = KVM_EXIT_EXCEPTION
  vcpu.run.setU32(0x20, X86_TRAP_AC)
  vcpu.run.setU32(0x24, 0)
  return EXIT_TO_USER
}

/** The exception of an instruction that was run by `emulateOne`: it was not delivered, so it is queued. */
export function handleEmulatedException(vcpu: Vcpu, cpu: PinnedProcessor): number {
  const processor = cpu.processor as unknown as { leaveReason: number }
  const handler = handlers[processor.leaveReason]
  return handler === undefined ? unexpectedExit(vcpu, processor.leaveReason) : handler(vcpu, cpu)
}

// ---- control and debug registers ----

const completeWithGp = (vcpu: Vcpu, ok: boolean): number => {
  if (ok) return skipInstruction(vcpu)
  vcpu.queueExceptionWithCode(X86_TRAP_GP, 0)
  return ENTER_GUEST
}

function handleCrAccess(vcpu: Vcpu): number {
  const { context, vmcs } = vcpu
  const { exitQualification } = vmcs
  const cr = exitQualification & 15
  const register = (exitQualification >> 8) & 15
  switch ((exitQualification >> 4) & 3) {
    case 0:
      return moveToCr(vcpu, cr, register)
    case 1:
      context.set(register, getCr8(vcpu), 0)
      return skipInstruction(vcpu)
    case 2:
      return completeWithGp(vcpu, setCr0(vcpu, context.ctlLo(CTL.CR0) & ~X86_CR0_TS, 0))
    default: {
      // LMSW sets bits 3:0 but cannot clear PE.
      const old = context.ctlLo(CTL.CR0)
      const value = (old & ~0xe) | ((exitQualification >> 16) & 0xf)
      setCr0(vcpu, value, 0)
      return skipInstruction(vcpu)
    }
  }
}

/**
 * Without decode assists kvm_amd hands the instruction to its emulator, which takes 32 bits for CR0 and CR4 (Linux 6.12
 * emulator_set_cr()): recorded in guest.misc.*.
 */
const losesUpperHalf = ({ vm: { kvm } }: Vcpu): boolean => kvm.isAmd && !kvm.model.has('decodeassists')

function moveToCr(vcpu: Vcpu, cr: number, register: number): number {
  const { context } = vcpu
  const lo = context.lo(register)
  const hi = is64BitCode(vcpu) ? context.hi(register) : 0
  const seenHi = losesUpperHalf(vcpu) ? 0 : hi
  if (cr === 0) return completeWithGp(vcpu, setCr0(vcpu, lo, seenHi))
  if (cr === 4) {
    const ok = setCr4(vcpu, lo, seenHi)
    if (ok) vcpu.vm.kvm.trace?.controlRegister(vcpu, 4)
    else refusedToGuest(vcpu, '#GP(0)', () => cr4Refused(vcpu, lo, seenHi))
    return completeWithGp(vcpu, ok)
  }
  const before = getCr8(vcpu)
  const result = completeWithGp(vcpu, hi === 0 && setCr8(vcpu, lo >>> 0))
  if (vcpu.lapic !== null || before <= (lo & 0xff)) return result
  vcpu.run.exitReason = KVM_EXIT_SET_TPR
  return EXIT_TO_USER
}

/** MOV to or from a debug register always exits, so that `Vcpu.db`, `dr6`, `dr7` are the guest's. KAPI-59. */
function handleDrAccess(vcpu: Vcpu): number {
  const { context, vmcs } = vcpu
  const { exitQualification } = vmcs
  const dr = exitQualification & 7
  const register = (exitQualification >> 8) & 15
  if (context.ctlLo(CTL.DR7) & DR7_GD) {
    if (vcpu.guestDebug & KVM_GUESTDBG_USE_HW_BP) return debugExit(vcpu, X86_TRAP_DB, DR6_BD)
    vcpu.queueDebug(DR6_BD)
    return ENTER_GUEST
  }
  if ((dr === 4 || dr === 5) && context.ctlLo(CTL.CR4) & X86_CR4_DE) {
    vcpu.queueException(X86_TRAP_UD)
    return ENTER_GUEST
  }
  if (exitQualification & 0x10) {
    const value = vcpu.guestDr(dr)
    context.setReg(register, value)
    return skipInstruction(vcpu)
  }
  return completeWithGp(vcpu, writeGuestDr(vcpu, dr, context.reg(register)))
}

/** Bits of DR6 that a guest cannot clear: those of features it lacks too (SLD-42); Linux 6.12 kvm_dr6_fixed(). */
function dr6Fixed(vcpu: Vcpu): number {
  const rtm = guestCpuidHas(vcpu, 'RTM') ? 0 : DR6_RTM
  return DR6_FIXED_1 | rtm | (guestCpuidHas(vcpu, 'BUS_LOCK_DETECT') ? 0 : DR6_BUS_LOCK)
}

function writeGuestDr(vcpu: Vcpu, dr: number, value: bigint): boolean {
  if (dr < 4) {
    vcpu.db[dr] = value
    vcpu.updateDr7()
    return true
  }
  if (value >> 32n !== 0n) return false
  const low = Number(value)
  if (dr === 4 || dr === 6) vcpu.dr6 = ((low & DR6_VOLATILE) | dr6Fixed(vcpu)) >>> 0
  else vcpu.dr7 = ((low & DR7_VOLATILE) | DR7_FIXED_1) >>> 0
  vcpu.updateDr7()
  return true
}

// ---- simple instructions ----

function handleCpuid(vcpu: Vcpu): number {
  const { context } = vcpu
  if (vcpu.msrs.miscFeatures & 1 && context.cpl > 0 && !vcpu.smm) {
    vcpu.queueExceptionWithCode(X86_TRAP_GP, 0)
    return ENTER_GUEST
  }
  lookUpGuestCpuid(vcpu, context.lo(REG.RAX) >>> 0, context.lo(REG.RCX) >>> 0)
  context.set32(REG.RAX, cpuidResult.eax | 0)
  context.set32(REG.RBX, cpuidResult.ebx | 0)
  context.set32(REG.RCX, cpuidResult.ecx | 0)
  context.set32(REG.RDX, cpuidResult.edx | 0)
  return skipInstruction(vcpu)
}

/** HLT: RIP first; with a LAPIC the vCPU blocks inside KVM_RUN, without one user space is asked. KAPI-29. */
function handleHlt(vcpu: Vcpu): number {
  vcpu.stats.halt_exits++
  const result = skipInstruction(vcpu)
  if (vcpu.lapic === null) {
    vcpu.run.exitReason = KVM_EXIT_HLT
    return EXIT_TO_USER
  }
  if (vcpu.pvUnhalted) vcpu.pvUnhalted = false
  else vcpu.mpState = KVM_MP_STATE_HALTED
  return result
}

const skip: ExitHandler = (vcpu) => skipInstruction(vcpu)

const invalidOpcode: ExitHandler = (vcpu) => {
  vcpu.queueException(X86_TRAP_UD)
  return ENTER_GUEST
}

/** MONITOR and MWAIT are no-ops, or #UD when the guest does not have them and quirk 6 is off. KAPI-126. */
const QUIRK_MWAIT_NEVER_UD_FAULTS = 6
function handleMonitorMwait(vcpu: Vcpu): number {
  if (!vcpu.vm.hasQuirk(QUIRK_MWAIT_NEVER_UD_FAULTS) && !guestCpuidHas(vcpu, 'MWAIT')) return invalidOpcode(vcpu, null as never)
  return skipInstruction(vcpu)
}

/**
 * VMXON with nested=1: KVM's checks, in its order (Linux 6.12 handle_vmxon()). What they let through would enter VMX operation,
 * which is not modelled: the run ends there, and it is listed. Every other VMX instruction outside VMX operation is #UD.
 */
const FEAT_CTL_VMXON = 5n
function handleVmxon(vcpu: Vcpu, cpu: PinnedProcessor): number {
  const { context, vm } = vcpu
  if (vm.kvm.nestedVmx === null || (context.ctlLo(CTL.CR4) & X86_CR4_VMXE) === 0) return invalidOpcode(vcpu, cpu)
  if (context.cpl !== 0) return generalProtection(vcpu, cpu)
  if ((vcpu.msrs.featCtl & FEAT_CTL_VMXON) !== FEAT_CTL_VMXON) return generalProtection(vcpu, cpu)
  vm.kvm.kernel.syscalls.note('VMX operation of a guest (VMXON)')
  return unexpectedExit(vcpu, EXIT.EXIT_REASON_VMXON)
}

/** RDPMC without a vPMU. KAPI-124. */
const generalProtection: ExitHandler = (vcpu) => {
  vcpu.queueExceptionWithCode(X86_TRAP_GP, 0)
  return ENTER_GUEST
}

/** XSETBV at CPL 0 with CR4.OSXSAVE (the processor checks that before it exits). GFPU-44. */
function handleXsetbv(vcpu: Vcpu): number {
  const { context } = vcpu
  const index = context.lo(REG.RCX)
  const { cpl } = context
  const lo = context.lo(REG.RAX)
  const hi = context.lo(REG.RDX)
  const ok = cpl === 0 && index === 0 && setXcr0(vcpu, lo, hi)
  if (vcpu.exitsForRoom) return reallocExit(vcpu)
  if (!ok) {
    const isMisused = cpl !== 0 || index !== 0
    refusedToGuest(vcpu, '#GP(0)', () =>
      isMisused ? xsetbvMisused(vcpu, cpl, index) : (xcr0Refusal(vcpu, lo, hi) ?? xcr0WithoutRoom(vcpu, lo)),
    )
  }
  return completeWithGp(vcpu, ok)
}

/** RDTSC exits only where the guest's rate is not the host's. */
function handleRdtsc(vcpu: Vcpu): number {
  const tsc = vcpu.vm.guestTsc(vcpu)
  const { context } = vcpu
  context.set32(REG.RAX, Number(tsc & 0xffffffffn) | 0)
  context.set32(REG.RDX, Number((tsc >> 32n) & 0xffffffffn) | 0)
  return skipInstruction(vcpu)
}
function handleRdtscp(vcpu: Vcpu): number {
  const { context } = vcpu
  context.set32(REG.RCX, context.ctlLo(CTL.TSC_AUX))
  return handleRdtsc(vcpu)
}

// ---- memory ----

/** A guest access that the second stage did not allow: fill it in, or emulate the access. KAPI-36, KAPI-38, KAPI-101. */
function handleEptViolation(vcpu: Vcpu, cpu: PinnedProcessor): number {
  const { vmcs, vm } = vcpu
  vcpu.stats.pf_taken++
  const gfn = Math.floor(vmcs.exitGpa / 4096)
  const resolved = vm.memory.resolve(gfn, vmcs.exitAccess)
  if (resolved === MAPPED) {
    vcpu.stats.pf_fixed++
    return ENTER_GUEST
  }
  if (resolved === NO_USER_PAGE) return -EFAULT
  if ((vmcs.idtVectoringInfo & INTR_INFO_VALID) !== 0) return deliveryFailure(vcpu)
  vcpu.stats.pf_emulate++
  if (vmcs.exitAccess & GUEST_FETCH) return emulationFailure(vcpu, null)
  // A paging structure without memory: the walk cannot go on (KAPI-102).
  if (isPagingStructureAccess(vcpu)) return emulationFailure(vcpu, fetchInstruction(vcpu))
  return handleMmio(vcpu, cpu)
}

/** Paging structures are accessed for reading and writing at once (A and D bits). */
const isPagingStructureAccess = (vcpu: Vcpu): boolean => (vcpu.vmcs.exitAccess & 3) === 3

/** An event could not be delivered because its stack or table is MMIO. Linux 6.12 kvm_prepare_event_vectoring_exit(). */
function deliveryFailure(vcpu: Vcpu): number {
  const { run, vmcs } = vcpu
  run.exitReason = KVM_EXIT_INTERNAL_ERROR
  run.setU32(0x20, KVM_INTERNAL_ERROR_DELIVERY_EV)
  run.setU32(0x24, 4)
  run.setU64(0x28, vmcs.idtVectoringInfo >>> 0)
  run.setU64(0x30, vcpu.lastExitReason)
  run.setU64(0x38, vmcs.exitQualification >>> 0)
  run.setU64(0x40, vmcs.exitGpa)
  return EXIT_TO_USER
}

// ---- state of the run ----

/** Shutdown: the register state stays. KAPI-28. */
function handleTripleFault(vcpu: Vcpu): number {
  vcpu.run.exitReason = KVM_EXIT_SHUTDOWN
  return EXIT_TO_USER
}

const interruptWindow: ExitHandler = (vcpu) => {
  vcpu.vmcs.controls.interruptWindowExiting = false
  vcpu.request(REQ_EVENT)
  vcpu.stats.irq_window_exits++
  return ENTER_GUEST
}
const nmiWindow: ExitHandler = (vcpu) => {
  vcpu.vmcs.controls.nmiWindowExiting = false
  vcpu.request(REQ_EVENT)
  vcpu.stats.nmi_window_exits++
  return ENTER_GUEST
}

/** The instruction budget is used up: stands for the host's timer interrupt. */
const hostInterrupt: ExitHandler = (vcpu) => {
  vcpu.stats.irq_exits++
  return ENTER_GUEST
}

const invalidState: ExitHandler = (vcpu) => {
  vcpu.run.exitReason = KVM_EXIT_FAIL_ENTRY
  vcpu.run.setU64(0x20, 0x80000000 + EXIT.EXIT_REASON_INVALID_STATE)
  vcpu.run.setU32(0x28, vcpu.runner?.cpuId ?? 0)
  return EXIT_TO_USER
}

function unexpectedExit(vcpu: Vcpu, reason: number): number {
  const { run } = vcpu
  run.exitReason = KVM_EXIT_INTERNAL_ERROR
  run.setU32(0x20, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON)
  run.setU32(0x24, 2)
  run.setU64(0x28, reason)
  run.setU64(0x30, vcpu.runner?.cpuId ?? 0)
  return EXIT_TO_USER
}

/** A bus lock, after its instruction: user space is told (SLD-41). The model never reports it beside another exit. */
const handleBusLock: ExitHandler = ({ run }) => {
  run.exitReason = KVM_EXIT_X86_BUS_LOCK
  run.setU16(KVM_RUN_PAGE.flags, KVM_RUN_X86_BUS_LOCK)
  return EXIT_TO_USER
}

/** Basic exit reason -> handler. Linux 6.12 kvm_vmx_exit_handlers. */
const handlers: (ExitHandler | undefined)[] = []
const on = (reason: number, handler: ExitHandler): void => {
  handlers[reason] = handler
}
on(EXIT.EXIT_REASON_EXCEPTION_NMI, handleException)
on(EXIT.EXIT_REASON_EXTERNAL_INTERRUPT, hostInterrupt)
on(EXIT.EXIT_REASON_TRIPLE_FAULT, handleTripleFault)
on(EXIT.EXIT_REASON_INTERRUPT_WINDOW, interruptWindow)
on(EXIT.EXIT_REASON_NMI_WINDOW, nmiWindow)
on(EXIT.EXIT_REASON_CPUID, handleCpuid)
on(EXIT.EXIT_REASON_HLT, handleHlt)
on(EXIT.EXIT_REASON_INVD, skip)
on(EXIT.EXIT_REASON_WBINVD, skip)
on(EXIT.EXIT_REASON_RDPMC, generalProtection)
on(EXIT.EXIT_REASON_RDTSC, handleRdtsc)
on(EXIT.EXIT_REASON_RDTSCP, handleRdtscp)
on(EXIT.EXIT_REASON_VMCALL, handleHypercall)
// No guest is ever in VMX operation (19 VMCLEAR .. 26 VMXOFF).
for (let reason = EXIT.EXIT_REASON_VMCLEAR; reason < EXIT.EXIT_REASON_VMXON; reason++) on(reason, invalidOpcode)
on(EXIT.EXIT_REASON_VMXON, handleVmxon)
on(EXIT.EXIT_REASON_CR_ACCESS, handleCrAccess)
on(EXIT.EXIT_REASON_DR_ACCESS, handleDrAccess)
on(EXIT.EXIT_REASON_IO_INSTRUCTION, handleIo)
on(EXIT.EXIT_REASON_MSR_READ, handleMsrRead)
on(EXIT.EXIT_REASON_MSR_WRITE, handleMsrWrite)
on(EXIT.EXIT_REASON_INVALID_STATE, invalidState)
on(EXIT.EXIT_REASON_MWAIT, handleMonitorMwait)
on(EXIT.EXIT_REASON_MONITOR, handleMonitorMwait)
on(EXIT.EXIT_REASON_PAUSE, skip)
on(EXIT.EXIT_REASON_EPT_VIOLATION, handleEptViolation)
on(EXIT.EXIT_REASON_PREEMPTION_TIMER, hostInterrupt)
on(EXIT.EXIT_REASON_XSETBV, handleXsetbv)
on(EXIT.EXIT_REASON_BUS_LOCK, handleBusLock)

/** Acts on a VM exit: first takes back an event whose delivery it interrupted, then the reason's handler. */
export function handleExit(vcpu: Vcpu, cpu: PinnedProcessor, reason: number): number {
  vcpu.lastExitReason = reason
  recoverInterruptedDelivery(vcpu)
  const handler = handlers[reason]
  return handler === undefined ? unexpectedExit(vcpu, reason) : handler(vcpu, cpu)
}

/** IDT-vectoring information: the event must be delivered again (Linux 6.12 __vmx_complete_interrupts()). */
function recoverInterruptedDelivery(vcpu: Vcpu): void {
  vcpu.nmiInjected = false
  vcpu.exception.injected = false
  vcpu.interruptInjected = false
  const info = vcpu.vmcs.idtVectoringInfo
  if ((info & INTR_INFO_VALID) === 0) return
  vcpu.request(REQ_EVENT)
  const vector = info & 0xff
  switch (info & (7 << 8)) {
    case INTR_TYPE_NMI:
      vcpu.nmiInjected = true
      // Delivery will be repeated: NMIs are not blocked yet.
      vcpu.interruptibility &= ~GUEST_INTR_STATE_NMI
      break
    case INTR_TYPE_HARD_EXCEPTION:
    case INTR_TYPE_SOFT_EXCEPTION:
      vcpu.exception.reinject(vector, (info & INTR_INFO_DELIVER_CODE) !== 0, vcpu.vmcs.idtVectoringErrorCode)
      break
    case INTR_TYPE_SOFT_INTR:
      vcpu.queueInterrupt(vector, true)
      break
    case INTR_TYPE_EXT_INTR:
      vcpu.queueInterrupt(vector, false)
      break
  }
}

/** For tests and tools: which exit reasons have a handler. */
export const handledExitReasons = (): number[] => handlers.flatMap((h, reason) => (h === undefined ? [] : [reason]))
