import type { Gate } from '../../linux/refusal.ts'

/** One thing that doctor looked at. */
export interface Check {
  /** Stable name: `kvm-opens`. */
  readonly name: string
  /** For people: `/dev/kvm opens`. */
  readonly title: string
  readonly verdict: 'ok' | 'no' | 'unknown'
  /** What was found: `EACCES`, `0x602e7 (FP SSE …)`. */
  readonly value: string
  /** What follows from it. */
  readonly means: string
  /** What helps; empty when nothing needs to be done or nothing is known to. */
  readonly todo: string
  /** The gates that were consulted, where there are several (as refusals have them). */
  readonly chain?: readonly Gate[]
}

/** Where the probe ran, and what is known without it. */
export interface Surroundings {
  /** `this machine`, `modelled SapphireRapids, linux-6.12`. */
  readonly where: string
  readonly modelled: boolean
  /** process.platform, process.arch, process.version; null for a modelled host. */
  readonly node: { readonly platform: string; readonly arch: string; readonly version: string } | null
  /** Whether /dev/kvm is there, looked at without the probe; null where that cannot be told. */
  readonly kvmNode: boolean | null
  /** Flags of the first processor in /proc/cpuinfo; null where it cannot be read. */
  readonly cpuinfoFlags: readonly string[] | null
  /** Why the probe did not run, or did not come to its end; null when it did. */
  readonly probeFailure: string | null
}
