import { FPSSE, guestXcr0, imageFeatures, suppliedFeatures, type VcpuFacts, YMM } from './facts.ts'

/** What the rules say of a call: its errno (0 = success), and which rule decides. */
export interface Prediction {
  readonly errno: number
  readonly rule: string
}
const accepted: Prediction = { errno: 0, rule: '-' }
const refused = (errno: number, rule: string): Prediction => ({ errno, rule })

const [EPERM, E2BIG, EFAULT, EINVAL] = [1, 7, 14, 22]
const u32 = (value: number): bigint => BigInt(value >>> 0)

/** KVM_SET_XSAVE of an image, of which the first `readable` bytes can be read. XSAVE-15..20, XSAVE-25. */
export function predictSetXsave(vcpu: VcpuFacts, image: Uint8Array, readable: number): Prediction {
  const { host } = vcpu
  const { era } = host.profile.xsave
  if (readable < vcpu.uabiSize) return refused(EFAULT, 'XSAVE-15')
  const view = new DataView(image.buffer, image.byteOffset)
  const bv = suppliedFeatures(vcpu, view.getBigUint64(512, true))
  const badMxcsr = (view.getUint32(24, true) & ~host.mxcsrMask) !== 0
  if (!host.hasXsave) {
    if ((bv & ~u32(FPSSE)) !== 0n) return refused(EINVAL, 'XSAVE-25')
    return badMxcsr ? refused(EINVAL, 'XSAVE-25') : accepted
  }
  if ((bv & ~u32(host.kvmXcr0)) !== 0n) return refused(EINVAL, 'XSAVE-17')
  if (era !== 'E0') {
    if ((bv & ~u32(imageFeatures(vcpu))) !== 0n) return refused(EINVAL, 'XSAVE-18')
    for (let at = 520; at < 576; at++) if (image[at] !== 0) return refused(EINVAL, 'XSAVE-19')
  }
  const counts = era === 'E0' || (bv & u32(FPSSE | YMM)) !== 0n
  return counts && badMxcsr ? refused(EINVAL, 'XSAVE-20') : accepted
}

export interface Xcrs {
  readonly count: number
  readonly flags: number
  readonly entries: readonly { readonly xcr: number; readonly value: bigint }[]
}

/** XSAVE-30, GFPU-45 */
export function predictSetXcrs(vcpu: VcpuFacts, { count, flags, entries }: Xcrs, isReadable: boolean): Prediction {
  if (!isReadable) return refused(EFAULT, 'KAPI-01')
  if (!vcpu.host.hasXsave || count > 16 || flags !== 0) return refused(EINVAL, 'XSAVE-30')
  // Entries that a larger count adds are zero: XCR0 := 0.
  const given = count > entries.length ? [...entries, { xcr: 0, value: 0n }] : entries.slice(0, count)
  const entry = given.find(({ xcr }) => xcr === 0)
  if (entry === undefined || isValidXcr0(entry.value, guestXcr0(vcpu))) return accepted
  return refused(EINVAL, 'GFPU-45')
}

/** GFPU-45: what XSETBV and KVM_SET_XCRS take. */
export function isValidXcr0(value: bigint, guestSupported: number): boolean {
  const has = (nr: number) => (value >> BigInt(nr)) & 1n
  if (has(0) === 0n || (value & ~u32(guestSupported | 1)) !== 0n) return false
  if (has(2) > has(1) || has(3) !== has(4) || has(17) !== has(18)) return false
  const avx512 = has(5) + has(6) + has(7)
  return avx512 === 0n || (avx512 === 3n && has(2) === 1n)
}

export interface CpuidFacts {
  readonly count: number
  /** CPUID.80000008H:EAX, undefined where the list has no such leaf. */
  readonly addressSizes: number | undefined
  readonly xcr0: bigint
}

