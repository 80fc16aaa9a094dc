import type { AddressSpace } from './address-space.ts'
import type { ExecutionContext } from './execution-context.ts'

/** Answers a guest's accesses to guest-physical addresses without a second-stage entry, during `emulateInstruction`. */
export interface MmioPort {
  /** @returns true when `size` bytes (1..64) were put at wasm offset `dest`; false aborts the instruction unchanged. */
  read(gpa: number, size: number, dest: number): boolean
  /** Takes `size` bytes at wasm offset `src`. The instruction completes. */
  write(gpa: number, size: number, src: number): void
}

/** Exception bitmap, intercepts and offsets of one vCPU, in the VMX controls' terms. */
export interface VmControls {
  /** Bit n: exception vector n exits. */
  exceptionBitmap: number
  /** True when RDMSR (WRMSR) of the MSR exits; consulted at the instruction. */
  msrReadExits: (index: number) => boolean
  msrWriteExits: (index: number) => boolean
  hltExiting: boolean
  pauseExiting: boolean
  rdtscExiting: boolean
  rdpmcExiting: boolean
  drExiting: boolean
  mwaitExiting: boolean
  interruptWindowExiting: boolean
  nmiWindowExiting: boolean
  /** CR8 accesses exit (no TPR shadow). */
  cr8Exiting: boolean
  /** Secondary control bit 30: a bus lock exits after its instruction (SLD §1). */
  busLockExiting: boolean
}

/**
 * The hardware's view of one virtual CPU: guest state (execution context + address space), controls, event to inject,
 * and what the last exit was. CPUID, XSETBV, writes of CR0/CR3/CR4, port I/O and VMCALL always exit (KVM needs them all).
 */
export class Vmcs {
  readonly context: ExecutionContext
  readonly space: AddressSpace
  readonly controls: VmControls
  /** VM-entry interruption information (vector 7:0, type 10:8, deliver error code 11, valid 31); 0 = none. Cleared by entry. */
  entryInterruptionInfo = 0
  entryErrorCode = 0
  entryInstructionLength = 0
  /** MAXPHYADDR of the guest's CPUID, if the hypervisor set one. */
  maxPhysAddr: number | null = null
  /** IA32_DEBUGCTL while the guest runs (VM-entry control "load debug controls"). */
  debugCtl = 0

  /** Exit qualification, or the meaning named in exits: CR access and DR access use the SDM's bit layout. */
  exitQualification = 0
  exitInstructionLength = 0
  /** Exception exits: interruption information and error code; #PF address in exitAddressLo/Hi. */
  exitInterruptionInfo = 0
  exitErrorCode = 0
  exitAddressLo = 0
  exitAddressHi = 0
  /** Event whose delivery was interrupted by this exit (IDT-vectoring information); 0 = none. */
  idtVectoringInfo = 0
  idtVectoringErrorCode = 0
  /** EPT violation: guest-physical address (< 2^52) and access: 1 read, 2 write, 4 fetch. */
  exitGpa = 0
  exitAccess = 0
  /** Port I/O: size 1, 2, 4; in; string (INS/OUTS); rep. */
  ioPort = 0
  ioSize = 0
  ioIn = false
  ioString = false
  ioRep = false

  constructor(context: ExecutionContext, space: AddressSpace, controls: VmControls) {
    this.context = context
    this.space = space
    this.controls = controls
  }
}

/** Interruption-information types (SDM Vol. 3, 25.8.3). */
export const INTR_TYPE_EXT_INTR = 0 << 8
export const INTR_TYPE_NMI = 2 << 8
export const INTR_TYPE_HARD_EXCEPTION = 3 << 8
export const INTR_TYPE_SOFT_INTR = 4 << 8
export const INTR_TYPE_PRIV_SW_EXCEPTION = 5 << 8
export const INTR_TYPE_SOFT_EXCEPTION = 6 << 8
export const INTR_INFO_DELIVER_CODE = 0x800
export const INTR_INFO_VALID = 0x80000000 | 0

/** Result of `Processor.emulateInstruction`. */
export const EMULATE_DONE = 0
/** An MMIO read had no data: nothing changed. */
export const EMULATE_NEEDS_DATA = 1
/** The instruction raised a guest exception, reported as an exception exit. */
export const EMULATE_EXCEPTION = 2
/** Not an instruction that may touch MMIO (fetch without memory, x87, vector, ...). */
export const EMULATE_UNHANDLEABLE = 3
