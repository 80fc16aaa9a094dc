import { X86_CR4_OSXSAVE, X86_CR4_PKE } from '../../isa/control-registers.ts'
import { XFEATURE_MASK_FPSSE } from '../../isa/xfeatures.ts'
import { compactedSize, standardSize } from '../../isa/xstate-layout.ts'
import { E2BIG, EINVAL } from '../../linux/errno.ts'
import { enableGuestFeatures, enableGuestFeaturesPreemptibly, setUserFeatures } from '../../linux/fpu/door.ts'
import { PREEMPTION_POINT, type Preemptible } from '../../linux/preemption.ts'
import { countSide, type RefusalDetails, refusedBy } from '../../linux/refusal.ts'
import { CTL } from '../../machine/execution-context.ts'
import { decode, encode } from '../abi/struct-layout.ts'
import { kvm_cpuid_entry, kvm_cpuid_entry2, kvm_cpuid2 } from '../abi/structs.ts'
import type { IoctlCall } from '../ioctl-table.ts'
import { MSR_IA32_APICBASE_ENABLE } from '../irqchip/apic-registers.ts'
import { cr4ReservedBits } from '../vcpu/control-registers.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import { ANY_INDEX, type CpuidEntry, entriesEqual, findEntry, isIndexedLeaf, KVM_MAX_CPUID_ENTRIES } from './entries.ts'
import { type CpuidRegister, KVM_CONDITIONAL_BITS, KVM_FEATURE_WORDS_6_12 } from './feature-words.ts'

/** Quirk 4: CPUID.1:ECX MONITOR does not follow IA32_MISC_ENABLE[18]. */
const QUIRK_MISC_ENABLE_NO_MWAIT = 4
const MISC_ENABLE_MWAIT = 1n << 18n
const KVM_FEATURE_PV_UNHALT = 7
const DISABLE_EXITS_HLT = 2
/** "KVMKVMKVM\0\0\0" in EBX, ECX, EDX. */
const KVM_SIGNATURE = [0x4b4d564b, 0x564b4d56, 0x4d] as const

interface FeaturePlace {
  readonly leaf: number
  readonly subleaf: number
  readonly reg: CpuidRegister
  readonly bit: number
}
const PLACES = new Map<string, FeaturePlace>()
for (const word of [...KVM_FEATURE_WORDS_6_12, ...KVM_CONDITIONAL_BITS]) {
  for (const [name, bit] of Object.entries(word.bits)) {
    if (!PLACES.has(name)) PLACES.set(name, { leaf: word.leaf, subleaf: word.subleaf, reg: word.reg, bit })
  }
}

/** Whether the vCPU's CPUID has a feature (Linux's name). False before KVM_SET_CPUID2 (KAPI-115). */
export function guestCpuidHas(vcpu: Vcpu, feature: string): boolean {
  const place = PLACES.get(feature)
  if (place === undefined) return false
  const entry = findEntry(vcpu.cpuid, place.leaf, isIndexedLeaf(place.leaf) ? place.subleaf : ANY_INDEX)
  return entry !== undefined && ((entry[place.reg] >>> place.bit) & 1) === 1
}

const setBit = (value: number, bit: number, on: boolean): number => (on ? value | (1 << bit) : value & ~(1 << bit)) >>> 0

/**
 * Writes the bits that follow the vCPU's state into `list`, the stored one or one about to be stored. XSAVE-50, XSAVE-51,
 * KAPI-85, KAPI-86; Linux 6.12 __kvm_update_cpuid_runtime().
 */
