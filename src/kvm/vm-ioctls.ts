import { E2BIG, EBUSY, EEXIST, EINVAL, ENODEV, ENOENT, ENOMEM, ENOTTY, ENXIO } from '../linux/errno.ts'
import { allocateGuestFpuPreemptibly, freeGuestFpu } from '../linux/fpu/door.ts'
import type { MaybePreemptible, Preemptible } from '../linux/preemption.ts'
import { decode, struct, u64, type ValueOf } from './abi/struct-layout.ts'
import {
  kvm_clear_dirty_log,
  kvm_clock_data,
  kvm_coalesced_mmio_zone,
  kvm_create_device,
  kvm_dirty_log,
  kvm_enable_cap,
  kvm_ioeventfd,
  kvm_irq_level,
  kvm_irq_routing,
  kvm_irq_routing_entry,
  kvm_irqchip,
  kvm_irqfd,
  kvm_msi,
  kvm_msr_filter,
  kvm_pit_config,
  kvm_pit_state,
  kvm_pit_state2,
  kvm_pmu_event_filter,
  kvm_reinject_control,
  kvm_userspace_memory_region,
  kvm_userspace_memory_region2,
} from './abi/structs.ts'
import { checkExtension } from './capabilities.ts'
import { enableVmCap } from './enable-cap.ts'
import { createStatsFile, createVcpuFile } from './files.ts'
import {
  exchanges,
  gives,
  type IoctlCall,
  type IoctlTable,
  immediate,
  ioctlTable,
  partial,
  raw,
  refused,
  takes,
} from './ioctl-table.ts'
import { eventOf, setIrqfd } from './irqchip/irqfd.ts'
import { KVM_MAX_IRQ_ROUTES, type RoutingEntry, routingRefusal, sendMsi, setGsi } from './irqchip/routing.ts'
import { readIrqchip, writeIrqchip } from './irqchip/state.ts'
import { type IoEvent, KVM_IOEVENTFD_FLAG_DATAMATCH, KVM_IOEVENTFD_FLAG_DEASSIGN, KVM_IOEVENTFD_FLAG_PIO } from './memory/bus.ts'
import { clearDirtyLog, getDirtyLog } from './memory/dirty-log.ts'
import { KVM_MEM_LOG_DIRTY_PAGES } from './memory/memslots.ts'
import { readMsrFilter } from './msr/filter.ts'
import { statsImage, VM_STATS } from './stats.ts'
import { REQ_CLOCK_UPDATE, type Vcpu } from './vcpu/vcpu.ts'
import { KVM_MAX_VCPU_IDS, KVM_MAX_VCPUS, type Vm } from './vm.ts'
import { KVM_CLOCK_HOST_TSC, KVM_CLOCK_REALTIME, KVM_CLOCK_TSC_STABLE, KVM_CLOCK_VALID_FLAGS } from './vm-clock.ts'

const valueU64 = struct('u64', 8, { value: u64(0) })
const MIN_MMU_PAGES = 64
const LAST_TSS_ADDRESS = 0xffffd000
const DEFAULT_IDENTITY_MAP = 0xfffbc000
const KVM_DIRTY_LOG_MANUAL_PROTECT = 1
const KVM_DIRTY_LOG_INITIALLY_SET = 2

// ---- vCPUs ----

function createVcpu(vm: Vm, id: number, call: IoctlCall): MaybePreemptible<number> {
  const refusal = precreateVcpu(vm, id, call)
  if (refusal !== 0) return refusal
  if (call.task.kernel.yieldsEverywhere) return createVcpuPreemptibly(vm, id, call)
  return installVcpu(vm, vm.createVcpu(id, call.task), call)
}

/** The same with the places where Linux's could lose the processor; it holds no lock while the image is made, and looks at the id again. */
function* createVcpuPreemptibly(vm: Vm, id: number, call: IoctlCall): Preemptible<number> {
  const guestFpu = yield* allocateGuestFpuPreemptibly(call.task)
  if (guestFpu === null) return noMemory(call)
  const refusal = precreateVcpu(vm, id, call)
  if (refusal !== 0) {
    freeGuestFpu(guestFpu)
    return refusal
  }
  return installVcpu(vm, vm.createVcpu(id, call.task, guestFpu), call)
}

