import {
  MSR_AMD64_DE_CFG,
  MSR_IA32_ARCH_CAPABILITIES,
  MSR_IA32_CORE_CAPS,
  MSR_IA32_UCODE_REV,
  MSR_PLATFORM_INFO,
} from '../isa/msr-index.ts'
import { E2BIG, EFAULT, EINVAL, ENOMEM, ENOTTY, ENXIO } from '../linux/errno.ts'
import { guestPermission } from '../linux/fpu/door.ts'
import { hostDetectsSplitLocks, hostSplitLockMode } from '../linux/splitlock/door.ts'
import type { ValueOf } from './abi/struct-layout.ts'
import { decode, encode, struct, u64 } from './abi/struct-layout.ts'
import { kvm_cpuid_entry2, kvm_device_attr, kvm_msr_list } from './abi/structs.ts'
import { checkExtension } from './capabilities.ts'
import type { CpuidEntry } from './cpuid/entries.ts'
import { KVM_MAX_CPUID_ENTRIES } from './cpuid/entries.ts'
import { emulatedCpuid, type SupportedCpuidInput, supportedCpuid } from './cpuid/supported-cpuid.ts'
import { readEntryRoom, writeCpuidList } from './cpuid/vcpu-cpuid.ts'
import { createVmFile } from './files.ts'
import { gives, type IoctlCall, type IoctlTable, immediate, ioctlTable, raw, refused, takes } from './ioctl-table.ts'
import type { Kvm } from './kvm.ts'
import { supportedMceCap } from './msr/machine-check.ts'
import { transferMsrs } from './msr/msr-list.ts'
import { Vm } from './vm.ts'

const KVM_API_VERSION = 12
/** kvm_run, port-I/O data, coalesced ring. KAPI-06, KAPI-07. */
export const VCPU_MMAP_SIZE = 3 * 4096
/** KVM_X86_DEFAULT_VM: the only type this KVM has. */
const KVM_X86_DEFAULT_VM = 0
/** KVM_GET_DEVICE_ATTR on /dev/kvm: group 0, attribute 0. XSAVE-02. */
const KVM_X86_XCOMP_GUEST_SUPP = 0

const valueU64 = struct('u64', 8, { value: u64(0) })

function noArgument(result: number) {
  return immediate<Kvm>((_kvm, argument, call) => (argument === 0 ? result : call.refuse(EINVAL, 'KAPI-06', 'takes no argument')))
}

function createVm(kvm: Kvm, type: number, call: IoctlCall): number {
  if (type !== KVM_X86_DEFAULT_VM) return call.refuse(EINVAL, 'KAPI-08', `VM type ${type} is not in KVM_CAP_VM_TYPES`)
  const vm = new Vm(kvm, call.task)
  if (!vm.isUsable) {
    vm.put()
    return call.refuse(ENOMEM, 'KAPI-08', 'the host is out of memory')
  }
  kvm.trace?.vmCreated(call.task)
  return call.task.kernel.installFile(call.task, createVmFile(vm), true)
}

/** A list whose length user space does not know: the needed count is always written back. KAPI §2.1. */
function getMsrList(list: (kvm: Kvm) => readonly number[]) {
  return raw<Kvm>((kvm, call) => {
    const header = new Uint8Array(kvm_msr_list.size)
    if (!call.read(call.argument, header)) return call.badAddress()
    const view = new DataView(header.buffer)
    const { nmsrs } = decode(kvm_msr_list, view)
    const indices = list(kvm)
    encode(kvm_msr_list, { nmsrs: indices.length }, view)
    if (!call.write(call.argument, header)) return call.badAddress()
    if (nmsrs < indices.length) return call.refuse(E2BIG, 'KAPI-77', `room for ${nmsrs} of ${indices.length} MSRs`)
    const bytes = new Uint8Array(Uint32Array.from(indices).buffer)
    return call.write(call.argument + kvm_msr_list.size, bytes) ? 0 : call.badAddress()
  })
}

/** Lists of CPUID entries for a caller who gave room for `nent`. KAPI-81. */
function getCpuidList(list: (kvm: Kvm, call: IoctlCall) => CpuidEntry[], checksPadding: boolean) {
  return raw<Kvm>((kvm, call) => {
    const room = readEntryRoom(call)
    if (room < 0) return room
    if (room === 0) return call.refuse(E2BIG, 'KAPI-81', 'nent is 0')
    const usable = Math.min(room, KVM_MAX_CPUID_ENTRIES)
    if (checksPadding && !paddingIsZero(call, usable)) return call.refuse(EINVAL, 'KAPI-81', 'padding of an entry is not 0')
    const entries = list(kvm, call)
    if (entries.length > usable) return call.refuse(E2BIG, 'KAPI-81', `room for ${usable} of ${entries.length} entries`)
    return writeCpuidList(call, entries)
  })
}

function paddingIsZero(call: IoctlCall, count: number): boolean {
  const bytes = new Uint8Array(count * kvm_cpuid_entry2.size)
  if (!call.read(call.argument + 8, bytes)) return false
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < count; i++)
    if (decode(kvm_cpuid_entry2, view, i * kvm_cpuid_entry2.size).padding.some((word) => word !== 0)) return false
  return true
}

function offeredSplitLock({ profile, kernel }: Kvm): NonNullable<SupportedCpuidInput['splitLock']> | null {
  const { guestVirtualization } = profile.splitLock
  if (guestVirtualization === 'none') return null
  return {
    hints: guestVirtualization === 'v10' && hostDetectsSplitLocks(kernel),
    hostIsFatal: hostSplitLockMode(kernel) === 'fatal',
  }
}

