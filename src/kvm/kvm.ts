import type { CpuModel } from '../isa/cpu-model.ts'
import { MSR_IA32_ARCH_CAPABILITIES, MSR_IA32_MISC_ENABLE, MSR_IA32_VMX_PROCBASED_CTLS2 } from '../isa/msr-index.ts'
import {
  XFEATURE_MASK_AVX512,
  XFEATURE_MASK_BNDCSR,
  XFEATURE_MASK_BNDREGS,
  XFEATURE_MASK_FPSSE,
  XFEATURE_MASK_PKRU,
  XFEATURE_MASK_XTILE,
  XFEATURE_MASK_YMM,
} from '../isa/xfeatures.ts'
import type { XstateLayout } from '../isa/xstate-layout.ts'
import type { Kernel } from '../linux/kernel.ts'
import type { Task } from '../linux/task.ts'
import type { AddressSpace } from '../machine/address-space.ts'
import type { PageWalk } from '../machine/page-walk.ts'
import type { SecondStage } from '../machine/second-stage.ts'
import type { KernelProfile } from '../profiles/kernel-profile.ts'
import { offersCet, virtualizedXss } from './cpuid/cet-support.ts'
import { type HostCpu, KvmCpuCaps } from './cpuid/cpu-caps.ts'
import { guestArchCapabilities } from './msr/arch-capabilities.ts'
import { featureMsrList, msrIndexList } from './msr/lists.ts'
import { nestedVmxMsrs } from './nested/vmx-capabilities.ts'
import type { VirtualizingProcessor } from './run/world-switch.ts'
import { KvmTrace } from './trace.ts'
import { cr4ReservedBits, eferReservedBits } from './vcpu/control-registers.ts'
import { supportedCoreCapabilities } from './vcpu/split-lock.ts'
import type { Vm } from './vm.ts'

/** What KVM uses of the machine beyond what the host kernel does. */
export interface VirtualizingMachine {
  readonly pageWalk: PageWalk
  newAddressSpace(secondStage?: SecondStage | null): AddressSpace
}

/** User components KVM can virtualize, before the host's own set is applied. GFPU-07. */
const KVM_SUPPORTED_XCR0 =
  XFEATURE_MASK_FPSSE |
  XFEATURE_MASK_YMM |
  XFEATURE_MASK_BNDREGS |
  XFEATURE_MASK_BNDCSR |
  XFEATURE_MASK_AVX512 |
  XFEATURE_MASK_PKRU |
  XFEATURE_MASK_XTILE

/** Linux drops ERMS where firmware left fast-string operation off in IA32_MISC_ENABLE (arch/x86/kernel/cpu/intel.c). */
const fastStringsOff = (model: CpuModel): boolean => {
  const miscEnable = model.msrs.get(MSR_IA32_MISC_ENABLE)
  return model.vendor === 'GenuineIntel' && miscEnable !== undefined && (miscEnable & 1n) === 0n
}
const ERMS = 1 << 9
function asLinuxSees(model: CpuModel, cpuid: HostCpu['cpuid']): HostCpu['cpuid'] {
  if (!fastStringsOff(model)) return cpuid
  return (leaf, subleaf) => {
    const answer = cpuid(leaf, subleaf)
    return leaf === 7 && subleaf === 0 ? { ...answer, ebx: (answer.ebx & ~ERMS) >>> 0 } : answer
  }
}

/** Module parameters that can be chosen when KVM is loaded. */
export interface KvmParameters {
  /** kvm_intel.nested, kvm_amd.nested: guests see VMX or SVM and its capabilities. They cannot enter it: that is not modelled. */
  readonly nested?: boolean
}

/** The KVM module of a modelled host: what it supports, its VMs. `kvm_intel` or `kvm_amd` by the CPU's vendor. */
export class Kvm {
  readonly kernel: Kernel
  readonly model: CpuModel
  readonly profile: KernelProfile
  readonly isAmd: boolean
  readonly caps: KvmCpuCaps
  readonly xstate: XstateLayout
  readonly hostXcr0: number
  readonly hostXss: number
  readonly hostHasPku: boolean
  readonly supportedXcr0: number
  readonly supportedXss: number
  /** Components that IA32_XFD can withhold. */
  readonly dynamicXfeatures: number
  readonly archCapabilities: bigint
  /** VMX capability MSRs for guests; null without nested=1 and on AMD. */
  readonly nestedVmx: ReadonlyMap<number, bigint> | null
  /** CR4 and EFER bits that are reserved whatever a guest's CPUID says. */
  readonly cr4Reserved: number
  readonly eferReserved: number
  readonly pageWalk: PageWalk
  readonly vms = new Set<Vm>()
  readonly msrList: readonly number[]
  readonly featureMsrs: readonly number[]
  /**
   * VMX secondary control bit 30: a bus lock exits. Where the model does not state IA32_VMX_PROCBASED_CTLS2, parts with the
   * debug exception are taken to have it: Intel brought both together (SDM Vol. 3C 25.6.2; not read from a chip).
   */
  readonly hasBusLockExit: boolean
  /** MSR_IA32_CORE_CAPS for guests, where they can have it (SLD-44). */
  readonly supportedCoreCapabilities: bigint
  private readonly advertised: ReadonlySet<number>
  private readonly machine: VirtualizingMachine
  private readonly tracer: KvmTrace
  /** Whose ioctl runs now; null outside. */
  callingTask: Task | null = null
  /** Guest MSR accesses that were refused, and ioctls nobody knows: listed at the end of a run. */
  readonly refusedMsrs = new Map<number, number>()
  readonly unknownIoctls = new Map<string, number>()