/** 0, or a negative errno. The highest id is settled by the first vCPU. Linux 6.12 kvm_arch_vcpu_precreate(). */
function precreateVcpu(vm: Vm, id: number, call: IoctlCall): number {
  if (!(id < KVM_MAX_VCPU_IDS)) return call.refuse(EINVAL, 'KAPI-09', `vCPU id ${id} is not below ${KVM_MAX_VCPU_IDS}`)
  if (vm.maxVcpuIds !== 0 && id >= vm.maxVcpuIds)
    return call.refuse(EINVAL, 'KAPI-09', `vCPU id ${id} is not below KVM_CAP_MAX_VCPU_ID ${vm.maxVcpuIds}`)
  if (vm.vcpus.length >= KVM_MAX_VCPUS) return call.refuse(EINVAL, 'KAPI-09', `${KVM_MAX_VCPUS} vCPUs exist`)
  if (vm.vcpuById(id) !== null) return call.refuse(EEXIST, 'KAPI-09', `vCPU ${id} exists`)
  if (vm.maxVcpuIds === 0) vm.maxVcpuIds = KVM_MAX_VCPU_IDS
  return 0
}

const noMemory = (call: IoctlCall): number => call.refuse(ENOMEM, 'GFPU-01', 'the host is out of memory')

function installVcpu(vm: Vm, vcpu: Vcpu | null, call: IoctlCall): number {
  if (vcpu === null) return noMemory(call)
  vm.kvm.trace?.vcpuCreated(vcpu)
  return call.task.kernel.installFile(call.task, createVcpuFile(vcpu), true)
}

// ---- memory ----

type Region = ValueOf<typeof kvm_userspace_memory_region>

function setMemoryRegion(vm: Vm, region: Region, call: IoctlCall): number {
  const asId = region.slot >>> 16
  if (asId !== 0) return call.refuse(EINVAL, 'KAPI-99', `no address space ${asId}: KVM is built without SMM`)
  const request = {
    slot: region.slot & 0xffff,
    flags: region.flags,
    guestPhysAddr: Number(region.guest_phys_addr),
    memorySize: Number(region.memory_size),
    userspaceAddr: Number(region.userspace_addr),
  }
  const maxGfn = 2 ** (vm.kvm.model.maxPhysAddr - 12) - 1
  const change = vm.memory.slots.set(request, maxGfn, (vm.manualDirtyLog & KVM_DIRTY_LOG_INITIALLY_SET) !== 0)
  if ('errno' in change) return call.refuse(change.errno, change.rule, change.because)
  const { old, now } = change
  if (old !== null && (change.kind === 'delete' || change.kind === 'move')) vm.memory.stage.unmap(old.baseGfn, old.npages)
  const startsLogging =
    now !== null && (now.flags & KVM_MEM_LOG_DIRTY_PAGES) !== 0 && !((old?.flags ?? 0) & KVM_MEM_LOG_DIRTY_PAGES)
  if (change.kind === 'flags' && startsLogging) vm.memory.stage.writeProtect(now.baseGfn, now.npages)
  return 0
}

const refuseWith = (call: IoctlCall, refusal: { errno: number; rule: string; because: string } | null): number =>
  refusal === null ? 0 : call.refuse(refusal.errno, refusal.rule, refusal.because)

// ---- interrupt controllers ----

function createIrqchip(vm: Vm, _argument: number, call: IoctlCall): number {
  if (vm.irqchipMode !== 'none') return call.refuse(EEXIST, 'KAPI-60', 'an irqchip exists')
  if (vm.vcpus.length > 0) return call.refuse(EINVAL, 'KAPI-60', 'a vCPU exists')
  vm.createIrqchip()
  return 0
}

function irqLine(vm: Vm, level: ValueOf<typeof kvm_irq_level>, call: IoctlCall): number {
  if (vm.irqchipMode === 'none') return call.refuse(ENXIO, 'KAPI-60', 'no in-kernel irqchip')
  level.irq = setGsi(vm, level.irq, level.level !== 0) >>> 0
  return 0
}

