import { MSR_IA32_XFD } from '../isa/msr-index.ts'
import { XFEATURE_MASK_FPSSE } from '../isa/xfeatures.ts'
import { E2BIG, EEXIST, EFAULT, EINVAL, ENOTTY, ENXIO } from '../linux/errno.ts'
import {
  copyGuestFpuToUabi,
  copyUabiToGuestFpu,
  isConfidential,
  newFxsaveFields,
  readLegacyRegion,
  uabiBuffer,
  uabiSize,
  writeLegacyRegion,
} from '../linux/fpu/door.ts'
import { countSide, refusedBy } from '../linux/refusal.ts'
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
import { readCpuidList, readEntryRoom, setCpuid, writeCpuidList } from './cpuid/vcpu-cpuid.ts'
import { enableVcpuCap } from './enable-cap.ts'
import { stoppedAtMsr, xcr0WithoutRoom } from './explain.ts'
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
import { hostFailure, hostReadMsr, hostWriteMsr } from './msr/access.ts'
import { withGuestFpuForMsrs } from './msr/guest-fpu-window.ts'
import { setMce, setupMce } from './msr/machine-check.ts'
import { getRegList, oneReg } from './one-reg.ts'
import { LINEAR_FAULT } from './run/guest-linear.ts'
import { kvmRun } from './run/run.ts'
import { statsImage, VCPU_STATS } from './stats.ts'
import { transferMsrs } from './system-ioctls.ts'
import { getDebugregs, setDebugregs, setGuestDebug } from './vcpu/debug.ts'
import { getVcpuEvents, setVcpuEvents } from './vcpu/events.ts'
import { getMpState, setMpState } from './vcpu/mp-state.ts'
import { getSregs, getSregs2, setSregs, setSregs2 } from './vcpu/sregs.ts'
import { getRegs, setRegs } from './vcpu/sync-regs.ts'
import { REQ_CLOCK_UPDATE, REQ_EVENT, type Vcpu } from './vcpu/vcpu.ts'
import { setXcr0, xcr0Refusal } from './vcpu/xcr0.ts'

const valueU64 = struct('u64', 8, { value: u64(0) })
const XSAVE_BYTES = 4096
const MAX_XCRS = 16
const SIGSET_BYTES = 8
/** KVM_VCPU_TSC_CTRL: group 0; KVM_VCPU_TSC_OFFSET: attribute 0. */
const KVM_VCPU_TSC_CTRL = 0
const KVM_VCPU_TSC_OFFSET = 0n
const ALL_ONES = 0xffff_ffff_ffff_ffffn

// ---- extended state (rules XSAVE-01..32) ----

/**
 * Components that GET may show: what the guest's CPUID has, and FP and SSE always. XSAVE-06. Where KVM_SET_CPUID2 narrows the image's
 * own set to that, nothing else trims, so that a vCPU without CPUID shows all the host has (XSAVE-33).
 */
function trimOf(vcpu: Vcpu): number {
  const { getTrimsToGuestFeatures, setBoundToGuestFeatures } = vcpu.vm.kvm.profile.xsave
  if (!getTrimsToGuestFeatures || setBoundToGuestFeatures) return 0xffffffff
  return (vcpu.guestSupportedXcr0 | XFEATURE_MASK_FPSSE) >>> 0
}

function writeXsave(vcpu: Vcpu, call: IoctlCall, size: number): number {
  const { u8 } = vcpu.context.mem
  const image = uabiBuffer(vcpu.guestFpu)
  if (isConfidential(vcpu.guestFpu)) {
    const refused = confidential(vcpu, call)
    if (refused < 0) return refused
    u8.fill(0, image, image + size)
  } else copyGuestFpuToUabi(vcpu.guestFpu, u8, image, size, trimOf(vcpu), vcpu.pkru)
  return call.mm.copyToUser(call.argument, u8, image, size) ? 0 : call.badAddress()
}

