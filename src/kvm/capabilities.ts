import { standardSize } from '../isa/xstate-layout.ts'
import { guestPermission } from '../linux/fpu/door.ts'
import type { Task } from '../linux/task.ts'
import { KVM_CAP, type KvmCapName } from './abi/capabilities.ts'
import { filteredXcr0 } from './cpuid/supported-cpuid.ts'
import { KVM_MAX_IRQ_ROUTES } from './irqchip/routing.ts'
import type { Kvm } from './kvm.ts'
import { KVM_USER_MEM_SLOTS } from './memory/memslots.ts'
import { KVM_MAX_MCE_BANKS } from './msr/machine-check.ts'
import { KVM_SYNC_X86_VALID_FIELDS } from './vcpu/sync-regs.ts'
import { KVM_MAX_VCPU_IDS, KVM_MAX_VCPUS, type Vm } from './vm.ts'
import { KVM_CLOCK_VALID_FLAGS } from './vm-clock.ts'

/** What KVM_CHECK_EXTENSION looks at. `vm` is null on /dev/kvm. */
interface Asked {
  readonly kvm: Kvm
  readonly vm: Vm | null
  readonly task: Task
}
type Answer = number | ((asked: Asked) => number)

/** Exits KVM_CAP_X86_DISABLE_EXITS can switch off: MWAIT, HLT, PAUSE, C-states. */
export const KVM_X86_DISABLE_VALID_EXITS = 0xf
/** KVM_GUESTDBG_VALID_MASK. */
const GUESTDBG_VALID_MASK = 0x1f0003
const XSAVE_BYTES = 4096
/** KVM_BUS_LOCK_DETECTION_OFF 1, KVM_BUS_LOCK_DETECTION_EXIT 2. SLD-40. */
export const KVM_BUS_LOCK_DETECTION_VALID_MODE = 3

/**
 * KVM_CHECK_EXTENSION on x86: capability -> answer; a capability without a row is 0. KAPI-11. What this model does not have is
 * absent on purpose (KAPI-134): nested virtualization, SMM, vPMU, Hyper-V, Xen, SGX, SEV, private memory, dirty rings, TSC
 * scaling in hardware, notify exits, pre-faulting.
 */