const supported = (kvm: Kvm, call: IoctlCall): CpuidEntry[] =>
  supportedCpuid({
    host: kvm.hostOn(call.task),
    caps: kvm.caps,
    xstate: kvm.xstate,
    supportedXcr0: kvm.supportedXcr0,
    supportedXss: kvm.supportedXss,
    guestPermission: guestPermission(call.task),
    hidesXtileCfg: kvm.profile.kvm.hidesXtileCfgWithoutPermission,
    reportsTmulSubleaf1: kvm.profile.kvm.reportsTmulSubleaf1,
    splitLock: offeredSplitLock(kvm),
  })

const DE_CFG_LFENCE_SERIALIZE = 2n
const PLATFORM_INFO_CPUID_FAULT = 1n << 31n

/** Value of a feature MSR on /dev/kvm. KAPI-79. */
export function featureMsr(kvm: Kvm, index: number): bigint | null {
  if (!kvm.featureMsrs.includes(index)) return null
  const vmx = kvm.nestedVmx?.get(index)
  if (vmx !== undefined) return vmx
  if (index === MSR_IA32_ARCH_CAPABILITIES) return kvm.archCapabilities
  if (index === MSR_IA32_CORE_CAPS) return kvm.supportedCoreCapabilities
  if (index === MSR_IA32_UCODE_REV) return kvm.model.msrs.get(MSR_IA32_UCODE_REV) ?? 0n
  // Linux makes LFENCE serializing on every AMD part with SSE2.
  if (index === MSR_AMD64_DE_CFG) return DE_CFG_LFENCE_SERIALIZE
  if (index === MSR_PLATFORM_INFO) return PLATFORM_INFO_CPUID_FAULT
  return 0n
}

/** KVM_GET_MSRS on /dev/kvm: feature MSRs; stops at the first that is none. */
function getFeatureMsrs(kvm: Kvm, call: IoctlCall): number {
  return transferMsrs(call, true, (index) => featureMsr(kvm, index))
}

type DeviceAttr = ValueOf<typeof kvm_device_attr>

function hasSystemAttr(kvm: Kvm, attr: DeviceAttr, call: IoctlCall): number {
  if (!kvm.profile.kvm.hasSysAttributes) return call.refuse(EINVAL, 'XSAVE-02', 'this kernel has no attributes of /dev/kvm')
  const known = attr.group === 0 && attr.attr === BigInt(KVM_X86_XCOMP_GUEST_SUPP)
  return known ? 0 : call.refuse(ENXIO, 'XSAVE-02', `no attribute ${attr.attr} in group ${attr.group}`)
}

function getSystemAttr(kvm: Kvm, attr: DeviceAttr, call: IoctlCall): number {
  const known = hasSystemAttr(kvm, attr, call)
  if (known < 0) return known
  const value = new Uint8Array(8)
  new DataView(value.buffer).setBigUint64(0, BigInt(kvm.supportedXcr0), true)
  return call.write(Number(attr.addr), value) ? 0 : call.refuse(EFAULT, 'XSAVE-02', 'addr cannot be written')
}

/** ioctls of /dev/kvm. An unknown number is EINVAL. KAPI §2.1. */
export const systemIoctls: IoctlTable<Kvm> = ioctlTable<Kvm>({
  KVM_GET_API_VERSION: noArgument(KVM_API_VERSION),
  KVM_GET_VCPU_MMAP_SIZE: noArgument(VCPU_MMAP_SIZE),
  KVM_CREATE_VM: immediate(createVm),
  KVM_CHECK_EXTENSION: immediate((kvm, capability, call) => checkExtension(kvm, null, call.task, capability)),
  KVM_GET_MSR_INDEX_LIST: getMsrList((kvm) => kvm.msrList),
  KVM_GET_MSR_FEATURE_INDEX_LIST: { ...getMsrList((kvm) => kvm.featureMsrs), cap: 'KVM_CAP_GET_MSR_FEATURES' },
  KVM_GET_MSRS: { ...raw(getFeatureMsrs), cap: 'KVM_CAP_GET_MSR_FEATURES' },
  KVM_GET_SUPPORTED_CPUID: { ...getCpuidList(supported, false), cap: 'KVM_CAP_EXT_CPUID' },
  KVM_GET_EMULATED_CPUID: { ...getCpuidList((kvm) => emulatedCpuid(kvm.caps), true), cap: 'KVM_CAP_EXT_EMUL_CPUID' },
  KVM_X86_GET_MCE_CAP_SUPPORTED: {
    ...gives(valueU64, (kvm: Kvm) => ({ value: supportedMceCap(kvm.isAmd) })),
    cap: 'KVM_CAP_MCE',
  },
  KVM_GET_DEVICE_ATTR: takes(kvm_device_attr, getSystemAttr, { cap: 'KVM_CAP_SYS_ATTRIBUTES' }),
  KVM_HAS_DEVICE_ATTR: takes(kvm_device_attr, hasSystemAttr, { cap: 'KVM_CAP_SYS_ATTRIBUTES' }),
  KVM_GET_SUPPORTED_HV_CPUID: refused(EINVAL, 'KAPI-11', 'built without Hyper-V: KVM_CAP_SYS_HYPERV_CPUID is 0'),
  KVM_MEMORY_ENCRYPT_OP: refused(ENOTTY, 'KAPI-11', 'no confidential VMs'),
})