/** What becomes of an ioctl on encrypted registers: refused, or 0 for "nothing is read, nothing is written". GFPU-24, XSAVE-31. */
function confidential(vcpu: Vcpu, call: IoctlCall, rule = 'GFPU-24'): number {
  const { kvm, hasProtectedState } = vcpu.vm
  if (!hasProtectedState || !kvm.profile.xsave.protectedStateIsEinval) return 0
  return call.refuse(EINVAL, rule, 'the register state is encrypted')
}

function getXsave(vcpu: Vcpu, call: IoctlCall): number {
  const size = uabiSize(vcpu.guestFpu)
  if (size > XSAVE_BYTES) {
    return call.refuse(EINVAL, 'XSAVE-03', `the state has ${size} bytes: use KVM_GET_XSAVE2`, {
      asked: { kind: 'buffer', name: 'struct kvm_xsave', value: BigInt(XSAVE_BYTES) },
      sides: [countSide('KVM_GET_XSAVE writes, bytes', XSAVE_BYTES), countSide('state of this vCPU, bytes', size)],
      chain: [refusedBy('guest FPU image', 'state of this vCPU, bytes', size)],
    })
  }
  return writeXsave(vcpu, call, XSAVE_BYTES)
}

function getXsave2(vcpu: Vcpu, call: IoctlCall): number {
  if (!vcpu.vm.kvm.profile.kvm.hasXsave2) return call.refuse(EINVAL, 'XSAVE-04', 'this kernel has no KVM_GET_XSAVE2')
  return writeXsave(vcpu, call, uabiSize(vcpu.guestFpu))
}

/** KVM_SET_XSAVE: as many bytes as KVM_GET_XSAVE2 writes; nothing changes when it is refused. XSAVE-15..27. */
function setXsave(vcpu: Vcpu, call: IoctlCall): number {
  const { u8 } = vcpu.context.mem
  const image = uabiBuffer(vcpu.guestFpu)
  if (!call.mm.copyFromUser(u8, image, call.argument, uabiSize(vcpu.guestFpu))) return call.badAddress()
  if (isConfidential(vcpu.guestFpu)) return confidential(vcpu, call)
  const load = copyUabiToGuestFpu(vcpu.guestFpu, u8, image, vcpu.vm.kvm.supportedXcr0)
  if (load.refusal !== null) return call.refuse(EINVAL, load.refusal.rule, load.refusal.sentence, load.refusal.details)
  if (load.pkru >= 0) vcpu.pkru = load.pkru
  return 0
}

function getFpu(vcpu: Vcpu, call: IoctlCall): Partial<ValueOf<typeof kvm_fpu>> | number {
  if (isConfidential(vcpu.guestFpu)) {
    const refused = confidential(vcpu, call)
    return refused < 0 ? refused : {}
  }
  const f = newFxsaveFields()
  readLegacyRegion(vcpu.guestFpu, f)
  return {
    fpr: f.st,
    fcw: f.fcw,
    fsw: f.fsw,
    ftwx: f.ftw,
    last_opcode: f.fop,
    last_ip: (BigInt(f.fipHi >>> 0) << 32n) | BigInt(f.fipLo >>> 0),
    last_dp: (BigInt(f.fdpHi >>> 0) << 32n) | BigInt(f.fdpLo >>> 0),
    xmm: f.xmm,
    mxcsr: 0, // never reported (XSAVE-28)
  }
}

function setFpu(vcpu: Vcpu, fpu: ValueOf<typeof kvm_fpu>, call: IoctlCall): number {
  if (isConfidential(vcpu.guestFpu)) return confidential(vcpu, call)
  const low = (value: bigint): number => Number(value & 0xffffffffn) | 0
  writeLegacyRegion(vcpu.guestFpu, {
    fcw: fpu.fcw,
    fsw: fpu.fsw,
    ftw: fpu.ftwx,
    fop: fpu.last_opcode,
    fipLo: low(fpu.last_ip),
    fipHi: low(fpu.last_ip >> 32n),
    fdpLo: low(fpu.last_dp),
    fdpHi: low(fpu.last_dp >> 32n),
    st: fpu.fpr,
    xmm: fpu.xmm,
  })
  return 0
}

/** Refused for a vCPU whose registers are encrypted, where the kernel has VM types for that; otherwise XCR0 is KVM's own copy. */
const xcrsRefused = (vcpu: Vcpu, call: IoctlCall): number =>
  isConfidential(vcpu.guestFpu) ? confidential(vcpu, call, 'XSAVE-31') : 0

