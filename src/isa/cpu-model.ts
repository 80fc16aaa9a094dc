import type { FeatureName } from './cpuid-features.ts'
import type { XstateLayout, XstateRow } from './xstate-layout.ts'

/** Four registers as CPUID leaves them, each an unsigned 32-bit number. */
export interface CpuidRegisters {
  readonly eax: number
  readonly ebx: number
  readonly ecx: number
  readonly edx: number
}

/** One CPUID row with where it was read. */
export interface CpuidRow extends CpuidRegisters {
  readonly leaf: number
  readonly subleaf: number
  readonly source: string
}

/** A read-only or reset value of a model-specific register. */
export interface MsrRow {
  readonly index: number
  readonly value: bigint
  /** Bits software may set, where they are not what the features say. */
  readonly writable?: bigint
  readonly source: string
}

/** What an emulated processor does and no chip: stated only for the processors of recordings, which are emulators. */
export interface EmulatorFacts {
  /** XINUSE is 1 for every component but the MPX bounds, whatever it holds. */
  readonly xinuseAssumed?: true
  /** LDMXCSR, FXRSTOR and XRSTOR take reserved bits of MXCSR. */
  readonly mxcsrUnchecked?: true
  /** RDMSR of a register that does not exist gives 0 and WRMSR does nothing, instead of #GP(0). */
  readonly unknownMsrsAreZero?: true
  /** CPUID.(0DH,1).EBX has the compacted size although no instruction compacts. */
  readonly compactedSizeWithoutXsavec?: true
}

/** Feature bits in which the bare chip differs from the rows, and why we believe it. */
export interface FeatureAdjustment {
  readonly on?: readonly FeatureName[]
  readonly off?: readonly FeatureName[]
  readonly source: string
}

/** What the physical chip has and this model leaves out. */
export interface Omission {
  readonly what: string
  readonly because: string
}

export type CpuVendor = 'GenuineIntel' | 'AuthenticAMD'

/** What a model's file states; everything else of a `CpuModel` is computed from it by `buildCpuModel`. */
export interface CpuModelFacts {
  /** QEMU's `-cpu` name, or ours for a chip QEMU has no name for. */
  readonly name: string
  readonly vendor: CpuVendor
  /** Display family, model, stepping: extended fields added in (SDM Vol. 2A CPUID, APM Vol. 3 App. E.3.2). */
  readonly family: number
  readonly model: number
  readonly stepping: number
  /** Brand string, at most 47 characters. */
  readonly brand: string
  readonly maxBasicLeaf: number
  readonly maxExtendedLeaf: number
  /** Leaves other than 0, 0DH, 80000000H and 80000002H..4H, which are computed. Leaf 1 without APIC id and CPU count. */
  readonly rows: readonly CpuidRow[]
  readonly adjustments: readonly FeatureAdjustment[]
  readonly xstate: readonly XstateRow[]
  readonly xstateSource: string
  /** The components are those of `xstate`, whatever the features bring: a processor that nobody makes. */
  readonly syntheticXstate?: true
  readonly msrs: readonly MsrRow[]
  readonly tscKhz: number
  readonly instructionsPerMicrosecond: number
  /** Split-lock detection in MSR_TEST_CTRL exists although MSR_IA32_CORE_CAPS does not say so (SLD-10's model table). */
  readonly splitLockDetectByModel?: boolean
  /** Data for an out-of-range leaf: of the highest basic leaf (Intel, SDM), or zeros (AMD, and some emulators). */
  readonly outOfRangeLeaf?: 'highest-basic' | 'zero'
  /** False where leaves 0BH and 1FH are empty whatever the machine (one emulator). */
  readonly topologyLeaves?: false
  readonly emulator?: EmulatorFacts
  readonly source: string
  /** True if the rows come from a CPUID reading of the real part (as far as its hypervisor passed it on). */
  readonly hasRealDump: boolean
  readonly omissions: readonly Omission[]
}

/**
 * One physical processor model, all logical processors alike: what the chip answers before any software has run. Per-processor
 * and run-time bits (APIC id, topology, OSXSAVE, OSPKE, current XSAVE sizes) are added by `processorCpuid`.
 */
export interface CpuModel {
  readonly name: string
  /** The `-cpu` text that makes this model: the name, or the name with its feature changes. */
  readonly spec: string
  readonly vendor: CpuVendor
  readonly family: number
  readonly model: number
  readonly stepping: number
  readonly brand: string
  readonly maxBasicLeaf: number
  readonly maxExtendedLeaf: number
  /** Static value of a leaf; zeros for one in range that the chip does not use; out of range as the vendor does it. */
  cpuid(leaf: number, subleaf: number): CpuidRegisters
  has(feature: FeatureName): boolean
  readonly features: ReadonlySet<FeatureName>
  /** All rows, for enumeration (inspection, KVM's CPUID building); order of leaves ascending. */
  readonly rows: readonly CpuidRow[]
  readonly xstate: XstateLayout
  /** Components XCR0 may hold: 0 without XSAVE. */
  readonly xcr0Supported: number
  /** Components IA32_XSS may hold: 0 without XSAVES. */
  readonly xssSupported: number
  /** MAXPHYADDR, bits. */
  readonly maxPhysAddr: number
  /** Widest linear address the chip can be put into: 48, or 57 with LA57. */
  readonly linearAddrBits: number
  /** Valid MXCSR bits: what FXSAVE and XSAVE store as MXCSR_MASK. */
  readonly mxcsrMask: number
  /** Model-dependent MSR values at reset, by index. */
  readonly msrs: ReadonlyMap<number, bigint>
  /** Writable bits of MSRs for which the model states them. */
  readonly msrWritable: ReadonlyMap<number, bigint>
  readonly emulator: EmulatorFacts
  readonly tscKhz: number
  /** Virtual time: this many retired instructions are one microsecond. */
  readonly instructionsPerMicrosecond: number
  /** MSR_TEST_CTRL bit 29 exists (SLD-10). */
  readonly splitLockDetect: boolean
  readonly source: string
  readonly hasRealDump: boolean
  readonly omissions: readonly Omission[]
  /** The statement this model was computed from. */
  readonly facts: CpuModelFacts
}

/** A row of a model's table: leaf, subleaf, EAX, EBX, ECX, EDX, source. */
export function cpuidRow(
  leaf: number,
  subleaf: number,
  eax: number,
  ebx: number,
  ecx: number,
  edx: number,
  source: string,
): CpuidRow {
  return { leaf, subleaf, eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0, source }
}
