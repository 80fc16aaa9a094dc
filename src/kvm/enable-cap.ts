import { EEXIST, EINVAL, ENXIO, EPERM } from '../linux/errno.ts'
import { KVM_CAP, type KvmCapName } from './abi/capabilities.ts'
import type { ValueOf } from './abi/struct-layout.ts'
import type { kvm_enable_cap } from './abi/structs.ts'
import { KVM_BUS_LOCK_DETECTION_VALID_MODE, KVM_X86_DISABLE_VALID_EXITS } from './capabilities.ts'
import { updatePvFeatures } from './cpuid/vcpu-cpuid.ts'
import type { IoctlCall } from './ioctl-table.ts'
import type { Vcpu } from './vcpu/vcpu.ts'
import { KVM_MAX_VCPU_IDS, type Vm } from './vm.ts'

type EnableCap = ValueOf<typeof kvm_enable_cap>
type Enable = (vm: Vm, args: readonly bigint[], call: IoctlCall) => number

const on =
  (key: 'exceptionPayload' | 'tripleFaultEvent'): Enable =>
  (vm, args) => {
    vm[key] = args[0] !== 0n
    return 0
  }

/** Disabling a quirk is for ever; later calls add to it. KAPI-12. */
function disableQuirks(vm: Vm, mask: bigint): number {
  vm.disabledQuirks |= Number(mask) & vm.kvm.profile.kvm.quirks
  return 0
}