export function updateRuntimeCpuid(vcpu: Vcpu, list: CpuidEntry[]): void {
  const { vm } = vcpu
  const { kvm } = vm
  const cr4 = vcpu.context.ctlLo(CTL.CR4)
  const leaf1 = findEntry(list, 1, ANY_INDEX)
  if (leaf1 !== undefined) {
    if (kvm.caps.hostHas('XSAVE')) leaf1.ecx = setBit(leaf1.ecx, 27, (cr4 & X86_CR4_OSXSAVE) !== 0)
    leaf1.edx = setBit(leaf1.edx, 9, (vcpu.apicBase & MSR_IA32_APICBASE_ENABLE) !== 0)
    if (!vm.hasQuirk(QUIRK_MISC_ENABLE_NO_MWAIT))
      leaf1.ecx = setBit(leaf1.ecx, 3, (vcpu.msrs.miscEnable & MISC_ENABLE_MWAIT) !== 0n)
  }
  const leaf7 = findEntry(list, 7, 0)
  if (leaf7 !== undefined && kvm.hostHasPku) leaf7.ecx = setBit(leaf7.ecx, 4, (cr4 & X86_CR4_PKE) !== 0)
  const leafD = findEntry(list, 0xd, 0)
  if (leafD !== undefined) leafD.ebx = standardSize(kvm.xstate, vcpu.xcr0)
  const leafD1 = findEntry(list, 0xd, 1)
  if (leafD1 !== undefined && leafD1.eax & 0xa) {
    const compacted = kvm.profile.kvm.compactedSizeCountsXss ? (vcpu.xcr0 | vcpu.xss) >>> 0 : vcpu.xcr0
    leafD1.ebx = compactedSize(kvm.xstate, compacted)
  }
  if (vm.disabledExits & DISABLE_EXITS_HLT) {
    const base = hypervisorBase(list)
    const features = base === 0 ? undefined : findEntry(list, base | 1, ANY_INDEX)
    if (features !== undefined) features.eax = setBit(features.eax, KVM_FEATURE_PV_UNHALT, false)
  }
}

/** Leaf at which KVM's signature is found, 0 if nowhere. */
export function hypervisorBase(list: readonly CpuidEntry[]): number {
  for (let base = 0x40000000; base < 0x40010000; base += 0x100) {
    const e = findEntry(list, base, ANY_INDEX)
    if (e !== undefined && e.ebx === KVM_SIGNATURE[0] && e.ecx === KVM_SIGNATURE[1] && e.edx === KVM_SIGNATURE[2]) return base
  }
  return 0
}

/** What `checkCpuid` finds. */
const ACCEPTED = 1

/** KVM_SET_CPUID and KVM_SET_CPUID2 after copying in. A failing call changes nothing. XSAVE-48, XSAVE-49, GFPU-43, KAPI-85. */
export function setCpuid(vcpu: Vcpu, list: CpuidEntry[], call: IoctlCall): number {
  const checked = checkCpuid(vcpu, list, call)
  if (checked !== ACCEPTED) return checked
  const features = dynamicFeatures(vcpu, list)
  const room = features === 0 ? 0 : enableGuestFeatures(call.task, vcpu.guestFpu, features)
  return takeCpuid(vcpu, list, call, features, room)
}

/** The same steps with the places where Linux's could lose the processor. Linux 6.12 kvm_set_cpuid(). */
export function* setCpuidPreemptibly(vcpu: Vcpu, list: CpuidEntry[], call: IoctlCall): Preemptible<number> {
  const checked = checkCpuid(vcpu, list, call)
  if (checked !== ACCEPTED) return checked
  const features = dynamicFeatures(vcpu, list)
  const room = features === 0 ? 0 : yield* enableGuestFeaturesPreemptibly(call.task, vcpu.guestFpu, features)
  yield PREEMPTION_POINT
  return takeCpuid(vcpu, list, call, features, room)
}

/** ACCEPTED, or what the call comes to: 0 for the list that is in force already, or a negative errno. */
function checkCpuid(vcpu: Vcpu, list: CpuidEntry[], call: IoctlCall): number {
  updateRuntimeCpuid(vcpu, list)
  const { profile } = vcpu.vm.kvm
  if (vcpu.hasRun && profile.kvm.rejectsAnyCpuidAfterRun)
    return call.refuse(EINVAL, 'XSAVE-49', 'the vCPU has run', cpuidFixed(list))
  if (vcpu.hasRun && profile.kvm.rejectsChangedCpuidAfterRun) {
    if (entriesEqual(list, vcpu.cpuid)) return 0
    return call.refuse(EINVAL, 'XSAVE-49', 'the vCPU has run: the list must equal the one in force', cpuidFixed(list))
  }
  const addressSizes = findEntry(list, 0x80000008, ANY_INDEX)
  const virtualBits = addressSizes === undefined ? 0 : (addressSizes.eax >>> 8) & 0xff
  if (virtualBits !== 0 && virtualBits !== 48 && virtualBits !== 57) {
    return call.refuse(EINVAL, 'XSAVE-48', `virtual address width ${virtualBits} in leaf 0x80000008 is not 48 or 57`)
  }
  return ACCEPTED
}

