import { E2BIG, EEXIST, EFAULT, EINVAL, ENOTTY, ENXIO } from '../linux/errno.ts'
import type { MaybePreemptible } from '../linux/preemption.ts'
import { ACCESS_READ } from '../machine/page-walk.ts'
import { decode, struct, u64, type ValueOf } from './abi/struct-layout.ts'
import {
  kvm_debugregs,
  kvm_device_attr,
  kvm_enable_cap,
  kvm_fpu,
  kvm_guest_debug,
  kvm_interrupt,
  kvm_lapic_state,
  kvm_mp_state,
  kvm_regs,
  kvm_signal_mask,
  kvm_sregs,
  kvm_sregs2,
  kvm_tpr_access_ctl,
  kvm_translation,
  kvm_vapic_addr,
  kvm_vcpu_events,
  kvm_x86_mce,
  kvm_xcrs,
} from './abi/structs.ts'
import { readCpuidList, readEntryRoom, setCpuid, setCpuidPreemptibly, writeCpuidList } from './cpuid/vcpu-cpuid.ts'
import { enableVcpuCap } from './enable-cap.ts'
import { createStatsFile } from './files.ts'
import {
  exchanges,
  full,
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
import { readLapicState, writeLapicState } from './irqchip/lapic-state.ts'
import { setMce, setupMce } from './msr/machine-check.ts'
import { getMsrs, setMsrs } from './msr/msr-ioctls.ts'
import { getRegList, oneReg } from './one-reg.ts'
import { LINEAR_FAULT } from './run/guest-linear.ts'
import { kvmRun } from './run/run.ts'
import { statsImage, VCPU_STATS } from './stats.ts'
import { getDebugregs, setDebugregs, setGuestDebug } from './vcpu/debug.ts'
import { getVcpuEvents, setVcpuEvents } from './vcpu/events.ts'
import { getMpState, setMpState } from './vcpu/mp-state.ts'
import { getSregs, getSregs2, setSregs, setSregs2 } from './vcpu/sregs.ts'
import { getRegs, setRegs } from './vcpu/sync-regs.ts'
import { REQ_CLOCK_UPDATE, REQ_EVENT, type Vcpu } from './vcpu/vcpu.ts'
import { getFpu, getXcrs, getXsave, getXsave2, setFpu, setXcrs, setXsave } from './vcpu/xstate-ioctls.ts'

const valueU64 = struct('u64', 8, { value: u64(0) })
const SIGSET_BYTES = 8
/** KVM_VCPU_TSC_CTRL: group 0; KVM_VCPU_TSC_OFFSET: attribute 0. */
const KVM_VCPU_TSC_CTRL = 0
const KVM_VCPU_TSC_OFFSET = 0n
const ALL_ONES = 0xffff_ffff_ffff_ffffn

// ---- CPUID ----

function setCpuidFrom(vcpu: Vcpu, call: IoctlCall, legacy: boolean): MaybePreemptible<number> {
  const list = readCpuidList(call, legacy)
  if (typeof list === 'number') return list
  return call.task.kernel.yieldsEverywhere ? setCpuidPreemptibly(vcpu, list, call) : setCpuid(vcpu, list, call)
}

function getCpuid2(vcpu: Vcpu, call: IoctlCall): number {
  const room = readEntryRoom(call)
  if (room < 0) return room
  if (room < vcpu.cpuid.length) return call.refuse(E2BIG, 'KAPI-87', `room for ${room} of ${vcpu.cpuid.length} entries`)
  return writeCpuidList(call, vcpu.cpuid)
}

// ---- addresses and events ----

/** Walks the guest's page tables as supervisor. KAPI §2.3. */
function translate(vcpu: Vcpu, t: ValueOf<typeof kvm_translation>): number {
  const status = vcpu.linear.translate(
    Number(t.linear_address & 0xffffffffn) | 0,
    Number(t.linear_address >> 32n) | 0,
    ACCESS_READ,
    false,
    false,
  )
  const valid = status !== LINEAR_FAULT
  t.physical_address = valid ? BigInt(vcpu.linear.gpa) : ALL_ONES
  t.valid = valid ? 1 : 0
  t.writeable = 1
  t.usermode = 0
  return 0
}

function interrupt(vcpu: Vcpu, { irq }: ValueOf<typeof kvm_interrupt>, call: IoctlCall): number {
  if (irq >= 256) return call.refuse(EINVAL, 'KAPI-20', `vector ${irq}`)
  if (vcpu.vm.irqchipMode === 'kernel') return call.refuse(ENXIO, 'KAPI-20', 'the PIC is in the kernel')
  if (vcpu.vm.irqchipMode === 'none') {
    vcpu.queueInterrupt(irq, false)
    vcpu.request(REQ_EVENT)
    return 0
  }
  if (vcpu.splitExternal >= 0) return call.refuse(EEXIST, 'KAPI-20', 'an external interrupt waits already')
  vcpu.splitExternal = irq
  vcpu.request(REQ_EVENT)
  return 0
}

function setSignalMask(vcpu: Vcpu, call: IoctlCall): number {
  if (call.argument === 0) {
    vcpu.signalMask = null
    return 0
  }
  const bytes = new Uint8Array(kvm_signal_mask.size + SIGSET_BYTES)
  if (!call.read(call.argument, bytes.subarray(0, kvm_signal_mask.size))) return call.badAddress()
  const view = new DataView(bytes.buffer)
  if (decode(kvm_signal_mask, view).len !== SIGSET_BYTES) return call.refuse(EINVAL, 'KAPI-13', 'a signal set has 8 bytes')
  if (!call.read(call.argument, bytes)) return call.badAddress()
  vcpu.signalMask = view.getBigUint64(kvm_signal_mask.size, true)
  return 0
}

// ---- time, attributes ----

function setTscKhz(vcpu: Vcpu, khz: number, call: IoctlCall): number {
  const { kvm, clock } = vcpu.vm
  if (khz >= 0x100000000) return call.refuse(EINVAL, 'KAPI-91', 'more than 32 bits')
  clock.setRate(vcpu, khz === 0 ? kvm.model.tscKhz : khz)
  return 0
}

function kvmclockCtrl(vcpu: Vcpu, _argument: number, call: IoctlCall): number {
  if (!(vcpu.msrs.systemTime & 1n)) return call.refuse(EINVAL, 'KAPI-96', 'the guest uses no kvmclock')
  vcpu.msrs.guestStopped = true
  vcpu.request(REQ_CLOCK_UPDATE)
  return 0
}

type DeviceAttr = ValueOf<typeof kvm_device_attr>
function attrRefusal(attr: DeviceAttr, call: IoctlCall): number {
  const known = attr.group === KVM_VCPU_TSC_CTRL && attr.attr === KVM_VCPU_TSC_OFFSET
  return known ? 0 : call.refuse(ENXIO, 'KAPI-94', `no attribute ${attr.attr} in group ${attr.group}`)
}
function getAttr(vcpu: Vcpu, attr: DeviceAttr, call: IoctlCall): number {
  const refusal = attrRefusal(attr, call)
  if (refusal !== 0) return refusal
  const value = new Uint8Array(8)
  new DataView(value.buffer).setBigUint64(0, vcpu.tscOffset, true)
  return call.write(Number(attr.addr), value) ? 0 : call.refuse(EFAULT, 'KAPI-94', 'addr cannot be written')
}
function setAttr(vcpu: Vcpu, attr: DeviceAttr, call: IoctlCall): number {
  const refusal = attrRefusal(attr, call)
  if (refusal !== 0) return refusal
  const value = new Uint8Array(8)
  if (!call.read(Number(attr.addr), value)) return call.refuse(EFAULT, 'KAPI-94', 'addr cannot be read')
  vcpu.vm.clock.userSetTsc = true
  vcpu.vm.clock.setOffset(vcpu, new DataView(value.buffer).getBigUint64(0, true))
  return 0
}

function getStatsFd(vcpu: Vcpu, _argument: number, call: IoctlCall): number {
  const { vm } = vcpu
  const image = () =>
    statsImage(`kvm-${vm.ownerPid}/vcpu-${vcpu.id}`, VCPU_STATS, vcpu.stats as unknown as Record<string, number>)
  return call.task.kernel.installFile(call.task, createStatsFile(vm, image), true)
}

const needsLapic = (vcpu: Vcpu, call: IoctlCall): number =>
  vcpu.lapic === null ? call.refuse(EINVAL, 'KAPI-62', 'no in-kernel local APIC') : 0

/** ioctls of a vCPU fd. An unknown number is EINVAL. KAPI §2.3. */
export const vcpuIoctls: IoctlTable<Vcpu> = ioctlTable<Vcpu>({
  KVM_RUN: { support: full, bytes: 0, copy: 'none', run: (vcpu, call) => kvmRun(vcpu, call.argument, call) },
  KVM_GET_REGS: gives(kvm_regs, getRegs),
  KVM_SET_REGS: takes(kvm_regs, (vcpu, regs) => {
    setRegs(vcpu, regs)
    return 0
  }),
  KVM_GET_SREGS: gives(kvm_sregs, getSregs),
  KVM_SET_SREGS: takes(kvm_sregs, setSregs),
  KVM_GET_SREGS2: gives(kvm_sregs2, getSregs2, { cap: 'KVM_CAP_SREGS2' }),
  KVM_SET_SREGS2: takes(kvm_sregs2, setSregs2, {
    cap: 'KVM_CAP_SREGS2',
    support: partial('PDPTRs are read from memory, not taken from the structure'),
  }),
  KVM_TRANSLATE: exchanges(kvm_translation, translate),
  KVM_INTERRUPT: takes(kvm_interrupt, interrupt),
  KVM_GET_MSRS: raw(getMsrs),
  KVM_SET_MSRS: raw(setMsrs),
  KVM_SET_CPUID: raw((vcpu, call) => setCpuidFrom(vcpu, call, true)),
  KVM_SET_CPUID2: raw((vcpu, call) => setCpuidFrom(vcpu, call, false), { cap: 'KVM_CAP_EXT_CPUID' }),
  KVM_GET_CPUID2: raw(getCpuid2, { cap: 'KVM_CAP_EXT_CPUID' }),
  KVM_SET_SIGNAL_MASK: raw(setSignalMask),
  KVM_GET_FPU: gives(kvm_fpu, getFpu),
  KVM_SET_FPU: takes(kvm_fpu, setFpu),
  KVM_GET_XSAVE: raw(getXsave, { cap: 'KVM_CAP_XSAVE' }),
  KVM_GET_XSAVE2: raw(getXsave2, { cap: 'KVM_CAP_XSAVE2' }),
  KVM_SET_XSAVE: raw(setXsave, { cap: 'KVM_CAP_XSAVE' }),
  KVM_GET_XCRS: gives(kvm_xcrs, getXcrs, { cap: 'KVM_CAP_XCRS' }),
  KVM_SET_XCRS: takes(kvm_xcrs, setXcrs, { cap: 'KVM_CAP_XCRS' }),
  KVM_GET_LAPIC: gives(kvm_lapic_state, (vcpu: Vcpu, call) =>
    vcpu.lapic === null ? needsLapic(vcpu, call) : readLapicState(vcpu, call),
  ),
  KVM_SET_LAPIC: takes(kvm_lapic_state, (vcpu, state, call) =>
    vcpu.lapic === null ? needsLapic(vcpu, call) : writeLapicState(vcpu, state.regs, call),
  ),
  KVM_TPR_ACCESS_REPORTING: exchanges(
    kvm_tpr_access_ctl,
    (_vcpu, ctl, call) => (ctl.flags !== 0 ? call.refuse(EINVAL, 'KAPI-21', 'flags must be 0') : 0),
    {
      cap: 'KVM_CAP_VAPIC',
      support: partial('accepted; TPR accesses are not reported'),
    },
  ),
  KVM_SET_VAPIC_ADDR: takes(kvm_vapic_addr, (vcpu, _address, call) => needsLapic(vcpu, call), {
    cap: 'KVM_CAP_VAPIC',
    support: partial('accepted; the TPR is not kept in guest memory'),
  }),
  KVM_GET_MP_STATE: gives(kvm_mp_state, (vcpu) => ({ mp_state: getMpState(vcpu) }), { cap: 'KVM_CAP_MP_STATE' }),
  KVM_SET_MP_STATE: takes(kvm_mp_state, (vcpu, { mp_state }, call) => setMpState(vcpu, mp_state, call), {
    cap: 'KVM_CAP_MP_STATE',
  }),
  KVM_NMI: immediate(
    (vcpu) => {
      vcpu.vm.injectNmi(vcpu)
      return 0
    },
    { cap: 'KVM_CAP_USER_NMI' },
  ),
  KVM_SMI: refused(ENOTTY, 'KAPI-11', 'built without SMM'),
  KVM_SET_GUEST_DEBUG: takes(kvm_guest_debug, setGuestDebug, { cap: 'KVM_CAP_SET_GUEST_DEBUG' }),
  KVM_X86_SETUP_MCE: takes(valueU64, (vcpu, { value }, call) => setupMce(vcpu, value, call), { cap: 'KVM_CAP_MCE' }),
  KVM_X86_SET_MCE: takes(kvm_x86_mce, setMce, { cap: 'KVM_CAP_MCE' }),
  KVM_GET_VCPU_EVENTS: gives(kvm_vcpu_events, getVcpuEvents, { cap: 'KVM_CAP_VCPU_EVENTS' }),
  KVM_SET_VCPU_EVENTS: takes(kvm_vcpu_events, setVcpuEvents, { cap: 'KVM_CAP_VCPU_EVENTS', support: partial('no SMM state') }),
  KVM_GET_DEBUGREGS: gives(kvm_debugregs, getDebugregs, { cap: 'KVM_CAP_DEBUGREGS' }),
  KVM_SET_DEBUGREGS: takes(kvm_debugregs, setDebugregs, { cap: 'KVM_CAP_DEBUGREGS' }),
  KVM_ENABLE_CAP: takes(kvm_enable_cap, enableVcpuCap, { cap: 'KVM_CAP_ENABLE_CAP' }),
  KVM_SET_TSC_KHZ: immediate(setTscKhz),
  KVM_GET_TSC_KHZ: immediate((vcpu) => vcpu.tscKhz, { cap: 'KVM_CAP_GET_TSC_KHZ' }),
  KVM_KVMCLOCK_CTRL: immediate(kvmclockCtrl, { cap: 'KVM_CAP_KVMCLOCK_CTRL' }),
  KVM_GET_STATS_FD: immediate(getStatsFd, {
    cap: 'KVM_CAP_BINARY_STATS_FD',
    support: partial('histograms and what the model never does stay 0'),
  }),
  KVM_HAS_DEVICE_ATTR: takes(kvm_device_attr, (_vcpu, attr, call) => attrRefusal(attr, call), { cap: 'KVM_CAP_VCPU_ATTRIBUTES' }),
  KVM_GET_DEVICE_ATTR: takes(kvm_device_attr, getAttr, { cap: 'KVM_CAP_VCPU_ATTRIBUTES' }),
  KVM_SET_DEVICE_ATTR: takes(kvm_device_attr, setAttr, { cap: 'KVM_CAP_VCPU_ATTRIBUTES' }),
  KVM_GET_NESTED_STATE: refused(EINVAL, 'KAPI-11', 'nested virtualization is off: KVM_CAP_NESTED_STATE is 0'),
  KVM_SET_NESTED_STATE: refused(EINVAL, 'KAPI-11', 'nested virtualization is off: KVM_CAP_NESTED_STATE is 0'),
  KVM_PRE_FAULT_MEMORY: refused(EINVAL, 'KAPI-112', 'not modelled: KVM_CAP_PRE_FAULT_MEMORY is 0'),
  KVM_GET_ONE_REG: raw((vcpu, call) => oneReg(vcpu, call, false)),
  KVM_SET_ONE_REG: raw((vcpu, call) => oneReg(vcpu, call, true)),
  KVM_GET_REG_LIST: raw(getRegList),
  KVM_XEN_VCPU_GET_ATTR: refused(EINVAL, 'KAPI-11', 'built without Xen'),
  KVM_XEN_VCPU_SET_ATTR: refused(EINVAL, 'KAPI-11', 'built without Xen'),
  KVM_GET_SUPPORTED_HV_CPUID: refused(EINVAL, 'KAPI-11', 'built without Hyper-V'),
})