function setGsiRouting(vm: Vm, call: IoctlCall): number {
  const header = new Uint8Array(kvm_irq_routing.size)
  if (!call.read(call.argument, header)) return call.badAddress()
  const { nr, flags } = decode(kvm_irq_routing, new DataView(header.buffer))
  if (vm.irqchipMode === 'none') return call.refuse(EINVAL, 'KAPI-67', 'no in-kernel irqchip')
  if (nr > KVM_MAX_IRQ_ROUTES) return call.refuse(EINVAL, 'KAPI-67', `${nr} routes, at most ${KVM_MAX_IRQ_ROUTES}`)
  if (flags !== 0) return call.refuse(EINVAL, 'KAPI-67', 'flags must be 0')
  const bytes = new Uint8Array(nr * kvm_irq_routing_entry.size)
  if (!call.read(call.argument + kvm_irq_routing.size, bytes)) return call.badAddress()
  const view = new DataView(bytes.buffer)
  const entries: RoutingEntry[] = Array.from({ length: nr }, (_, i) =>
    decode(kvm_irq_routing_entry, view, i * kvm_irq_routing_entry.size),
  )
  const refusal = routingRefusal(entries)
  if (refusal !== null) return refuseWith(call, refusal)
  vm.routing = entries
  return 0
}

function signalMsi(vm: Vm, msi: ValueOf<typeof kvm_msi>, call: IoctlCall): number {
  if (vm.irqchipMode === 'none') return call.refuse(EINVAL, 'KAPI-67', 'no in-kernel irqchip')
  if (msi.flags & ~1) return call.refuse(EINVAL, 'KAPI-67', 'unknown flags')
  return sendMsi(vm, msi.address_lo, msi.address_hi, msi.data)
}

function createPit(vm: Vm, flags: number, call: IoctlCall): number {
  if (vm.pit !== null) return call.refuse(EEXIST, 'KAPI-60', 'a PIT exists')
  if (vm.pic === null) return call.refuse(ENOENT, 'KAPI-60', 'no in-kernel PIC')
  vm.createPit()
  void flags
  return 0
}

const noPit = (call: IoctlCall): number => call.refuse(ENXIO, 'KAPI-60', 'no PIT')

function setPitChannels(
  vm: Vm,
  channels: ValueOf<typeof kvm_pit_state>['channels'],
  flags: number | null,
  call: IoctlCall,
): number {
  if (vm.pit === null) return noPit(call)
  vm.pit.channels = channels
  if (flags !== null) vm.pit.flags = flags
  channels.forEach((channel, i) => {
    vm.pit!.load(i, channel.count & 0xffff)
  })
  return 0
}

// ---- eventfds ----

function setIoeventfd(vm: Vm, e: ValueOf<typeof kvm_ioeventfd>, call: IoctlCall): number {
  const known = KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DEASSIGN
  if (![0, 1, 2, 4, 8].includes(e.len)) return call.refuse(EINVAL, 'KAPI-69', `length ${e.len}`)
  if (e.addr + BigInt(e.len) > 0xffff_ffff_ffff_ffffn) return call.refuse(EINVAL, 'KAPI-69', 'the address wraps around')
  if (e.flags & ~known) return call.refuse(EINVAL, 'KAPI-69', 'unknown flags')
  if (e.len === 0 && e.flags & KVM_IOEVENTFD_FLAG_DATAMATCH) return call.refuse(EINVAL, 'KAPI-69', 'DATAMATCH needs a length')
  const event = eventOf(e.fd, call)
  if (typeof event === 'number') return event
  const row: IoEvent = {
    addr: Number(e.addr),
    length: e.len,
    isPort: (e.flags & KVM_IOEVENTFD_FLAG_PIO) !== 0,
    match: e.flags & KVM_IOEVENTFD_FLAG_DATAMATCH ? e.datamatch : null,
    event,
  }
  if (e.flags & KVM_IOEVENTFD_FLAG_DEASSIGN)
    return vm.bus.removeEvent(row) ? 0 : call.refuse(ENOENT, 'KAPI-69', 'no such ioeventfd')
  if (!vm.bus.addEvent(row)) return call.refuse(EEXIST, 'KAPI-69', 'an ioeventfd is there already')
  event.retain()
  return 0
}