  constructor(kernel: Kernel, machine: VirtualizingMachine, parameters: KvmParameters = {}) {
    const { model, profile, xstate } = kernel
    this.kernel = kernel
    this.machine = machine
    this.model = model
    this.profile = profile
    this.isAmd = model.vendor === 'AuthenticAMD'
    this.xstate = model.xstate
    this.pageWalk = machine.pageWalk
    this.hostXcr0 = xstate.userMax
    this.hostXss = xstate.xss
    this.dynamicXfeatures = xstate.dynamic
    this.hostHasPku = model.has('pku')
    this.archCapabilities = guestArchCapabilities(model)
    const nested = parameters.nested === true
    this.nestedVmx = nested && !this.isAmd ? nestedVmxMsrs(model) : null
    const host: HostCpu = {
      cpuid: asLinuxSees(model, (leaf, subleaf) => model.cpuid(leaf, subleaf)),
      xcr0: this.hostXcr0,
      archCapabilities: model.msrs.get(MSR_IA32_ARCH_CAPABILITIES) ?? 0n,
      isAmd: this.isAmd,
      offersCet: offersCet(model, profile, this.hostXss),
      nested,
    }
    this.caps = new KvmCpuCaps(host)
    this.host = host
    const withoutMpx = this.caps.has('MPX') ? 0 : XFEATURE_MASK_BNDREGS | XFEATURE_MASK_BNDCSR
    const withoutAmx = profile.kvm.offersAmx ? 0 : XFEATURE_MASK_XTILE
    // Whatever is dynamic, tile data or an invented component, guests can have (GFPU-07). Without XSAVE there is no XCR0, and x87
    // and SSE are no components of it.
    const virtualizable = xstate.xsave ? KVM_SUPPORTED_XCR0 | profile.fpu.userDynamic : 0
    this.supportedXcr0 = (this.hostXcr0 & virtualizable & ~withoutMpx & ~withoutAmx) >>> 0
    this.supportedXss = virtualizedXss(profile, this.hostXss, this.caps)
    this.cr4Reserved = cr4ReservedBits((feature) => this.caps.has(feature))
    this.eferReserved = eferReservedBits(this.caps, this.isAmd)
    const secondary = model.msrs.get(MSR_IA32_VMX_PROCBASED_CTLS2)
    const mayBusLockExit = secondary === undefined ? model.has('bus-lock-detect') : ((secondary >> 62n) & 1n) !== 0n
    this.hasBusLockExit = !this.isAmd && mayBusLockExit
    this.supportedCoreCapabilities = supportedCoreCapabilities(kernel)
    this.msrList = msrIndexList(this)
    this.featureMsrs = featureMsrList(this)
    this.advertised = new Set(this.msrList)
    this.tracer = new KvmTrace(kernel)
  }

  /** The host as it was when the module was loaded. */
  readonly host: HostCpu

  /** The host as CPUID shows it on the processor that the task runs on: with its APIC id and the topology. */
  hostOn(task: Task): HostCpu {
    const { processor } = task.cpu ?? this.kernel.cpus[task.cpuId]
    const cpuid = (leaf: number, subleaf: number) => (processor as VirtualizingProcessor).cpuid(leaf, subleaf)
    return { ...this.host, cpuid: asLinuxSees(this.model, cpuid) }
  }

  /** Null while nobody watches events. */
  get trace(): KvmTrace | null {
    return this.kernel.trace.event === undefined ? null : this.tracer
  }

  newGuestSpace(stage: SecondStage): AddressSpace {
    return this.machine.newAddressSpace(stage)
  }
  physicalWritten(hpa: number, length: number): void {
    this.kernel.machine.physicalWritten(hpa, length)
  }

  /** In the save or emulated list: the host may read it and write 0 even where it does not exist (KAPI-72). */
  isAdvertisedMsr(index: number): boolean {
    return this.advertised.has(index)
  }

  noteMsrRefused(index: number, _isWrite: boolean): void {
    this.refusedMsrs.set(index, (this.refusedMsrs.get(index) ?? 0) + 1)
  }
}