export const CAPABILITY_ANSWERS: Partial<Record<KvmCapName, Answer>> = {
  KVM_CAP_IRQCHIP: 1,
  KVM_CAP_HLT: 1,
  KVM_CAP_MMU_SHADOW_CACHE_CONTROL: 1,
  KVM_CAP_USER_MEMORY: 1,
  KVM_CAP_SET_TSS_ADDR: 1,
  KVM_CAP_VAPIC: 1,
  KVM_CAP_EXT_CPUID: 1,
  KVM_CAP_CLOCKSOURCE: 1,
  KVM_CAP_NR_VCPUS: ({ kvm }) => Math.min(kvm.kernel.cpus.filter((cpu) => cpu.isOnline).length, KVM_MAX_VCPUS),
  KVM_CAP_NR_MEMSLOTS: KVM_USER_MEM_SLOTS,
  KVM_CAP_PIT: 1,
  KVM_CAP_NOP_IO_DELAY: 1,
  KVM_CAP_MP_STATE: 1,
  KVM_CAP_COALESCED_MMIO: 2, // page of the ring in a vCPU's mapping
  KVM_CAP_SYNC_MMU: 1,
  KVM_CAP_DESTROY_MEMORY_REGION_WORKS: 1,
  KVM_CAP_USER_NMI: 1,
  KVM_CAP_SET_GUEST_DEBUG: 1,
  KVM_CAP_REINJECT_CONTROL: 1,
  KVM_CAP_IRQ_ROUTING: KVM_MAX_IRQ_ROUTES,
  KVM_CAP_IRQ_INJECT_STATUS: 1,
  KVM_CAP_JOIN_MEMORY_REGIONS_WORKS: 1,
  KVM_CAP_MCE: KVM_MAX_MCE_BANKS,
  KVM_CAP_IRQFD: 1,
  KVM_CAP_PIT2: 1,
  KVM_CAP_SET_BOOT_CPU_ID: 1,
  KVM_CAP_PIT_STATE2: 1,
  KVM_CAP_IOEVENTFD: 1,
  KVM_CAP_SET_IDENTITY_MAP_ADDR: 1,
  KVM_CAP_ADJUST_CLOCK: KVM_CLOCK_VALID_FLAGS,
  KVM_CAP_INTERNAL_ERROR_DATA: 1,
  KVM_CAP_VCPU_EVENTS: 1,
  KVM_CAP_PCI_SEGMENT: 1,
  KVM_CAP_DEBUGREGS: 1,
  KVM_CAP_X86_ROBUST_SINGLESTEP: 1,
  KVM_CAP_ENABLE_CAP: 1,
  KVM_CAP_XSAVE: 1,
  KVM_CAP_XCRS: ({ kvm }) => (kvm.model.has('xsave') ? 1 : 0),
  KVM_CAP_ASYNC_PF: 1,
  KVM_CAP_GET_TSC_KHZ: 1,
  KVM_CAP_MAX_VCPUS: KVM_MAX_VCPUS,
  KVM_CAP_TSC_DEADLINE_TIMER: 1,
  KVM_CAP_SYNC_REGS: KVM_SYNC_X86_VALID_FIELDS,
  KVM_CAP_KVMCLOCK_CTRL: 1,
  KVM_CAP_SIGNAL_MSI: 1,
  KVM_CAP_READONLY_MEM: 1,
  KVM_CAP_IRQFD_RESAMPLE: 1,
  KVM_CAP_DEVICE_CTRL: 1,
  KVM_CAP_EXT_EMUL_CPUID: 1,
  KVM_CAP_IOAPIC_POLARITY_IGNORED: 1,
  KVM_CAP_ENABLE_CAP_VM: 1,
  KVM_CAP_IOEVENTFD_NO_LENGTH: 1,
  KVM_CAP_CHECK_EXTENSION_VM: 1,
  KVM_CAP_DISABLE_QUIRKS: 1,
  KVM_CAP_MULTI_ADDRESS_SPACE: 1, // no SMM: one address space
  KVM_CAP_SPLIT_IRQCHIP: 1,
  KVM_CAP_IOEVENTFD_ANY_LENGTH: 1,
  KVM_CAP_VCPU_ATTRIBUTES: 1,
  KVM_CAP_MAX_VCPU_ID: KVM_MAX_VCPU_IDS,
  KVM_CAP_X2APIC_API: 3,
  KVM_CAP_IMMEDIATE_EXIT: 1,
  KVM_CAP_X86_DISABLE_EXITS: ({ kvm }) =>
    kvm.model.has('monitor') ? KVM_X86_DISABLE_VALID_EXITS : KVM_X86_DISABLE_VALID_EXITS & ~1,
  KVM_CAP_GET_MSR_FEATURES: 1,
  KVM_CAP_MSR_PLATFORM_INFO: 1,
  KVM_CAP_COALESCED_PIO: 1,
  KVM_CAP_EXCEPTION_PAYLOAD: 1,
  KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: 3,
  KVM_CAP_PMU_EVENT_FILTER: 1,
  KVM_CAP_HALT_POLL: 1,
  KVM_CAP_ASYNC_PF_INT: 1,
  KVM_CAP_LAST_CPU: 1,
  KVM_CAP_STEAL_TIME: 1,
  KVM_CAP_X86_BUS_LOCK_EXIT: ({ kvm }) => (kvm.hasBusLockExit ? KVM_BUS_LOCK_DETECTION_VALID_MODE : 0),
  KVM_CAP_X86_USER_SPACE_MSR: 1,
  KVM_CAP_X86_MSR_FILTER: 1,
  KVM_CAP_ENFORCE_PV_FEATURE_CPUID: 1,
  KVM_CAP_SET_GUEST_DEBUG2: GUESTDBG_VALID_MASK,
  KVM_CAP_VM_COPY_ENC_CONTEXT_FROM: 1,
  KVM_CAP_SREGS2: 1,
  KVM_CAP_EXIT_HYPERCALL: 1 << 12, // KVM_HC_MAP_GPA_RANGE
  KVM_CAP_BINARY_STATS_FD: 1,
  KVM_CAP_EXIT_ON_EMULATION_FAILURE: 1,
  KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM: 1,
  KVM_CAP_XSAVE2: (asked) => (asked.kvm.profile.kvm.hasXsave2 ? xsave2Size(asked) : 0),
  KVM_CAP_SYS_ATTRIBUTES: ({ kvm }) => (kvm.profile.kvm.hasSysAttributes ? 1 : 0),
  KVM_CAP_DISABLE_QUIRKS2: ({ kvm }) => kvm.profile.kvm.quirks,
  KVM_CAP_SYSTEM_EVENT_DATA: 1,
  KVM_CAP_X86_TRIPLE_FAULT_EVENT: 1,
  KVM_CAP_VM_DISABLE_NX_HUGE_PAGES: 1,
  KVM_CAP_PMU_EVENT_MASKED_EVENTS: 1,
  KVM_CAP_USER_MEMORY2: 1,
  KVM_CAP_MEMORY_FAULT_INFO: 1,
  KVM_CAP_VM_TYPES: 1, // KVM_X86_DEFAULT_VM
  KVM_CAP_X86_APIC_BUS_CYCLES_NS: 1,
}

/** Bytes for KVM_GET_XSAVE2: depends on the guest permission of the calling process now. XSAVE-01. */
function xsave2Size({ kvm, task }: Asked): number {
  const xcr0 = filteredXcr0(kvm.supportedXcr0, guestPermission(task), kvm.profile.kvm.hidesXtileCfgWithoutPermission)
  return Math.max(XSAVE_BYTES, standardSize(kvm.xstate, xcr0))
}

const byNumber = new Map<number, Answer>()
for (const [name, answer] of Object.entries(CAPABILITY_ANSWERS)) byNumber.set(KVM_CAP[name as KvmCapName], answer)

/** KVM_CHECK_EXTENSION: 0 for what is not there. */
export function checkExtension(kvm: Kvm, vm: Vm | null, task: Task, capability: number): number {
  const answer = byNumber.get(capability)
  if (answer === undefined) return 0
  return typeof answer === 'number' ? answer : answer({ kvm, vm, task })
}
