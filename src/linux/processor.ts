import type { FpuThread } from './fpu/thread-fpu.ts'
import type { HostProcessor, ProcessorView } from './hardware.ts'
import type { Kernel } from './kernel.ts'
import type { Task } from './task.ts'

/** Per-CPU data of the host kernel, as code sees it that may be on another processor a moment later. */
export class HostCpu {
  readonly kernel: Kernel
  readonly id: number
  readonly processor: ProcessorView
  /** The task that runs here now; null = idle. */
  readonly current: Task | null = null
  /** The task that ran here before; null = idle. The context switch compares flags with it (SLD-27). */
  readonly previous: Task | null = null
  /** Whose extended state the registers hold (PERM-40); null = nobody's. */
  readonly fpuOwner: FpuThread | null = null
  /** Last value written to IA32_XFD on this processor (PERM-33). */
  readonly xfdShadow: number = 0
  /** Whose TLS entries the processor's GDT holds. */
  readonly tlsOwner: Task | null = null
  /** kernel_fpu_begin is in effect. */
  readonly inKernelFpu: boolean = false
  /** Tasks ready to run here, next first. */
  readonly queue: Task[] = []
  /** Instructions the current task may still retire before another may take its place. */
  sliceLeft = 0
  /** Instructions left of the current task's turn. */
  turnLeft = 0
  /** Something better to run, or the slice is over. */
  needResched = false
  /** Since when it is offline, ns since boot; and how long it has been before that. */
  offlineSince = 0
  offlineTime = 0

  constructor(kernel: Kernel, processor: HostProcessor) {
    this.kernel = kernel
    this.id = processor.id
    this.processor = processor
  }

  get isOnline(): boolean {
    return ((this.kernel.onlineMask >>> this.id) & 1) !== 0
  }

  /** Virtual time it has been online, ns. */
  get onlineTime(): number {
    return (this.isOnline ? this.kernel.clock.now : this.offlineSince) - this.offlineTime
  }

  /**
   * How many instructions may retire now before the kernel must look up: until the slice ends or the next timer is due.
   * What `runHost` and `enterGuest` get as their budget; at least 1.
   */
  budget(): number {
    return this.kernel.clock.budget(this)
  }

  /** Tells the clock that `instructions` retired here; timers that came due have run when this returns. */
  account(instructions: number): void {
    this.kernel.clock.account(this, instructions)
  }
}

declare const pinned: unique symbol
/**
 * A processor that the code holding it cannot lose. It alone can be changed; whose the extended state in it is changes in
 * `fpu/register-owner.ts` only. `withPreemptionDisabled` makes one.
 */
export type PinnedProcessor = HostCpu & {
  readonly [pinned]: true
  readonly processor: HostProcessor
  current: Task | null
  previous: Task | null
  tlsOwner: Task | null
}

/**
 * For code that cannot lose `cpu` because of what it is: the scheduler between two tasks, boot, a processor that goes
 * offline or comes back, timer work on a given processor.
 * `test/linux/preemption.test.ts` lists all who call this; everything else is given its processor.
 */
export const pinnedProcessor = (cpu: HostCpu): PinnedProcessor => cpu as PinnedProcessor