/** XCR0 components of the list, if there are dynamic ones among them that need room in the image now; else 0. */
function dynamicFeatures(vcpu: Vcpu, list: readonly CpuidEntry[]): number {
  const { profile } = vcpu.vm.kvm
  const features = findEntry(list, 0xd, 0)?.eax ?? 0
  return features & profile.fpu.userDynamic && profile.dynamicStates.enabling === 'at-cpuid' ? features : 0
}

/** @param room what enabling `features` came to */
function takeCpuid(vcpu: Vcpu, list: CpuidEntry[], call: IoctlCall, features: number, room: number): number {
  if (room < 0) {
    call.refusal = call.task.refusal
    return room
  }
  if (features !== 0) vcpu.vm.kvm.trace?.guestStateEnlarged(vcpu)
  vcpu.cpuid = list
  afterSetCpuid(vcpu)
  return 0
}

const cpuidFixed = (list: readonly CpuidEntry[]): RefusalDetails => ({
  asked: { kind: 'CPUID', name: 'CPUID list', value: BigInt(list.length) },
  chain: [refusedBy('CPUID fixed', 'the vCPU has run', 1)],
})

/** What KVM derives from a new list. Linux 6.12 kvm_vcpu_after_set_cpuid(). */
function afterSetCpuid(vcpu: Vcpu): void {
  const { kvm } = vcpu.vm
  vcpu.kvmCpuidBase = hypervisorBase(vcpu.cpuid)
  vcpu.guestSupportedXcr0 = ((findEntry(vcpu.cpuid, 0xd, 0)?.eax ?? 0) & kvm.supportedXcr0) >>> 0
  vcpu.guestSupportedXss = ((findEntry(vcpu.cpuid, 0xd, 1)?.ecx ?? 0) & kvm.supportedXss) >>> 0
  vcpu.hasShadowStacks = kvm.caps.has('SHSTK') && guestCpuidHas(vcpu, 'SHSTK')
  vcpu.guestHasIbt = kvm.caps.has('IBT') && guestCpuidHas(vcpu, 'IBT')
  if (kvm.profile.xsave.setBoundToGuestFeatures) {
    setUserFeatures(vcpu.guestFpu, (vcpu.guestSupportedXcr0 | XFEATURE_MASK_FPSSE) >>> 0)
  }
  updatePvFeatures(vcpu)
  vcpu.isAmdCompatible = isAmdVendor(findEntry(vcpu.cpuid, 0, ANY_INDEX))
  vcpu.maxPhysAddr = maxPhysAddr(vcpu.cpuid)
  vcpu.cr4Reserved = cr4ReservedBits((feature) => guestCpuidHas(vcpu, feature))
  vcpu.guestHasXsaves = kvm.caps.has('XSAVES') && guestCpuidHas(vcpu, 'XSAVES') && guestCpuidHas(vcpu, 'XSAVE')
  vcpu.guestHasXfd = kvm.caps.has('XFD') && guestCpuidHas(vcpu, 'XFD')
  if (vcpu.lapic !== null) {
    vcpu.lapic.timer.modeMask = (findEntry(vcpu.cpuid, 1, ANY_INDEX)?.ecx ?? 0) & (1 << 24) ? 3 << 17 : 1 << 17
    vcpu.lapic.setVersion()
  }
}

export function updatePvFeatures(vcpu: Vcpu): void {
  const entry = vcpu.kvmCpuidBase === 0 ? undefined : findEntry(vcpu.cpuid, vcpu.kvmCpuidBase | 1, ANY_INDEX)
  if (entry !== undefined) vcpu.pvFeatures = entry.eax
}

function isAmdVendor(leaf0: CpuidEntry | undefined): boolean {
  if (leaf0 === undefined) return false
  // "AuthenticAMD", "HygonGenuine" by EBX.
  return leaf0.ebx === 0x68747541 || leaf0.ebx === 0x6f677948
}

/** MAXPHYADDR of leaf 0x80000008, 36 without it. KAPI-115. */
function maxPhysAddr(list: readonly CpuidEntry[]): number {
  const range = findEntry(list, 0x80000000, ANY_INDEX)
  if (range === undefined || range.eax < 0x80000008) return 36
  const sizes = findEntry(list, 0x80000008, ANY_INDEX)
  return sizes === undefined ? 36 : sizes.eax & 0xff
}

// ---- copying lists in and out ----

