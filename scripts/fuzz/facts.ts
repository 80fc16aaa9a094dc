import type { CpuModel } from '../../src/isa/cpu-model.ts'
import type { KernelProfile } from '../../src/profiles/kernel-profile.ts'

/**
 * What the rules need to know of a host and a vCPU to say what a call gives. Worked out here from CPUID and the rules' own words,
 * without the model's code, so that the two can disagree.
 */

export const [FP, SSE, YMM, BNDREGS, BNDCSR, OPMASK, PKRU, XTILE_CFG, XTILE_DATA] = [0, 1, 2, 3, 4, 5, 9, 17, 18].map(
  (nr) => 1 << nr,
)
const AVX512 = 0xe0
export const FPSSE = FP | SSE
/** Component 20, of a processor that nobody makes (PERM-60). */
const INVENTED = 1 << 20

/** A user component as CPUID.(0DH,nr) gives it. */
interface Component {
  readonly nr: number
  readonly size: number
  readonly offset: number
}

export interface HostFacts {
  readonly profile: KernelProfile
  readonly hasXsave: boolean
  /** Components of XCR0 that the kernel manages (PERM-01, -02). */
  readonly userMax: number
  readonly userDefault: number
  readonly dynamic: number
  /** GFPU-07 */
  readonly kvmXcr0: number
  readonly mxcsrMask: number
  readonly components: readonly Component[]
}

export function hostFacts(model: CpuModel, profile: KernelProfile): HostFacts {
  const leaf = model.cpuid(0xd, 0)
  const gate = (feature: Parameters<CpuModel['has']>[0], mask: number) => (model.has(feature) ? mask : 0)
  const gated =
    FPSSE |
    gate('avx', YMM) |
    gate('mpx', BNDREGS | BNDCSR) |
    gate('avx512f', AVX512) |
    gate('pku', PKRU) |
    gate('amx-tile', XTILE_CFG) |
    (model.has('amx-tile') ? gate('xfd', XTILE_DATA) : 0) |
    // Invented components need no CPU feature.
    INVENTED
  const hasXsave = model.has('xsave')
  const userMax = hasXsave ? leaf.eax & gated & profile.fpu.userSupported : FPSSE
  const dynamic = userMax & profile.fpu.userDynamic
  const isAmd = model.vendor === 'AuthenticAMD'
  let kvmXcr0 = userMax & (FPSSE | YMM | BNDREGS | BNDCSR | AVX512 | PKRU | XTILE_CFG | XTILE_DATA | INVENTED)
  // MPX of guests needs VMX's own controls, which no processor of ours with MPX has beside the Intel ones.
  if (isAmd) kvmXcr0 &= ~(BNDREGS | BNDCSR)
  if (profile.dynamicStates.enabling === 'none') kvmXcr0 &= ~(XTILE_CFG | XTILE_DATA)
  const components: Component[] = []
  for (let nr = 2; nr < 32; nr++) {
    const { eax, ebx, ecx } = model.cpuid(0xd, nr)
    if (eax !== 0 && (ecx & 1) === 0) components.push({ nr, size: eax, offset: ebx })
  }
  return {
    profile,
    hasXsave,
    userMax,
    userDefault: userMax & ~dynamic,
    dynamic,
    kvmXcr0: hasXsave ? kvmXcr0 : 0,
    mxcsrMask: model.mxcsrMask,
    components,
  }
}

/** Bytes of a standard-form image with these components: PERM-05, and PERM-08 for kernels before 6.16. */
export function standardBytes(host: HostFacts, mask: number): number {
  const held = host.components.filter(({ nr }) => ((mask >>> nr) & 1) !== 0)
  const ends = held.map(({ offset, size }) => offset + size)
  if (host.profile.fpu.standardSizeOfHighestComponent) return ends.at(-1) ?? 576
  return Math.max(576, ...ends)
}

/**
 * The predictions here are of kernels that make space for dynamic components at KVM_SET_CPUID2, or never. The designs that make it later
 * (GFPU-35, -36) depend on what the guest did; of their calls only is asked that nothing breaks and that a refusal changes nothing.
 */
export const isPredicted = ({ dynamicStates }: KernelProfile): boolean =>
  dynamicStates.enabling === 'at-cpuid' || dynamicStates.enabling === 'none'

/** What a vCPU has been given so far. */
export interface VcpuFacts {
  readonly host: HostFacts
  /** Dynamic components that the leader's guest permission has. */
  permitted: number
  /** CPUID.(0DH,0).EDX:EAX of the list in force; null before the first. */
  cpuidXcr0: bigint | null
  /** CPUID.(0DH,1).EAX, ECX of it. */
  cpuidD1: { eax: number; ecx: number } | null
  hasXsaveBit: boolean
  /** Dynamic components that have space (GFPU-39). */
  enlarged: number
  /** Bytes KVM_GET_XSAVE2 writes and KVM_SET_XSAVE reads. */
  uabiSize: number
  xfd: number
  xss: bigint
  xcr0: bigint
  hasRun: boolean
  /** Components KVM can offer in IA32_XSS: what KVM_GET_SUPPORTED_CPUID says. */
  readonly kvmXss: number
}

export function newVcpuFacts(host: HostFacts, permitted: number, kvmXss: number): VcpuFacts {
  const size = standardBytes(host, host.userDefault)
  return {
    host,
    permitted,
    cpuidXcr0: null,
    cpuidD1: null,
    hasXsaveBit: false,
    enlarged: 0,
    uabiSize: host.profile.kvm.baseUabiSizeFloor4096 ? Math.max(4096, size) : size,
    xfd: 0,
    xss: 0n,
    xcr0: 1n,
    hasRun: false,
    kvmXss,
  }
}

/** GFPU-08 */
export const guestXcr0 = ({ host, cpuidXcr0 }: VcpuFacts): number => Number((cpuidXcr0 ?? 0n) & BigInt(host.kvmXcr0))

/** image.user_xfeatures, XSAVE §5. */
export function imageFeatures(vcpu: VcpuFacts): number {
  const { host, enlarged, cpuidXcr0 } = vcpu
  if (host.profile.xsave.era === 'E2' && cpuidXcr0 !== null) return guestXcr0(vcpu) | FPSSE
  return host.userDefault | enlarged
}

/** Components that KVM_GET_XSAVE2 may show: XSAVE §5, column GET. */
export function shownFeatures(vcpu: VcpuFacts): number {
  const { era } = vcpu.host.profile.xsave
  if (era === 'E1' || (era === 'E2' && vcpu.cpuidXcr0 === null)) return imageFeatures(vcpu)
  return imageFeatures(vcpu) & (guestXcr0(vcpu) | FPSSE)
}

/**
 * XSTATE_BV of an image as KVM_SET_XSAVE takes it: without what IA32_XFD disables (XSAVE-16), and under the proposal that drops
 * silently without what cannot be loaded (XSAVE-36).
 */
export function suppliedFeatures(vcpu: VcpuFacts, bv: bigint): bigint {
  const { xsave } = vcpu.host.profile
  const loadable = xsave.setDropsUnsupported ? bv & BigInt((imageFeatures(vcpu) & vcpu.host.kvmXcr0) >>> 0) : bv
  return xsave.era === 'E3+xfd' ? loadable & ~BigInt(vcpu.xfd >>> 0) : loadable
}

/** The same of an image. */
export const suppliedMask = (vcpu: VcpuFacts, image: Uint8Array): number =>
  Number(suppliedFeatures(vcpu, new DataView(image.buffer, image.byteOffset).getBigUint64(512, true)) & 0xffffffffn)