/** XSAVE-48, GFPU-39, -42, -43 of a vCPU that has not run. */
export function predictSetCpuid2(vcpu: VcpuFacts, { count, addressSizes, xcr0 }: CpuidFacts, readable: boolean): Prediction {
  if (count > 256) return refused(E2BIG, 'XSAVE-48')
  if (!readable) return refused(EFAULT, 'XSAVE-48')
  const width = ((addressSizes ?? 0) >>> 8) & 0xff
  if (width !== 0 && width !== 48 && width !== 57) return refused(EINVAL, 'XSAVE-48')
  const wanted = wantedSpace(vcpu, xcr0)
  if (wanted === 0 || vcpu.host.profile.permissions.guestPermission === 'ignored') return accepted
  return (wanted & ~vcpu.permitted) === 0 ? accepted : refused(EPERM, 'GFPU-39')
}

/** Dynamic components of a CPUID that have no space yet, whether the host has them or not (GFPU-39, GFPU-42). */
export function wantedSpace({ host, enlarged }: VcpuFacts, xcr0: bigint): number {
  const { dynamicStates, fpu } = host.profile
  return dynamicStates.enabling === 'at-cpuid' ? Number(xcr0 & 0xffffffffn) & fpu.userDynamic & ~enlarged : 0
}

const [XFD, XFD_ERR, XSS] = [0x1c4, 0x1c5, 0xda0]
export const XSTATE_MSRS: readonly number[] = [XFD, XFD_ERR, XSS]

/** Whether KVM_SET_MSRS takes this value of IA32_XFD, IA32_XFD_ERR or IA32_XSS from the host. GFPU-26, XSAVE-55..57. */
export function takesMsr(vcpu: VcpuFacts, index: number, value: bigint): boolean {
  const { host, cpuidD1 } = vcpu
  if (index !== XSS) return (value & ~u32(guestXcr0(vcpu) & host.dynamic)) === 0n
  if (!host.profile.kvm.xssHostWriteNeedsGuestXsaves) return value === 0n
  const guestHasXsaves = vcpu.hasXsaveBit && ((cpuidD1?.eax ?? 0) & 8) !== 0
  // Without XSAVES it is unknown: 0 is taken where KVM lists it, which it does once it supports a component (XSAVE-56).
  if (!guestHasXsaves) return value === 0n && vcpu.kvmXss !== 0
  return (value & ~u32((cpuidD1?.ecx ?? 0) & vcpu.kvmXss)) === 0n
}

/** How many of a list KVM_SET_MSRS does: all before the first that is refused. */
export function predictSetMsrs(vcpu: VcpuFacts, list: readonly { index: number; value: bigint }[]): number {
  const first = list.findIndex(({ index, value }) => !takesMsr(vcpu, index, value))
  return first < 0 ? list.length : first
}

const [EBUSY, EOPNOTSUPP] = [16, 95]

/** arch_prctl 0x1020..0x1026 after a vCPU was made, with no alternate stack. PERM-16..23. */
export function predictPrctl({ host, permitted }: VcpuFacts, option: number, nr: number): Prediction {
  const { permissions } = host.profile
  const isGuest = option === 0x1024 || option === 0x1025
  const exists = isGuest ? permissions.guestPermSupported : permissions.hostPermSupported
  if (!exists || option < 0x1021 || option > 0x1025) return refused(EINVAL, 'PERM-16')
  if (option !== 0x1023 && option !== 0x1025) return accepted
  if (nr < 0 || nr >= permissions.xfeatureMax) return refused(EINVAL, 'PERM-17')
  const facility = permissions.facilities.find(({ highestComponent }) => highestComponent === nr)
  if (facility === undefined || (facility.components & ~host.userMax) !== 0) return refused(EOPNOTSUPP, 'PERM-17')
  const has = (facility.components & ~permitted) === 0
  if (!isGuest || has || permissions.guestPermission === 'ignored') return accepted
  return refused(EBUSY, 'PERM-23')
}
