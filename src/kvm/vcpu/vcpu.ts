import { DR6_RESET, DR7_RESET } from '../../isa/control-registers.ts'
import { X86_TRAP_DB, X86_TRAP_PF } from '../../isa/vectors.ts'
import type { GuestFpu } from '../../linux/fpu/door.ts'
import type { Preemptible } from '../../linux/preemption.ts'
import type { Task } from '../../linux/task.ts'
import { WaitQueue } from '../../linux/wait-queue.ts'
import type { ExecutionContext } from '../../machine/execution-context.ts'
import { CTL } from '../../machine/execution-context.ts'
import type { Vmcs } from '../../machine/vmcs.ts'
import { KVM_MP_STATE_RUNNABLE } from '../abi/exit-reasons.ts'
import type { CpuidEntry } from '../cpuid/entries.ts'
import type { Lapic } from '../irqchip/lapic.ts'
import { newVcpuMsrs, type VcpuMsrs } from '../msr/vcpu-msrs.ts'
import { GuestLinear } from '../run/guest-linear.ts'
import { KVM_GUESTDBG_USE_HW_BP } from '../run/instruction.ts'
import type { MmioState } from '../run/mmio.ts'
import type { PioState } from '../run/pio.ts'
import type { VcpuStats } from '../stats.ts'
import type { Vm } from '../vm.ts'
import { ExceptionQueue, TRIPLE_FAULT } from './exception-queue.ts'
import { VcpuResidency } from './residency.ts'
import type { RunPage } from './run-page.ts'
import type { GuestSplitLock } from './split-lock.ts'
import { SupervisorSsp } from './supervisor-ssp.ts'

/** Work to do before the next guest entry, in the order of KAPI-21. */
export const REQ_VM_DEAD = 1 << 0
export const REQ_CLOCK_UPDATE = 1 << 1
export const REQ_TLB_FLUSH = 1 << 2
export const REQ_REPORT_TPR_ACCESS = 1 << 3
export const REQ_TRIPLE_FAULT = 1 << 4
export const REQ_STEAL_UPDATE = 1 << 5
export const REQ_SMI = 1 << 6
export const REQ_NMI = 1 << 7
export const REQ_IOAPIC_EOI_EXIT = 1 << 8
export const REQ_MSR_FILTER_CHANGED = 1 << 9
/** Something may be injectable: look at exceptions, NMIs, interrupts. */
export const REQ_EVENT = 1 << 10
export const REQ_DIRTY_RING_SOFT_FULL = 1 << 11

/** What finishes an exit when user space calls KVM_RUN again. Results as exit handlers: > 0 enter, 0 exit again, < 0 errno. */
export type Completion = (vcpu: Vcpu) => number

/** One virtual CPU. Registers are in `context`; this is everything KVM keeps beside them. */
export class Vcpu {
  readonly vm: Vm
  readonly id: number
  /** Order of creation. */
  readonly index: number
  readonly context: ExecutionContext
  readonly vmcs: Vmcs
  readonly run: RunPage
  readonly guestFpu: GuestFpu
  /** Split-lock detection of the guest; null where guests have none. */
  readonly splitLock: GuestSplitLock | null
  readonly stats: VcpuStats
  readonly residency: VcpuResidency
  readonly supervisorSsp: SupervisorSsp
  /** In-kernel local APIC, null without one. */
  lapic: Lapic | null = null
  /** IA32_APIC_BASE, kept with and without an in-kernel LAPIC (below 2^52). */
  apicBase = 0

  /** The guest has been entered at least once: CPUID and feature MSRs are fixed (KAPI-74, XSAVE-49). */
  hasRun = false
  /** Whose ioctl holds the vCPU mutex (KAPI-04); others wait in `mutexWaiters`. */
  mutexOwner: Task | null = null
  readonly mutexWaiters = new WaitQueue()
  /** The task inside KVM_RUN, null outside; it sleeps in `wakeups` while the vCPU is halted. */
  runner: Task | null = null
  readonly wakeups = new WaitQueue()
  /** What the thread must do before the guest is entered again, in code that may sleep; null = nothing. */
  beforeEntry: Preemptible<void> | null = null