function getXcrs(vcpu: Vcpu, call: IoctlCall): Partial<ValueOf<typeof kvm_xcrs>> | number {
  const refused = xcrsRefused(vcpu, call)
  if (refused < 0) return refused
  if (!vcpu.vm.kvm.model.has('xsave')) return { nr_xcrs: 0 }
  return { nr_xcrs: 1, flags: 0, xcrs: [{ xcr: 0, value: BigInt(vcpu.xcr0) }] }
}

/** The first entry for XCR0 counts; others are ignored. XSAVE-30. */
function setXcrs(vcpu: Vcpu, xcrs: ValueOf<typeof kvm_xcrs>, call: IoctlCall): number {
  const refused = xcrsRefused(vcpu, call)
  if (refused < 0) return refused
  if (!vcpu.vm.kvm.model.has('xsave')) {
    return call.refuse(EINVAL, 'XSAVE-30', 'the host has no XSAVE', { chain: [refusedBy('CPUID bit', 'XSAVE', 0)] })
  }
  if (xcrs.nr_xcrs > MAX_XCRS || xcrs.flags !== 0) {
    const tooMany = xcrs.nr_xcrs > MAX_XCRS
    const sentence = tooMany ? `nr_xcrs is ${xcrs.nr_xcrs}, at most ${MAX_XCRS}` : `flags are 0x${xcrs.flags.toString(16)}, not 0`
    return call.refuse(EINVAL, 'XSAVE-30', sentence, {
      asked: { kind: 'list', name: tooMany ? 'nr_xcrs' : 'flags', value: BigInt(tooMany ? xcrs.nr_xcrs : xcrs.flags) },
    })
  }
  const entry = xcrs.xcrs.slice(0, xcrs.nr_xcrs).find((x) => x.xcr === 0)
  if (entry === undefined) return 0
  const lo = Number(entry.value & 0xffffffffn) | 0
  const hi = Number(entry.value >> 32n) | 0
  const refusal = xcr0Refusal(vcpu, lo, hi)
  if (refusal !== null) return call.refuse(EINVAL, refusal.rule, refusal.sentence, refusal.details)
  if (setXcr0(vcpu, lo, hi)) return 0
  const noRoom = xcr0WithoutRoom(vcpu, lo)
  return call.refuse(EINVAL, noRoom.rule, noRoom.sentence, noRoom.details)
}

// ---- CPUID and MSRs ----

function setCpuidFrom(vcpu: Vcpu, call: IoctlCall, legacy: boolean): number {
  const list = readCpuidList(call, legacy)
  return typeof list === 'number' ? list : setCpuid(vcpu, list, call)
}

function getCpuid2(vcpu: Vcpu, call: IoctlCall): number {
  const room = readEntryRoom(call)
  if (room < 0) return room
  if (room < vcpu.cpuid.length) return call.refuse(E2BIG, 'KAPI-87', `room for ${room} of ${vcpu.cpuid.length} entries`)
  return writeCpuidList(call, vcpu.cpuid)
}

function getMsrs(vcpu: Vcpu, call: IoctlCall): number {
  return withGuestFpuForMsrs(vcpu, call.task, (access) =>
    transferMsrs(call, true, (index) => {
      access.reaches(index)
      const data = hostReadMsr(vcpu, index)
      if (data === null) call.task.refusal = stoppedAtMsr(vcpu, index, null, hostFailure.why)
      return data
    }),
  )
}

function setMsrs(vcpu: Vcpu, call: IoctlCall): number {
  return withGuestFpuForMsrs(vcpu, call.task, (access) =>
    transferMsrs(call, false, (index, data) => {
      access.reaches(index)
      if (!hostWriteMsr(vcpu, index, data)) {
        call.task.refusal = stoppedAtMsr(vcpu, index, data, hostFailure.why)
        return null
      }
      if (index !== MSR_IA32_XFD) vcpu.vm.kvm.trace?.msr(vcpu, true, index, data)
      return data
    }),
  )
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
