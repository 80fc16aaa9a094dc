import { COUNTED_MSRS, type CountedMsr, type MachineCounters } from '../machine/counters.ts'
import type { FpuThread } from './fpu/thread-fpu.ts'

/** What KVM tells of a vCPU. */
export interface VcpuCostSource {
  /** Process that made the vCPU, and its KVM_CREATE_VCPU id. */
  readonly pid: number
  readonly id: number
  /** Bytes of its XSAVE image. */
  readonly imageBytes: number
  /** Bytes of extended state that KVM keeps beside the image, in its own structure. */
  readonly byHandBytes: number
}

/** Bytes of extended-state buffers, XSAVE images only: the 64 bytes of struct fpstate before each do not count. */
export interface TaskCost {
  readonly tid: number
  readonly comm: string
  /** The buffer a task has for life. */
  readonly embedded: number
  /** The one it got in its place when it first used a dynamic component; 0 = none. */
  readonly grown: number
}
export interface VcpuCost {
  readonly pid: number
  readonly id: number
  readonly image: number
  /** State KVM keeps by hand, beside the image (design M of CET_S). */
  readonly byHand: number
}

export interface MovedBytes {
  readonly executed: number
  /**
   * Bytes between registers and memory: the components that were not in their initial state (x87 152, MXCSR 8, XMM 256, others
   * their size) and, for every execution, the header's XSTATE_BV and XCOMP_BV (16; XSAVE and XSAVEOPT 8).
   */
  readonly bytes: number
}

/** Costs at one moment, or between two: counters are then what was added, sizes and lists those at the end. */
export interface CostSnapshot {
  readonly buffers: {
    /** Buffers of tasks and vCPU images that exist, and the bytes of their images. Between two moments: the change. */
    readonly live: number
    readonly liveBytes: number
    /** The most bytes there ever were. */
    readonly peakBytes: number
    readonly allocated: number
    readonly freed: number
  }
  readonly tasks: readonly TaskCost[]
  readonly vcpus: readonly VcpuCost[]
  /** XSAVE* and XRSTOR* instructions of the kernel; those of programs and guests do not count. */
  readonly xsave: MovedBytes
  readonly xrstor: MovedBytes
  /** RDMSR and WRMSR executed by the kernel and KVM. What VM entry and exit load from the VMCS is not among them. */
  readonly msrs: Readonly<Record<CountedMsr, { readonly reads: number; readonly writes: number }>>
  readonly xsetbv: number
  readonly wrpkru: number
  readonly contextSwitches: number
  /** vcpu_load() and vcpu_put(): one pair for each vCPU ioctl, and each time the task in KVM_RUN gets or loses its processor. */
  readonly vcpuLoads: number
  readonly vcpuPuts: number
  /** KVM_RUN calls, VM entries, and KVM_RUN calls that returned -1 (EINTR, EAGAIN, …). */
  readonly kvmRuns: number
  readonly worldSwitches: number
  readonly kvmRunErrors: number
  /** KVM_RUN calls that returned 0, by exit reason (`KVM_EXIT_IO`). */
  readonly exitsToUser: Readonly<Record<string, number>>
}

/** Exit reasons are below this. */
const EXIT_REASONS = 64

/**
 * What extended state costs on this host. One object per kernel, `kernel.costs`; every number is counted where the thing is done,
 * by the kernel, by KVM or by the modelled processor. Counters only grow: take a `snapshot` before and ask for the `since`.
 */
export class Costs {
  // ---- counted by the kernel and KVM ----
  buffersAllocated = 0
  buffersFreed = 0
  bufferBytes = 0
  peakBufferBytes = 0
  contextSwitches = 0
  vcpuLoads = 0
  vcpuPuts = 0
  kvmRuns = 0
  kvmRunErrors = 0
  /** By exit reason. */
  readonly exits = new Float64Array(EXIT_REASONS)
  /** KVM's names of exit reasons, once it is loaded. */
  exitNames: Readonly<Record<number, string>> = {}
  readonly vcpus = new Set<VcpuCostSource>()

  private readonly machine: MachineCounters
  private readonly tasks: ReadonlyMap<number, { readonly tid: number; readonly comm: string; readonly fpu: FpuThread }>

  /** @param tasks those whose buffers count, as they come and go */
  constructor(machine: MachineCounters, tasks: Costs['tasks']) {
    this.machine = machine
    this.tasks = tasks
  }