function coalescedZone(vm: Vm, zone: ValueOf<typeof kvm_coalesced_mmio_zone>, call: IoctlCall, register: boolean): number {
  if (zone.pio > 1) return call.refuse(EINVAL, 'KAPI-109', 'pio must be 0 or 1')
  const range = { addr: Number(zone.addr), size: zone.size, isPort: zone.pio === 1 }
  if (register) vm.bus.addZone(range)
  else vm.bus.removeZones(range)
  return 0
}

// ---- time ----

function getClock(vm: Vm): ValueOf<typeof kvm_clock_data> {
  return {
    clock: BigInt(vm.clock.now()),
    flags: KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC,
    realtime: BigInt(vm.clock.realTime()),
    host_tsc: vm.clock.hostTsc(),
  }
}

function setClock(vm: Vm, data: ValueOf<typeof kvm_clock_data>, call: IoctlCall): number {
  if (data.flags & ~KVM_CLOCK_VALID_FLAGS) return call.refuse(EINVAL, 'KAPI-95', 'unknown flags')
  let ns = Number(data.clock)
  if (data.flags & KVM_CLOCK_REALTIME) ns += Math.max(0, vm.clock.realTime() - Number(data.realtime))
  vm.clock.set(ns)
  for (const vcpu of vm.vcpus) vcpu.request(REQ_CLOCK_UPDATE)
  return 0
}

function setVmTscKhz(vm: Vm, khz: number, call: IoctlCall): number {
  if (khz >= 0x100000000) return call.refuse(EINVAL, 'KAPI-91', 'more than 32 bits')
  vm.defaultTscKhz = khz === 0 ? vm.kvm.model.tscKhz : khz
  return 0
}

// ---- the rest ----

function setBootCpu(vm: Vm, id: number, call: IoctlCall): number {
  if (vm.vcpus.length > 0) return call.refuse(EBUSY, 'KAPI-09', 'a vCPU exists')
  if (id > KVM_MAX_VCPU_IDS || (vm.maxVcpuIds !== 0 && id > vm.maxVcpuIds))
    return call.refuse(EINVAL, 'KAPI-09', `no vCPU id ${id}`)
  vm.bspVcpuId = id
  return 0
}

function setPmuFilter(vm: Vm, filter: ValueOf<typeof kvm_pmu_event_filter>, call: IoctlCall): number {
  if (filter.action > 1 || filter.flags > 1) return call.refuse(EINVAL, 'KAPI-125', 'unknown action or flags')
  if (filter.nevents > 300) return call.refuse(E2BIG, 'KAPI-125', 'more than 300 events')
  void vm
  return 0
}

function setMsrFilter(vm: Vm, value: ValueOf<typeof kvm_msr_filter>, call: IoctlCall): number {
  const filter = readMsrFilter(value, call)
  if (typeof filter === 'number') return filter
  vm.setMsrFilter(filter)
  return 0
}

function getStatsFd(vm: Vm, _argument: number, call: IoctlCall): number {
  const image = () => statsImage(`kvm-${vm.ownerPid}`, VM_STATS, {})
  return call.task.kernel.installFile(call.task, createStatsFile(vm, image), true)
}

const outOfScope = (what: string) => refused<Vm>(ENOTTY, 'KAPI-11', `built without ${what}`)

