import type { CpuidEntry2 } from '../cpuid-list.ts'
import type { MsrEntry } from '../msr-list.ts'
import type { KvmDebugregs, KvmRegs, KvmSregs, KvmVcpuEvents } from '../vcpu-fd.ts'

/** What makes up a virtual CPU between two runs. `null` = the host it was saved on does not have it: nothing to restore. */
export interface VcpuState {
  readonly cpuid: readonly CpuidEntry2[]
  readonly regs: KvmRegs
  readonly sregs: KvmSregs
  /** MSRs of the host's list that could be read, in its order. One that is not here was not readable, which is not zero. */
  readonly msrs: readonly MsrEntry[]
  /** KVM_REG_GUEST_SSP. */
  readonly guestSsp: bigint | null
  readonly xcr0: bigint | null
  /** KVM_GET_XSAVE2. A component whose XSTATE_BV bit is clear is initial, whatever its bytes say. */
  readonly xsave: Uint8Array
  readonly events: KvmVcpuEvents
  readonly debugregs: KvmDebugregs
  readonly mpState: number
  readonly tscKhz: number
}

/** Consecutive pages that are not all zero. */
export interface PageRun {
  /** Number of the first page of the region. */
  readonly firstPage: number
  /** Whole pages. */
  readonly bytes: Uint8Array
}

/** A memory slot and its contents; pages in no run are zero. */
export interface MemoryState {
  readonly slot: number
  readonly guestPhysAddr: number
  readonly size: number
  readonly runs: readonly PageRun[]
}

/** Everything of a guest of the small VMM: one vCPU and its memory. */
export interface GuestState {
  /** Where it was saved, for people: `modelled SapphireRapids, linux-6.12`. */
  readonly savedOn: string
  /** kvmclock, ns (KVM_GET_CLOCK). */
  readonly clock: bigint
  readonly vcpu: VcpuState
  readonly memory: readonly MemoryState[]
}

export const PAGE_BYTES = 4096
