import * as X from '../kvm/abi/exit-reasons.ts'
import { KVM_RUN_PAGE } from '../kvm/abi/structs.ts'
import type { Interruption } from './process-backend.ts'

/** Offset of the exit's own fields in kvm_run. */
const EXIT = KVM_RUN_PAGE.EXIT

/** Port I/O. The fields are read from kvm_run when asked for; they hold until the next `run`. */
export class IoExit {
  readonly reason = 'io'
  private readonly run: DataView
  private readonly page: DataView

  constructor(run: DataView, page: DataView) {
    this.run = run
    this.page = page
  }
  get direction(): 'in' | 'out' {
    return this.run.getUint8(EXIT) === 0 ? 'in' : 'out'
  }
  get port(): number {
    return this.run.getUint16(EXIT + 2, true)
  }
  /** Bytes of one item: 1, 2 or 4. */
  get size(): number {
    return this.run.getUint8(EXIT + 1)
  }
  /** Items of a string instruction; 1 otherwise. */
  get count(): number {
    return this.run.getUint32(EXIT + 4, true)
  }
  /** The first item, unsigned: what an OUT wrote; set it to answer an IN. */
  get value(): number {
    const { size } = this
    return size === 1 ? this.page.getUint8(0) : size === 2 ? this.page.getUint16(0, true) : this.page.getUint32(0, true)
  }
  set value(value: number) {
    const { size } = this
    if (size === 1) this.page.setUint8(0, value)
    else if (size === 2) this.page.setUint16(0, value, true)
    else this.page.setUint32(0, value, true)
  }
  /** All items, live. */
  get data(): Uint8Array {
    return new Uint8Array(this.page.buffer, this.page.byteOffset, this.size * this.count)
  }
}

/** An access to guest-physical memory that no slot backs. */
export class MmioExit {
  readonly reason = 'mmio'
  private readonly run: DataView

  constructor(run: DataView) {
    this.run = run
  }
  get physAddr(): bigint {
    return this.run.getBigUint64(EXIT, true)
  }
  get length(): number {
    return this.run.getUint32(EXIT + 0x10, true)
  }
  get isWrite(): boolean {
    return this.run.getUint8(EXIT + 0x14) !== 0
  }
  /** The bytes, live: what a write stores; fill them to answer a read. */
  get data(): Uint8Array {
    return new Uint8Array(this.run.buffer, this.run.byteOffset + EXIT + 8, this.length)
  }
}

/** An RDMSR or WRMSR that user space asked to see (KVM_CAP_X86_USER_SPACE_MSR). */
export class MsrExit {
  readonly reason: 'rdmsr' | 'wrmsr'
  private readonly run: DataView

  constructor(reason: 'rdmsr' | 'wrmsr', run: DataView) {
    this.reason = reason
    this.run = run
  }
  get index(): number {
    return this.run.getUint32(EXIT + 0xc, true)
  }
  /** KVM_MSR_EXIT_REASON_ bit: 1 invalid value, 2 unknown MSR, 4 filtered. */
  get why(): number {
    return this.run.getUint32(EXIT + 8, true)
  }
  get data(): bigint {
    return this.run.getBigUint64(EXIT + 0x10, true)
  }
  set data(value: bigint) {
    this.run.setBigUint64(EXIT + 0x10, value, true)
  }
  /** The instruction shall raise #GP. */
  set error(value: boolean) {
    this.run.setUint8(EXIT, value ? 1 : 0)
  }
}

export interface InterruptedExit {
  readonly reason: 'interrupted'
  /**
   * `limit`: maxInstructions are used up; `idle`: the vCPU sleeps and nothing will wake it; `signal`: a signal, or
   * kvm_run.immediate_exit; `started`: the vCPU waited for INIT and SIPI and has got them.
   */
  readonly because: Interruption | 'started'
}
export interface InternalErrorExit {
  readonly reason: 'internal-error'
  /** 1 emulation, 3 delivery of an event, 4 unexpected exit reason. */
  readonly suberror: number
  readonly data: readonly bigint[]
}
export interface FailEntryExit {
  readonly reason: 'fail-entry'
  readonly hardwareEntryFailureReason: bigint
  readonly cpu: number
}
export interface DebugExit {
  readonly reason: 'debug'
  readonly exception: number
  readonly pc: bigint
  readonly dr6: bigint
  readonly dr7: bigint
}
export interface HypercallExit {
  readonly reason: 'hypercall'
  readonly nr: bigint
  readonly args: readonly bigint[]
}
export interface SystemEventExit {
  readonly reason: 'system-event'
  readonly type: number
  readonly data: readonly bigint[]
}
export interface MemoryFaultExit {
  readonly reason: 'memory-fault'
  readonly flags: bigint
  readonly gpa: bigint
  readonly size: bigint
}
/** An exception of the guest that the host deals with by a signal: KVM_EXIT_EXCEPTION (SLD-33). */
export interface ExceptionExit {
  readonly reason: 'exception'
  /** Vector. */
  readonly exception: number
  readonly errorCode: number
}
/** An exit without fields of its own. */
export interface PlainExit {
  readonly reason:
    | 'hlt'
    | 'shutdown'
    | 'irq-window-open'
    | 'nmi'
    | 'set-tpr'
    | 'tpr-access'
    | 'dirty-ring-full'
    | 'bus-lock'
    | 'notify'
    | 'fpu-realloc'
}
export interface IoapicEoiExit {
  readonly reason: 'ioapic-eoi'
  readonly vector: number
}
/** An exit this client does not know yet. */
export interface UnknownExit {
  readonly reason: 'unknown'
  readonly exitReason: number
}

