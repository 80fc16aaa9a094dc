import type { MSR_IA32_XFD, MSR_IA32_XFD_ERR, MSR_TEST_CTRL } from '../isa/msr-index.ts'
import type { AddressSpace } from '../machine/address-space.ts'
import type { MachineCounters } from '../machine/counters.ts'
import type { ExecutionContext } from '../machine/execution-context.ts'
import type { MachineMemory } from '../machine/machine-memory.ts'
import type { UnsupportedLog } from '../machine/unsupported-log.ts'
import type { RestoreForm, SaveForm } from '../machine/xsave/forms.ts'

export interface HostFault {
  readonly vector: number
  readonly hasErrorCode: boolean
  readonly errorCode: number
  /** #PF: linear address. */
  readonly addressLo: number
  readonly addressHi: number
  /** #DB: what DR6 would show. */
  readonly dr6: number
  /** Why, in words, for people. */
  readonly reason: string | null
}

/** What any code may see of a logical processor. None of it changes what the processor holds. */
export interface ProcessorView {
  readonly id: number
  /** Wasm offset of its register file. */
  readonly registerFile: number
  readonly fault: HostFault
  /** Instructions retired by the last run. */
  readonly retired: number
  /** Which bytes the last save wrote or the last `restoreExtents` named: pairs {offset, length}; and XINUSE. */
  readonly xsaveEngine: {
    readonly extents: Int32Array
    readonly extentCount: number
    inUse(mask: number): number
    restoreExtents(image: number, requested: number, form: RestoreForm): void
  }
  readonly pkru: number
  /** IA32_XFD, looked at without executing anything. */
  readonly xfd: number
  /** Whether RDMSR of it raises no #GP. */
  hasMsr(index: number): boolean
  rdmsr(index: number): bigint
  readXfdErr(): number
  tsc(): number
}

/**
 * MSRs that somebody keeps in step with something else: the thread's flag (`splitlock/probe.ts`), the shadow of IA32_XFD, the
 * guest's XFD_ERR. `wrmsr` does not take them by name.
 */
type OwnedMsr = typeof MSR_TEST_CTRL | typeof MSR_IA32_XFD | typeof MSR_IA32_XFD_ERR

/** What the kernel uses of the logical processor that it runs on (`Processor` of the machine floor), with preemption disabled. */
export interface HostProcessor extends ProcessorView {
  runHost(context: ExecutionContext, space: AddressSpace, budget: number): number
  xsave(form: SaveForm, image: number, rfbm: number): void
  xrstor(form: RestoreForm, image: number, rfbm: number): number
  /** 0, or 13 where it raises #GP. */
  wrmsr<I extends number>(index: I extends OwnedMsr ? never : I, value: bigint): number
  rdmsrXfd(): number
  wrmsrXfd(value: number): void
  setXcr0(value: number): void
  setXss(value: number): void
  setPkru(value: number): void
  setMxcsr(value: number): void
  writeXfdErr(value: number): void
}

/** What the kernel uses of the machine. A processor that can be changed is had by being pinned to it (`preemption.ts`). */
export interface HostMachine {
  /** Instructions it does not have that were met. */
  readonly unsupported: UnsupportedLog
  readonly mem: MachineMemory
  /** What the processors did, counted. */
  readonly counters: MachineCounters
  readonly processors: readonly ProcessorView[]
  /** Hyper-threads of a core, as CPUID.0BH tells. */
  readonly threadsPerCore: number
  newContext(): ExecutionContext
  freeContext(context: ExecutionContext): void
  newAddressSpace(): AddressSpace
  /** Instructions retired by all processors, and time passed while none ran, in instructions: together the virtual clock. */
  readonly retired: number
  idle: number
  /** The kernel changed physical memory [hpa, hpa + length): code compiled from it must go. */
  physicalWritten(hpa: number, length: number): void
}

/** What a kernel is made on. */
export interface HostHardware extends HostMachine {
  readonly processors: readonly HostProcessor[]
}