/** KVM_ENABLE_CAP on a VM: capability -> effect. KAPI §4 "VM ENABLE_CAP". */
const VM_CAPS: Partial<Record<KvmCapName, Enable>> = {
  KVM_CAP_DISABLE_QUIRKS: (vm, args) => disableQuirks(vm, args[0]),
  KVM_CAP_DISABLE_QUIRKS2: (vm, args, call) =>
    args[0] & ~BigInt(vm.kvm.profile.kvm.quirks)
      ? call.refuse(EINVAL, 'KAPI-12', 'an unknown quirk')
      : disableQuirks(vm, args[0]),
  KVM_CAP_SPLIT_IRQCHIP: (vm, args, call) => {
    if (args[0] > 4096n) return call.refuse(EINVAL, 'KAPI-60', 'more than 4096 IOAPIC pins')
    if (vm.irqchipMode !== 'none' || vm.vcpus.length > 0) return call.refuse(EEXIST, 'KAPI-60', 'an irqchip or a vCPU exists')
    vm.createSplitIrqchip()
    return 0
  },
  KVM_CAP_X2APIC_API: (vm, args, call) => {
    if (args[0] & ~3n) return call.refuse(EINVAL, 'KAPI-62', 'unknown x2APIC flags')
    if (args[0] & 1n) vm.x2apicIds32 = true
    if (args[0] & 2n) vm.x2apicNoBroadcastQuirk = true
    return 0
  },
  KVM_CAP_X86_BUS_LOCK_EXIT: (vm, args, call) => {
    const mode = args[0]
    if (mode & ~BigInt(KVM_BUS_LOCK_DETECTION_VALID_MODE)) return call.refuse(EINVAL, 'SLD-40', 'unknown bus-lock modes')
    if (mode === BigInt(KVM_BUS_LOCK_DETECTION_VALID_MODE)) return call.refuse(EINVAL, 'SLD-40', 'OFF and EXIT together')
    // Once on it stays on; without the control it means nothing.
    if (mode & 2n && vm.kvm.hasBusLockExit) vm.busLockExits = true
    return 0
  },
  KVM_CAP_X86_DISABLE_EXITS: (vm, args, call) => {
    if (args[0] & ~BigInt(KVM_X86_DISABLE_VALID_EXITS)) return call.refuse(EINVAL, 'KAPI-12', 'unknown exits')
    vm.disabledExits |= Number(args[0])
    return 0
  },
  KVM_CAP_MSR_PLATFORM_INFO: (vm, args) => {
    vm.guestReadsPlatformInfo = args[0] !== 0n
    return 0
  },
  KVM_CAP_EXCEPTION_PAYLOAD: on('exceptionPayload'),
  KVM_CAP_X86_TRIPLE_FAULT_EVENT: on('tripleFaultEvent'),
  KVM_CAP_X86_USER_SPACE_MSR: (vm, args, call) => {
    if (args[0] & ~7n) return call.refuse(EINVAL, 'KAPI-70', 'unknown MSR exit reasons')
    vm.userSpaceMsrMask = Number(args[0])
    return 0
  },
  KVM_CAP_EXIT_HYPERCALL: (vm, args, call) => {
    if (args[0] & ~(1n << 12n)) return call.refuse(EINVAL, 'KAPI-118', 'only KVM_HC_MAP_GPA_RANGE can exit')
    vm.hypercallExits = Number(args[0])
    return 0
  },
  KVM_CAP_EXIT_ON_EMULATION_FAILURE: (vm, args, call) => {
    if (args[0] & ~1n) return call.refuse(EINVAL, 'KAPI-38', 'only 0 or 1')
    vm.exitOnEmulationFailure = args[0] !== 0n
    return 0
  },
  KVM_CAP_MAX_VCPU_ID: (vm, args, call) => {
    const ids = args[0]
    if (ids > BigInt(KVM_MAX_VCPU_IDS)) return call.refuse(EINVAL, 'KAPI-09', `at most ${KVM_MAX_VCPU_IDS} vCPU ids`)
    if (vm.bspVcpuId > Number(ids)) return call.refuse(EINVAL, 'KAPI-09', 'below the boot CPU id')
    if (vm.maxVcpuIds === Number(ids)) return 0
    if (vm.maxVcpuIds !== 0) return call.refuse(EINVAL, 'KAPI-09', 'the maximum is set already')
    vm.maxVcpuIds = Number(ids)
    return 0
  },
  KVM_CAP_X86_APIC_BUS_CYCLES_NS: (vm, args, call) => {
    const ns = args[0]
    // The timer's largest period must fit in 63 bits: 2^32 ticks, divided by 128.
    if (ns === 0n || ns > (1n << 63n) / (0xffffffffn * 128n)) return call.refuse(EINVAL, 'KAPI-65', 'no such bus period')
    if (vm.irqchipMode === 'none') return call.refuse(ENXIO, 'KAPI-65', 'no in-kernel local APIC')
    if (vm.vcpus.length > 0) return call.refuse(EINVAL, 'KAPI-65', 'a vCPU exists')
    vm.apicBusCycleNs = Number(ns)
    return 0
  },
  KVM_CAP_HALT_POLL: (vm, args, call) => {
    if (args[0] >> 32n) return call.refuse(EINVAL, 'KAPI-11', 'more than 32 bits')
    vm.haltPollNs = Number(args[0])
    return 0
  },
  KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: (vm, args, call) => {
    const allowed = args[0] & 1n ? 3n : 0n
    if (args[0] & ~allowed) return call.refuse(EINVAL, 'KAPI-104', 'INITIALLY_SET without MANUAL_PROTECT, or an unknown flag')
    vm.manualDirtyLog = Number(args[0])
    return 0
  },
  KVM_CAP_VM_DISABLE_NX_HUGE_PAGES: (vm, args, call) => {
    // The modelled programs run without CAP_SYS_BOOT unless they run as root.
    if (vm.kvm.kernel.uid !== 0) return call.refuse(EPERM, 'KAPI-11', 'needs CAP_SYS_BOOT')
    if (args.some((arg) => arg !== 0n)) return call.refuse(EINVAL, 'KAPI-11', 'takes no arguments')
    return vm.vcpus.length > 0 ? call.refuse(EINVAL, 'KAPI-11', 'a vCPU exists') : 0
  },
}

const vmCaps = new Map<number, Enable>()
for (const [name, enable] of Object.entries(VM_CAPS)) vmCaps.set(KVM_CAP[name as KvmCapName], enable)

/** KVM_ENABLE_CAP on a VM. */
export function enableVmCap(vm: Vm, value: EnableCap, call: IoctlCall): number {
  if (value.flags !== 0) return call.refuse(EINVAL, 'KAPI-12', 'flags must be 0')
  const enable = vmCaps.get(value.cap)
  return enable === undefined
    ? call.refuse(EINVAL, 'KAPI-12', `capability ${value.cap} cannot be enabled on a VM`)
    : enable(vm, value.args, call)
}

/** KVM_ENABLE_CAP on a vCPU. */
export function enableVcpuCap(vcpu: Vcpu, value: EnableCap, call: IoctlCall): number {
  if (value.flags !== 0) return call.refuse(EINVAL, 'KAPI-12', 'flags must be 0')
  if (value.cap !== KVM_CAP.KVM_CAP_ENFORCE_PV_FEATURE_CPUID) {
    return call.refuse(EINVAL, 'KAPI-12', `capability ${value.cap} cannot be enabled on a vCPU`)
  }
  vcpu.enforcePvFeatures = value.args[0] !== 0n
  if (vcpu.enforcePvFeatures) updatePvFeatures(vcpu)
  return 0
}