/** Why KVM_RUN came back. */
export type VcpuExit =
  | IoExit
  | MmioExit
  | MsrExit
  | InterruptedExit
  | InternalErrorExit
  | FailEntryExit
  | DebugExit
  | ExceptionExit
  | HypercallExit
  | SystemEventExit
  | MemoryFaultExit
  | IoapicEoiExit
  | PlainExit
  | UnknownExit

const PLAIN: Readonly<Record<number, PlainExit>> = {
  [X.KVM_EXIT_HLT]: { reason: 'hlt' },
  [X.KVM_EXIT_SHUTDOWN]: { reason: 'shutdown' },
  [X.KVM_EXIT_IRQ_WINDOW_OPEN]: { reason: 'irq-window-open' },
  [X.KVM_EXIT_NMI]: { reason: 'nmi' },
  [X.KVM_EXIT_SET_TPR]: { reason: 'set-tpr' },
  [X.KVM_EXIT_TPR_ACCESS]: { reason: 'tpr-access' },
  [X.KVM_EXIT_DIRTY_RING_FULL]: { reason: 'dirty-ring-full' },
  [X.KVM_EXIT_X86_BUS_LOCK]: { reason: 'bus-lock' },
  [X.KVM_EXIT_NOTIFY]: { reason: 'notify' },
  [X.KVM_EXIT_FPU_REALLOC]: { reason: 'fpu-realloc' },
}

/** Reads exits out of a vCPU's kvm_run page, in place. The frequent ones are objects made once. */
export class ExitReader {
  private readonly run: DataView
  private readonly io: IoExit
  private readonly mmio: MmioExit
  private readonly rdmsr: MsrExit
  private readonly wrmsr: MsrExit

  constructor(run: DataView, pioPage: DataView) {
    this.run = run
    this.io = new IoExit(run, pioPage)
    this.mmio = new MmioExit(run)
    this.rdmsr = new MsrExit('rdmsr', run)
    this.wrmsr = new MsrExit('wrmsr', run)
  }

  /** kvm_run.exit_reason */
  get reason(): number {
    return this.run.getUint32(KVM_RUN_PAGE.exit_reason, true)
  }

  interrupted(because: InterruptedExit['because']): InterruptedExit {
    return { reason: 'interrupted', because }
  }

  read(): VcpuExit {
    const { reason } = this
    if (reason === X.KVM_EXIT_IO) return this.io
    if (reason === X.KVM_EXIT_MMIO) return this.mmio
    return PLAIN[reason] ?? this.rare(reason)
  }

  private rare(reason: number): VcpuExit {
    switch (reason) {
      case X.KVM_EXIT_X86_RDMSR:
        return this.rdmsr
      case X.KVM_EXIT_X86_WRMSR:
        return this.wrmsr
      case X.KVM_EXIT_INTERNAL_ERROR:
        return { reason: 'internal-error', suberror: this.u32(0), data: this.u64s(8, Math.min(this.u32(4), 16)) }
      case X.KVM_EXIT_FAIL_ENTRY:
        return { reason: 'fail-entry', hardwareEntryFailureReason: this.u64(0), cpu: this.u32(8) }
      case X.KVM_EXIT_EXCEPTION:
        return { reason: 'exception', exception: this.u32(0), errorCode: this.u32(4) }
      case X.KVM_EXIT_DEBUG:
        return { reason: 'debug', exception: this.u32(0), pc: this.u64(8), dr6: this.u64(0x10), dr7: this.u64(0x18) }
      case X.KVM_EXIT_HYPERCALL:
        return { reason: 'hypercall', nr: this.u64(0), args: this.u64s(8, 6) }
      case X.KVM_EXIT_SYSTEM_EVENT:
        return { reason: 'system-event', type: this.u32(0), data: this.u64s(8, Math.min(this.u32(4), 16)) }
      case X.KVM_EXIT_MEMORY_FAULT:
        return { reason: 'memory-fault', flags: this.u64(0), gpa: this.u64(8), size: this.u64(0x10) }
      case X.KVM_EXIT_IOAPIC_EOI:
        return { reason: 'ioapic-eoi', vector: this.run.getUint8(EXIT) }
      default:
        return { reason: 'unknown', exitReason: reason }
    }
  }

  private u32(offset: number): number {
    return this.run.getUint32(EXIT + offset, true)
  }
  private u64(offset: number): bigint {
    return this.run.getBigUint64(EXIT + offset, true)
  }
  private u64s(offset: number, count: number): bigint[] {
    return Array.from({ length: count }, (_, i) => this.u64(offset + i * 8))
  }
}