  // ---- CPUID and what follows from it (after_set_cpuid) ----
  cpuid: CpuidEntry[] = []
  guestSupportedXcr0 = 0
  guestSupportedXss = 0
  /** KVM and the guest's CPUID have shadow stacks, indirect-branch tracking. */
  hasShadowStacks = false
  guestHasIbt = false
  maxPhysAddr = 36
  isAmdCompatible = false
  /** KVM and the guest's CPUID have XSAVES; CPUID has XFD. */
  guestHasXsaves = false
  guestHasXfd = false
  /** CR4 bits the guest's CPUID does not allow, low half; the high half is always reserved. */
  cr4Reserved = 0
  /** EAX of the KVM features leaf, and the base of the KVM leaves (0 = no signature found). */
  pvFeatures = 0
  kvmCpuidBase = 0
  enforcePvFeatures = false

  // ---- extended state ----
  xcr0 = 1
  xss = 0
  pkru = 0
  /** Sampled when KVM_RUN loaded the vCPU (GFPU-17). */
  hostPkru = 0
  /** XFD accesses no longer exit (GFPU-28). */
  xfdPassThrough = false
  /** A non-zero XFD has been written: #NM exits (GFPU-28). */
  xfdArmed = false
  /** Design D1: the instruction being handled needs room in the image, and user space is to call KVM_RUN again (GFPU-35). */
  exitsForRoom = false

  // ---- events ----
  requests = 0
  readonly exception = new ExceptionQueue()
  interruptInjected = false
  interruptSoft = false
  interruptNr = 0
  nmiInjected = false
  /** NMIs that wait: at most 2, 1 while masked. `nmiQueued` are those not yet counted in. */
  nmiPending = 0
  nmiQueued = 0
  smm = false
  smiPending = false
  smmInsideNmi = false
  mpState = KVM_MP_STATE_RUNNABLE
  pvUnhalted = false
  pendingIoapicEoi = 0
  /** Split irqchip: vector of a KVM_INTERRUPT that waits, -1 none. */
  splitExternal = -1
  /** An event could not be injected behind another one: leave the guest at once and try again. */
  injectAgain = false

  // ---- debug registers and KVM_SET_GUEST_DEBUG ----
  readonly db: bigint[] = [0n, 0n, 0n, 0n]
  dr6 = DR6_RESET
  dr7 = DR7_RESET
  /** KVM_GUESTDBG_ bits in force. */
  guestDebug = 0
  readonly debugDb: bigint[] = [0n, 0n, 0n, 0n]
  debugDr7 = 0
  /** Linear RIP at which single-stepping was switched on. */
  singleStepRip = 0n

  readonly msrs: VcpuMsrs = newVcpuMsrs()
  /** Guest TSC = host TSC + offset; the u64 is also in context CTL.TSC_OFFSET. */
  tscKhz = 0
  tscOffset = 0n

  // ---- an exit that user space must finish ----
  completion: Completion | null = null
  readonly pio: PioState
  readonly mmio: MmioState
  /** Basic reason of the last VM exit. */
  lastExitReason = 0
  readonly linear: GuestLinear
  /** KVM_SET_SIGNAL_MASK, null = none. */
  signalMask: bigint | null = null

  constructor(parts: {
    vm: Vm
    id: number
    index: number
    context: ExecutionContext
    vmcs: Vmcs
    run: RunPage
    guestFpu: GuestFpu
    splitLock: GuestSplitLock | null
    stats: VcpuStats
    pio: PioState
    mmio: (vcpu: Vcpu) => MmioState
  }) {
    this.vm = parts.vm
    this.id = parts.id
    this.index = parts.index
    this.context = parts.context
    this.vmcs = parts.vmcs
    this.run = parts.run
    this.guestFpu = parts.guestFpu
    this.splitLock = parts.splitLock
    this.stats = parts.stats
    this.residency = new VcpuResidency(this)
    this.supervisorSsp = new SupervisorSsp(this)
    this.pio = parts.pio
    this.mmio = parts.mmio(this)
    this.linear = new GuestLinear(this)
  }

  request(bits: number): void {
    this.requests |= bits
  }

  /** The request is there: takes it. */
  takeRequest(bit: number): boolean {
    if ((this.requests & bit) === 0) return false
    this.requests &= ~bit
    return true
  }

  /** Makes a vCPU that runs or blocks elsewhere look at its requests. */
  kick(): void {
    this.wakeups.wakeAll()
  }

