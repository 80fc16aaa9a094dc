import { X86_CR4_CET } from '../../isa/control-registers.ts'
import { features, runtimeFeatures } from '../../isa/cpuid-features.ts'
import { MSR_IA32_PL0_SSP, MSR_IA32_U_CET, MSR_IA32_XFD } from '../../isa/msr-index.ts'
import { msrName } from '../../isa/msrs.ts'
import { xfeatures } from '../../isa/xfeatures.ts'
import { isCetMsr } from '../../machine/cet.ts'
import { type CpuidEntry2, cpuidXcr0, findCpuid } from '../cpuid-list.ts'
import type { Kvm } from '../kvm.ts'
import { XsaveGeometry } from '../xsave-geometry.ts'
import { XsaveImage } from '../xsave-image.ts'
import type { VcpuState } from './guest-state.ts'

/** Why a saved vCPU cannot go on on a host. */
export interface Obstacle {
  /** Rule that says so; null where KVM would take the state and the guest would break later. */
  readonly rule: string | null
  readonly because: string
  /** What would help; empty if nothing is known to. */
  readonly fix: string
}

const hex = (value: bigint): string => `0x${value.toString(16)}`

/**
 * Works out what of `state` does not fit the host behind `kvm`, before a byte is applied: KVM_SET_XSAVE and KVM_SET_XCRS would refuse
 * the state components (XSAVE-17, GFPU-45), but nothing refuses a CPUID with instructions the host does not have.
 * Ask after the process has requested its permissions.
 */
export function obstacles(kvm: Kvm, state: VcpuState): Obstacle[] {
  const supported = kvm.getSupportedCpuid()
  return [
    ...missingComponents(cpuidXcr0(supported), state),
    ...missingFeatures(supported, state.cpuid),
    ...missingCet(kvm, state),
    ...differentGeometry(supported, state),
    ...withheldComponents(state),
  ]
}

/** `XTILE_CFG and XTILE_DATA (components 17, 18) are` */
function componentsAre(mask: bigint): string {
  const numbers = xfeatures.map((x) => x.nr).filter((nr) => (mask >> BigInt(nr)) & 1n)
  const names = numbers.map((nr) => xfeatures[nr].name)
  return names.length > 1
    ? `${names.join(' and ')} (components ${numbers.join(', ')}) are`
    : `${names[0]} (component ${numbers[0]}) is`
}

/** Components in use, enabled, or promised by CPUID that the host does not have. */
function missingComponents(supported: bigint, state: VcpuState): Obstacle[] {
  const { xstateBv } = new XsaveImage(state.xsave)
  const missing = (mask: bigint): bigint => mask & ~(supported | 3n)
  const used = missing(xstateBv)
  if (used !== 0n) {
    const because = `${componentsAre(used)} in use: XSTATE_BV = ${hex(xstateBv)}, this host has ${hex(supported)}`
    return [{ rule: 'XSAVE-17', because, fix: 'save again after the guest has put them into their initial state' }]
  }
  const enabled = missing(state.xcr0 ?? 0n)
  if (enabled !== 0n) {
    const because = `${componentsAre(enabled)} enabled: XCR0 = ${hex(state.xcr0 ?? 0n)}, this host has ${hex(supported)}`
    return [{ rule: 'GFPU-45', because, fix: '' }]
  }
  const promised = missing(cpuidXcr0(state.cpuid))
  if (promised === 0n) return []
  return [{ rule: 'GFPU-08', because: `${componentsAre(promised)} in the guest's CPUID.(0DH,0), but not on this host`, fix: '' }]
}

/** Instructions and registers the guest was told of and this host has not. */
function missingFeatures(supported: readonly CpuidEntry2[], guest: readonly CpuidEntry2[]): Obstacle[] {
  const missing: string[] = []
  for (const feature of features.values()) {
    if (feature.kind !== 'cpuid' || runtimeFeatures.has(feature.name)) continue
    const has = (list: readonly CpuidEntry2[]): boolean => {
      const entry = findCpuid(list, feature.leaf, feature.subleaf)
      return entry !== undefined && ((entry[feature.register] >>> feature.bit) & 1) !== 0
    }
    if (has(guest) && !has(supported)) missing.push(feature.name)
  }
  if (missing.length === 0) return []
  const few = missing.length <= 8
  const listed = few ? missing.join(' ') : `${missing.slice(0, 8).join(' ')} and ${missing.length - 8} more`
  const fix = few
    ? `start the guest with ${missing.map((name) => `-${name}`).join(',')} after the CPU model`
    : 'start the guest with a CPU model that every host it shall run on can offer'
  return [{ rule: null, because: `the guest's CPUID has what this host has not: ${listed}`, fix }]
}

/** Control-flow enforcement in use that this host cannot give to guests: KVM has neither the MSRs nor CR4.CET. CET-27. */
function missingCet(kvm: Kvm, state: VcpuState): Obstacle[] {
  const here = new Set(kvm.getMsrIndexList())
  const used = state.msrs
    .filter(({ index, data }) => data !== 0n && isCetMsr(index) && !here.has(index))
    .map(({ index, data }) => `${msrName(index)} = ${hex(data)}`)
  if ((state.guestSsp ?? 0n) !== 0n && !here.has(MSR_IA32_PL0_SSP)) used.push(`SSP = ${hex(state.guestSsp!)}`)
  if ((state.sregs.cr4 & BigInt(X86_CR4_CET)) !== 0n && !here.has(MSR_IA32_U_CET)) used.push('CR4.CET is set')
  if (used.length === 0) return []
  return [
    { rule: 'CET-27', because: `control-flow enforcement is in use: ${used.join(', ')}; this host has none for guests`, fix: '' },
  ]
}

/** The standard format puts components at other offsets on other vendors' parts. */
function differentGeometry(supported: readonly CpuidEntry2[], state: VcpuState): Obstacle[] {
  const here = XsaveGeometry.fromCpuid(supported)
  const image = new XsaveImage(state.xsave, XsaveGeometry.fromCpuid(state.cpuid))
  for (const { nr, name, offset } of image.geometry.components) {
    const place = here.component(nr)
    if (!image.has(nr) || place === undefined || place.offset === offset) continue
    return [
      { rule: 'PERM-04', because: `${name} lies at byte ${offset} of the saved image and at ${place.offset} here`, fix: '' },
    ]
  }
  return []
}

/** Loading a component that IA32_XFD withholds kills the host's thread on flawed kernels (GFPU-33, -53): never do it. */
function withheldComponents(state: VcpuState): Obstacle[] {
  const xfd = state.msrs.find((msr) => msr.index === MSR_IA32_XFD)?.data ?? 0n
  const { xstateBv } = new XsaveImage(state.xsave)
  if ((xfd & xstateBv) === 0n) return []
  const because = `${componentsAre(xfd & xstateBv)} withheld by IA32_XFD = ${hex(xfd)}, but in the image: XSTATE_BV = ${hex(xstateBv)}`
  return [{ rule: 'GFPU-51', because, fix: 'clear the bits in XSTATE_BV: the guest cannot reach this data' }]
}