/** Reads the entries behind a kvm_cpuid2 header, or a negative errno. */
export function readCpuidList(call: IoctlCall, legacy: boolean): CpuidEntry[] | number {
  const header = new Uint8Array(kvm_cpuid2.size)
  if (!call.read(call.argument, header)) return call.badAddress()
  const { nent } = decode(kvm_cpuid2, new DataView(header.buffer))
  if (nent > KVM_MAX_CPUID_ENTRIES) {
    return call.refuse(E2BIG, 'XSAVE-48', `${nent} entries, at most ${KVM_MAX_CPUID_ENTRIES}`, {
      asked: { kind: 'list', name: 'nent', value: BigInt(nent) },
      sides: [countSide('entries given', nent), countSide('entries at most', KVM_MAX_CPUID_ENTRIES)],
    })
  }
  const layout = legacy ? kvm_cpuid_entry : kvm_cpuid_entry2
  const bytes = new Uint8Array(nent * layout.size)
  if (!call.read(call.argument + kvm_cpuid2.size, bytes)) return call.badAddress()
  const view = new DataView(bytes.buffer)
  return Array.from({ length: nent }, (_, i) => {
    if (legacy) return { ...decode(kvm_cpuid_entry, view, i * layout.size), index: 0, flags: 0 }
    const { function: leaf, index, flags, eax, ebx, ecx, edx } = decode(kvm_cpuid_entry2, view, i * layout.size)
    return { function: leaf, index, flags, eax, ebx, ecx, edx }
  })
}

/** Number of entries user space has room for, or a negative errno. */
export function readEntryRoom(call: IoctlCall): number {
  const header = new Uint8Array(kvm_cpuid2.size)
  return call.read(call.argument, header) ? decode(kvm_cpuid2, new DataView(header.buffer)).nent : call.badAddress()
}

/** Writes the entries and the real nent. */
export function writeCpuidList(call: IoctlCall, list: readonly CpuidEntry[]): number {
  const bytes = new Uint8Array(kvm_cpuid2.size + list.length * kvm_cpuid_entry2.size)
  const view = new DataView(bytes.buffer)
  list.forEach((e, i) => {
    encode(kvm_cpuid_entry2, e, view, kvm_cpuid2.size + i * kvm_cpuid_entry2.size)
  })
  if (!call.write(call.argument + kvm_cpuid2.size, bytes.subarray(kvm_cpuid2.size))) return call.badAddress()
  encode(kvm_cpuid2, { nent: list.length }, view)
  return call.write(call.argument, bytes.subarray(0, 4)) ? 0 : call.badAddress()
}

// ---- what the guest's CPUID instruction finds ----

export const cpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 }

/**
 * Guest CPUID(leaf, index) into `cpuidResult`. KAPI-88; Linux 6.12 kvm_cpuid(): an unknown basic leaf above the maximum shows
 * the highest one's data to an Intel-compatible guest; topology leaves count their subleaves on.
 */
export function lookUpGuestCpuid(vcpu: Vcpu, leaf: number, index: number): void {
  let entry = findEntry(vcpu.cpuid, leaf, index)
  const exact = entry !== undefined
  if (entry === undefined) entry = outOfRange(vcpu, leaf, index)
  if (entry !== undefined) {
    cpuidResult.eax = entry.eax
    cpuidResult.ebx = entry.ebx
    cpuidResult.ecx = entry.ecx
    cpuidResult.edx = entry.edx
    return
  }
  cpuidResult.eax = cpuidResult.ebx = cpuidResult.ecx = cpuidResult.edx = 0
  if (!exact && (leaf === 0xb || leaf === 0x1f)) {
    const sub1 = findEntry(vcpu.cpuid, leaf, 1)
    if (sub1 !== undefined) {
      cpuidResult.ecx = index & 0xff
      cpuidResult.edx = sub1.edx
    }
  }
}

function outOfRange(vcpu: Vcpu, leaf: number, index: number): CpuidEntry | undefined {
  const basic = findEntry(vcpu.cpuid, 0, ANY_INDEX)
  if (basic === undefined || vcpu.isAmdCompatible) return undefined
  let classBase = leaf >= 0x80000000 ? 0x80000000 : 0
  if (leaf >= 0x40000000 && leaf <= 0x4fffffff) classBase = (leaf & 0xffffff00) >>> 0
  else if (leaf >= 0xc0000000) classBase = 0xc0000000
  const range = classBase === 0 ? basic : findEntry(vcpu.cpuid, classBase, ANY_INDEX)
  if (range !== undefined && leaf <= range.eax) return undefined
  return findEntry(vcpu.cpuid, basic.eax, index)
}
