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

/** What the kernel uses of a logical processor (`Processor` of the machine floor). */
export interface HostProcessor {
  readonly id: number
  /** Wasm offset of its register file. */
  readonly registerFile: number
  readonly fault: HostFault
  /** Instructions retired by the last run. */
  readonly retired: number
  runHost(context: ExecutionContext, space: AddressSpace, budget: number): number
  xsave(form: SaveForm, image: number, rfbm: number): void
  xrstor(form: RestoreForm, image: number, rfbm: number): number
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
  /** 0, or 13 where it raises #GP. */
  wrmsr(index: number, value: bigint): number
  rdmsrXfd(): number
  wrmsrXfd(value: number): void
  setXcr0(value: number): void
  setXss(value: number): void
  setPkru(value: number): void
  setMxcsr(value: number): void
  readXfdErr(): number
  writeXfdErr(value: number): void
  tsc(): number
}

/** What the kernel uses of the machine. */
export interface HostMachine {
  /** Instructions it does not have that were met. */
  readonly unsupported: UnsupportedLog
  readonly mem: MachineMemory
  /** What the processors did, counted. */
  readonly counters: MachineCounters
  readonly processors: readonly HostProcessor[]
  newContext(): ExecutionContext
  freeContext(context: ExecutionContext): void
  newAddressSpace(): AddressSpace
  /** Instructions retired by all processors, and time passed while none ran, in instructions: together the virtual clock. */
  readonly retired: number
  idle: number
  /** The kernel changed physical memory [hpa, hpa + length): code compiled from it must go. */
  physicalWritten(hpa: number, length: number): void
}