/** ioctls of a VM fd. An unknown number is ENOTTY. KAPI §2.2. */
export const vmIoctls: IoctlTable<Vm> = ioctlTable<Vm>({
  KVM_CHECK_EXTENSION: immediate((vm, capability, call) => checkExtension(vm.kvm, vm, call.task, capability)),
  KVM_CREATE_VCPU: immediate(createVcpu),
  KVM_ENABLE_CAP: takes(kvm_enable_cap, enableVmCap, { cap: 'KVM_CAP_ENABLE_CAP_VM' }),
  KVM_SET_USER_MEMORY_REGION: takes(kvm_userspace_memory_region, setMemoryRegion, { cap: 'KVM_CAP_USER_MEMORY' }),
  KVM_SET_USER_MEMORY_REGION2: takes(kvm_userspace_memory_region2, setMemoryRegion, {
    cap: 'KVM_CAP_USER_MEMORY2',
    support: partial('no guest_memfd: no VM type has private memory'),
  }),
  KVM_GET_DIRTY_LOG: takes(kvm_dirty_log, (vm, log, call) => {
    if (log.slot >>> 16) return call.refuse(EINVAL, 'KAPI-104', 'no second address space')
    const manual = (vm.manualDirtyLog & KVM_DIRTY_LOG_MANUAL_PROTECT) !== 0
    return refuseWith(call, getDirtyLog(vm.memory.slots, vm.memory.stage, log.slot, call, Number(log.dirty_bitmap), manual))
  }),
  KVM_CLEAR_DIRTY_LOG: {
    ...takes(
      kvm_clear_dirty_log,
      (vm: Vm, log, call) => {
        if (log.slot >>> 16) return call.refuse(EINVAL, 'KAPI-105', 'no second address space')
        const request = {
          slot: log.slot,
          firstPage: Number(log.first_page),
          numPages: log.num_pages,
          bitmap: Number(log.dirty_bitmap),
        }
        return refuseWith(call, clearDirtyLog(vm.memory.slots, vm.memory.stage, request, call))
      },
      { cap: 'KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2' },
    ),
  },
  KVM_RESET_DIRTY_RINGS: refused(EINVAL, 'KAPI-107', 'dirty rings are not enabled: KVM_CAP_DIRTY_LOG_RING is 0'),
  KVM_SET_NR_MMU_PAGES: immediate((_vm, pages, call) =>
    pages < MIN_MMU_PAGES ? call.refuse(EINVAL, 'KAPI-01', 'fewer than 64 pages') : 0,
  ),
  KVM_GET_NR_MMU_PAGES: refused(ENOTTY, 'KAPI-01', 'removed from Linux'),
  KVM_SET_TSS_ADDR: immediate((vm, address, call) => {
    if (address > LAST_TSS_ADDRESS) return call.refuse(EINVAL, 'KAPI-01', 'three pages do not fit there')
    vm.tssAddress = address
    return 0
  }),
  KVM_SET_IDENTITY_MAP_ADDR: takes(valueU64, (vm, { value }, call) => {
    if (vm.vcpus.length > 0) return call.refuse(EINVAL, 'KAPI-01', 'a vCPU exists')
    vm.identityMapAddress = value === 0n ? DEFAULT_IDENTITY_MAP : Number(value)
    return 0
  }),
  KVM_CREATE_IRQCHIP: immediate(createIrqchip, { cap: 'KVM_CAP_IRQCHIP' }),
  KVM_IRQ_LINE: takes(kvm_irq_level, irqLine),
  KVM_IRQ_LINE_STATUS: exchanges(kvm_irq_level, irqLine, { cap: 'KVM_CAP_IRQ_INJECT_STATUS' }),
  KVM_GET_IRQCHIP: exchanges(kvm_irqchip, readIrqchip),
  // _IOR, but it takes the structure.
  KVM_SET_IRQCHIP: takes(kvm_irqchip, writeIrqchip),
  KVM_SET_GSI_ROUTING: raw(setGsiRouting, { cap: 'KVM_CAP_IRQ_ROUTING' }),
  KVM_SIGNAL_MSI: takes(kvm_msi, signalMsi, { cap: 'KVM_CAP_SIGNAL_MSI' }),
  KVM_CREATE_PIT: immediate((vm, _argument, call) => createPit(vm, 0, call), { cap: 'KVM_CAP_PIT' }),
  KVM_CREATE_PIT2: takes(kvm_pit_config, (vm, { flags }, call) => createPit(vm, flags, call), { cap: 'KVM_CAP_PIT2' }),
  KVM_GET_PIT: {
    ...gives(kvm_pit_state, (vm: Vm, call) => (vm.pit === null ? noPit(call) : { channels: vm.pit.channels })),
  },
  KVM_SET_PIT: takes(kvm_pit_state, (vm, { channels }, call) => setPitChannels(vm, channels, null, call)),
  KVM_GET_PIT2: gives(kvm_pit_state2, (vm: Vm, call) =>
    vm.pit === null ? noPit(call) : { channels: vm.pit.channels, flags: vm.pit.flags },
  ),
  KVM_SET_PIT2: takes(kvm_pit_state2, (vm, { channels, flags }, call) => setPitChannels(vm, channels, flags, call)),
  KVM_REINJECT_CONTROL: {
    ...takes(kvm_reinject_control, (vm: Vm, { pit_reinject }, call) => {
      if (vm.pit === null) return noPit(call)
      vm.pit.reinject = pit_reinject !== 0
      return 0
    }),
    cap: 'KVM_CAP_REINJECT_CONTROL',
  },
  KVM_IRQFD: takes(kvm_irqfd, setIrqfd, { cap: 'KVM_CAP_IRQFD' }),
  KVM_IOEVENTFD: takes(kvm_ioeventfd, setIoeventfd, { cap: 'KVM_CAP_IOEVENTFD' }),
  KVM_REGISTER_COALESCED_MMIO: takes(kvm_coalesced_mmio_zone, (vm, zone, call) => coalescedZone(vm, zone, call, true), {
    cap: 'KVM_CAP_COALESCED_MMIO',
  }),
  KVM_UNREGISTER_COALESCED_MMIO: takes(kvm_coalesced_mmio_zone, (vm, zone, call) => coalescedZone(vm, zone, call, false)),
  KVM_SET_BOOT_CPU_ID: immediate(setBootCpu, { cap: 'KVM_CAP_SET_BOOT_CPU_ID' }),
  KVM_GET_CLOCK: gives(kvm_clock_data, getClock, { cap: 'KVM_CAP_ADJUST_CLOCK' }),
  KVM_SET_CLOCK: takes(kvm_clock_data, setClock, { cap: 'KVM_CAP_ADJUST_CLOCK' }),
  KVM_SET_TSC_KHZ: immediate(setVmTscKhz),
  KVM_GET_TSC_KHZ: immediate((vm) => vm.defaultTscKhz, { cap: 'KVM_CAP_GET_TSC_KHZ' }),
  KVM_X86_SET_MSR_FILTER: takes(kvm_msr_filter, setMsrFilter, { cap: 'KVM_CAP_X86_MSR_FILTER' }),
  KVM_SET_PMU_EVENT_FILTER: takes(kvm_pmu_event_filter, setPmuFilter, {
    cap: 'KVM_CAP_PMU_EVENT_FILTER',
    support: partial('there is no vPMU to filter'),
  }),
  KVM_CREATE_DEVICE: takes(kvm_create_device, (_vm, { type }, call) => call.refuse(ENODEV, 'KAPI-01', `no device type ${type}`), {
    cap: 'KVM_CAP_DEVICE_CTRL',
    support: partial('no device types: VFIO is not modelled'),
  }),
  KVM_GET_STATS_FD: immediate(getStatsFd, {
    cap: 'KVM_CAP_BINARY_STATS_FD',
    support: partial('counters of shadow paging and huge pages stay 0'),
  }),
  KVM_MEMORY_ENCRYPT_OP: outOfScope('confidential VMs'),
  KVM_MEMORY_ENCRYPT_REG_REGION: outOfScope('confidential VMs'),
  KVM_MEMORY_ENCRYPT_UNREG_REGION: outOfScope('confidential VMs'),
  KVM_HYPERV_EVENTFD: outOfScope('Hyper-V'),
  KVM_XEN_HVM_CONFIG: outOfScope('Xen'),
  KVM_XEN_HVM_GET_ATTR: outOfScope('Xen'),
  KVM_XEN_HVM_SET_ATTR: outOfScope('Xen'),
  KVM_XEN_HVM_EVTCHN_SEND: outOfScope('Xen'),
  KVM_SET_MEMORY_ATTRIBUTES: outOfScope('private memory'),
  KVM_CREATE_GUEST_MEMFD: outOfScope('private memory'),
})