  // ---- queueing exceptions (KAPI-27) ----
  queueException(vector: number): void {
    this.request(REQ_EVENT)
    if (this.exception.raise(vector, false, 0) === TRIPLE_FAULT) this.request(REQ_TRIPLE_FAULT)
  }
  queueExceptionWithCode(vector: number, errorCode: number): void {
    this.request(REQ_EVENT)
    if (this.exception.raise(vector, true, errorCode) === TRIPLE_FAULT) this.request(REQ_TRIPLE_FAULT)
  }
  /** #PF(errorCode) at a linear address. CR2 is written when the fault is delivered. */
  queuePageFault(errorCode: number, linearLo: number, linearHi: number): void {
    this.request(REQ_EVENT)
    if (this.exception.raiseWithPayload(X86_TRAP_PF, true, errorCode, linearLo, linearHi) === TRIPLE_FAULT)
      this.request(REQ_TRIPLE_FAULT)
  }
  /** #DB with the DR6 bits that happened. */
  queueDebug(dr6Bits: number): void {
    this.request(REQ_EVENT)
    if (this.exception.raiseWithPayload(X86_TRAP_DB, false, 0, dr6Bits, 0) === TRIPLE_FAULT) this.request(REQ_TRIPLE_FAULT)
  }

  clearInterrupt(): void {
    this.interruptInjected = false
  }
  queueInterrupt(vector: number, soft: boolean): void {
    this.interruptInjected = true
    this.interruptSoft = soft
    this.interruptNr = vector
  }

  // ---- interruptibility (VMX format, kept in the context) ----
  get interruptibility(): number {
    return this.context.ctlLo(CTL.INTERRUPTIBILITY)
  }
  set interruptibility(value: number) {
    this.context.setCtl(CTL.INTERRUPTIBILITY, value, 0)
  }
  get nmiMasked(): boolean {
    return (this.interruptibility & GUEST_INTR_STATE_NMI) !== 0
  }
  set nmiMasked(value: boolean) {
    this.interruptibility = value ? this.interruptibility | GUEST_INTR_STATE_NMI : this.interruptibility & ~GUEST_INTR_STATE_NMI
  }

  requestEvent(): void {
    this.requests |= REQ_EVENT
  }

  /** Interrupt shadow in KVM's bits (1 MOV SS, 2 STI), which are not the VMCS's. */
  interruptShadowForUser(): number {
    const { interruptibility } = this
    return (
      (interruptibility & GUEST_INTR_STATE_STI ? KVM_X86_SHADOW_INT_STI : 0) |
      (interruptibility & GUEST_INTR_STATE_MOV_SS ? KVM_X86_SHADOW_INT_MOV_SS : 0)
    )
  }
  shadowFromUser(shadow: number): number {
    if (shadow & KVM_X86_SHADOW_INT_MOV_SS) return GUEST_INTR_STATE_MOV_SS
    return shadow & KVM_X86_SHADOW_INT_STI ? GUEST_INTR_STATE_STI : 0
  }

  // ---- debug registers ----
  /** What the guest's MOV from DRn reads. */
  guestDr(n: number): bigint {
    return n < 4 ? this.db[n] : BigInt(n === 4 || n === 6 ? this.dr6 : this.dr7)
  }

  /** Loads the debug registers that are in effect: the guest's, or those of KVM_GUESTDBG_USE_HW_BP. */
  updateDr7(): void {
    const { context } = this
    const fromUser = (this.guestDebug & KVM_GUESTDBG_USE_HW_BP) !== 0
    const addresses = fromUser ? this.debugDb : this.db
    for (let i = 0; i < 4; i++) context.setCtl64(CTL.DR0 + i, addresses[i])
    context.setCtl(CTL.DR7, fromUser ? this.debugDr7 : this.dr7, 0)
    context.setCtl(CTL.DR6, this.dr6, 0)
  }

  get isBsp(): boolean {
    return this.vm.bspVcpuId === this.id
  }
}

export const GUEST_INTR_STATE_STI = 1
export const GUEST_INTR_STATE_MOV_SS = 2
export const GUEST_INTR_STATE_NMI = 8
const KVM_X86_SHADOW_INT_MOV_SS = 1
const KVM_X86_SHADOW_INT_STI = 2