  bufferAllocated(bytes: number): void {
    this.buffersAllocated++
    this.bufferBytes += bytes
    if (this.bufferBytes > this.peakBufferBytes) this.peakBufferBytes = this.bufferBytes
  }
  bufferFreed(bytes: number): void {
    this.buffersFreed++
    this.bufferBytes -= bytes
  }

  /** KVM_RUN comes back: 0 with this exit reason, or a negative errno. */
  runReturned(result: number, reason: number): void {
    if (result < 0) this.kvmRunErrors++
    else this.exits[reason & (EXIT_REASONS - 1)]++
  }

  snapshot(): CostSnapshot {
    const { machine } = this
    return {
      buffers: {
        live: this.buffersAllocated - this.buffersFreed,
        liveBytes: this.bufferBytes,
        peakBytes: this.peakBufferBytes,
        allocated: this.buffersAllocated,
        freed: this.buffersFreed,
      },
      tasks: [...this.tasks.values()].map(({ tid, comm, fpu }) => ({ tid, comm, ...fpu.bufferBytes })),
      vcpus: [...this.vcpus].map(({ pid, id, imageBytes, byHandBytes }) => ({ pid, id, image: imageBytes, byHand: byHandBytes })),
      xsave: { executed: machine.xsaveExecuted, bytes: machine.xsaveBytes },
      xrstor: { executed: machine.xrstorExecuted, bytes: machine.xrstorBytes },
      msrs: byMsr((i) => ({ reads: machine.msrReadsOf[i], writes: machine.msrWritesOf[i] })),
      xsetbv: machine.xsetbv,
      wrpkru: machine.wrpkru,
      contextSwitches: this.contextSwitches,
      vcpuLoads: this.vcpuLoads,
      vcpuPuts: this.vcpuPuts,
      kvmRuns: this.kvmRuns,
      worldSwitches: machine.vmEntries,
      kvmRunErrors: this.kvmRunErrors,
      exitsToUser: this.exitCounts(),
    }
  }

  /** What was added since `before`. */
  since(before: CostSnapshot): CostSnapshot {
    return costDifference(this.snapshot(), before)
  }

  private exitCounts(): Record<string, number> {
    const counts: Record<string, number> = {}
    this.exits.forEach((count, reason) => {
      if (count !== 0) counts[this.exitNames[reason] ?? `exit reason ${reason}`] = count
    })
    return counts
  }
}

/** The costs between two snapshots of one host. */
export function costDifference(after: CostSnapshot, before: CostSnapshot): CostSnapshot {
  const exits: Record<string, number> = {}
  for (const [reason, count] of Object.entries(after.exitsToUser)) {
    const added = count - (before.exitsToUser[reason] ?? 0)
    if (added !== 0) exits[reason] = added
  }
  return {
    buffers: { ...numbersSince(after.buffers, before.buffers), peakBytes: after.buffers.peakBytes },
    tasks: after.tasks,
    vcpus: after.vcpus,
    xsave: numbersSince(after.xsave, before.xsave),
    xrstor: numbersSince(after.xrstor, before.xrstor),
    msrs: byMsr((i) => numbersSince(after.msrs[COUNTED_MSRS[i]], before.msrs[COUNTED_MSRS[i]])),
    xsetbv: after.xsetbv - before.xsetbv,
    wrpkru: after.wrpkru - before.wrpkru,
    contextSwitches: after.contextSwitches - before.contextSwitches,
    vcpuLoads: after.vcpuLoads - before.vcpuLoads,
    vcpuPuts: after.vcpuPuts - before.vcpuPuts,
    kvmRuns: after.kvmRuns - before.kvmRuns,
    worldSwitches: after.worldSwitches - before.worldSwitches,
    kvmRunErrors: after.kvmRunErrors - before.kvmRunErrors,
    exitsToUser: exits,
  }
}

function byMsr(count: (place: number) => { reads: number; writes: number }): CostSnapshot['msrs'] {
  return Object.fromEntries(COUNTED_MSRS.map((name, i) => [name, count(i)])) as CostSnapshot['msrs']
}

function numbersSince<T extends { readonly [K in keyof T]: number }>(after: T, before: T): T {
  const keys = Object.keys(after) as (keyof T)[]
  return Object.fromEntries(keys.map((key) => [key, after[key] - before[key]])) as T
}
