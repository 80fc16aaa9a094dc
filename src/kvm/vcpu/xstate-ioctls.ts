import { XFEATURE_MASK_FPSSE } from '../../isa/xfeatures.ts'
import { EINVAL } from '../../linux/errno.ts'
import {
  copyGuestFpuToUabi,
  copyUabiToGuestFpu,
  isConfidential,
  newFxsaveFields,
  readLegacyRegion,
  uabiBuffer,
  uabiSize,
  writeLegacyRegion,
} from '../../linux/fpu/door.ts'
import { type MaybePreemptible, PREEMPTION_POINT, type Preemptible } from '../../linux/preemption.ts'
import { countSide, refusedBy } from '../../linux/refusal.ts'
import type { ValueOf } from '../abi/struct-layout.ts'
import type { kvm_fpu, kvm_xcrs } from '../abi/structs.ts'
import { xcr0WithoutRoom } from '../explain.ts'
import type { IoctlCall } from '../ioctl-table.ts'
import type { Vcpu } from './vcpu.ts'
import { setXcr0, xcr0Refusal } from './xcr0.ts'

/** ioctls of a vCPU's extended state. XSAVE-01..32. */

const XSAVE_BYTES = 4096
const MAX_XCRS = 16

/**
 * Components that GET may show: what the guest's CPUID has, and FP and SSE always. XSAVE-06. Where KVM_SET_CPUID2 narrows the image's
 * own set to that, nothing else trims, so that a vCPU without CPUID shows all the host has (XSAVE-33).
 */
function trimOf(vcpu: Vcpu): number {
  const { getTrimsToGuestFeatures, setBoundToGuestFeatures } = vcpu.vm.kvm.profile.xsave
  if (!getTrimsToGuestFeatures || setBoundToGuestFeatures) return 0xffffffff
  return (vcpu.guestSupportedXcr0 | XFEATURE_MASK_FPSSE) >>> 0
}

function writeXsave(vcpu: Vcpu, call: IoctlCall, size: number): MaybePreemptible<number> {
  if (call.task.kernel.yieldsEverywhere) return writeXsavePreemptibly(vcpu, call, size)
  const status = fillBuffer(vcpu, call, size)
  return status < 0 ? status : copyOut(call, vcpu.context.mem.u8, uabiBuffer(vcpu.guestFpu), size)
}

/** The same steps with the places where Linux's could lose the processor; nobody else has the buffer meanwhile, as in Linux. */
function* writeXsavePreemptibly(vcpu: Vcpu, call: IoctlCall, size: number): Preemptible<number> {
  const status = fillBuffer(vcpu, call, size)
  if (status < 0) return status
  const image = uabiBuffer(vcpu.guestFpu)
  const bytes = vcpu.context.mem.u8.slice(image, image + size)
  yield PREEMPTION_POINT
  return copyOut(call, bytes, 0, size)
}

function fillBuffer(vcpu: Vcpu, call: IoctlCall, size: number): number {
  const { u8 } = vcpu.context.mem
  const image = uabiBuffer(vcpu.guestFpu)
  if (isConfidential(vcpu.guestFpu)) {
    const refused = confidential(vcpu, call)
    if (refused < 0) return refused
    u8.fill(0, image, image + size)
  } else copyGuestFpuToUabi(vcpu.guestFpu, u8, image, size, trimOf(vcpu), vcpu.pkru)
  return 0
}

const copyOut = (call: IoctlCall, from: Uint8Array, at: number, size: number): number =>
  call.mm.copyToUser(call.argument, from, at, size) ? 0 : call.badAddress()

/** What becomes of an ioctl on encrypted registers: refused, or 0 for "nothing is read, nothing is written". GFPU-24, XSAVE-31. */
function confidential(vcpu: Vcpu, call: IoctlCall, rule = 'GFPU-24'): number {
  const { kvm, hasProtectedState } = vcpu.vm
  if (!hasProtectedState || !kvm.profile.xsave.protectedStateIsEinval) return 0
  return call.refuse(EINVAL, rule, 'the register state is encrypted')
}

export function getXsave(vcpu: Vcpu, call: IoctlCall): MaybePreemptible<number> {
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

export function getXsave2(vcpu: Vcpu, call: IoctlCall): MaybePreemptible<number> {
  if (!vcpu.vm.kvm.profile.kvm.hasXsave2) return call.refuse(EINVAL, 'XSAVE-04', 'this kernel has no KVM_GET_XSAVE2')
  return writeXsave(vcpu, call, uabiSize(vcpu.guestFpu))
}

/** KVM_SET_XSAVE: as many bytes as KVM_GET_XSAVE2 writes; nothing changes when it is refused. XSAVE-15..27. */
export function setXsave(vcpu: Vcpu, call: IoctlCall): MaybePreemptible<number> {
  if (call.task.kernel.yieldsEverywhere) return setXsavePreemptibly(vcpu, call)
  const { u8 } = vcpu.context.mem
  const image = uabiBuffer(vcpu.guestFpu)
  if (!call.mm.copyFromUser(u8, image, call.argument, uabiSize(vcpu.guestFpu))) return call.badAddress()
  return loadXsave(vcpu, call, u8, image)
}

/** As `writeXsavePreemptibly`. Linux: memdup_user(), then fpu_copy_uabi_to_guest_fpstate(). */
function* setXsavePreemptibly(vcpu: Vcpu, call: IoctlCall): Preemptible<number> {
  const bytes = new Uint8Array(uabiSize(vcpu.guestFpu))
  if (!call.read(call.argument, bytes)) return call.badAddress()
  yield PREEMPTION_POINT
  const result = loadXsave(vcpu, call, bytes, 0)
  yield PREEMPTION_POINT
  return result
}

function loadXsave(vcpu: Vcpu, call: IoctlCall, from: Uint8Array, at: number): number {
  if (isConfidential(vcpu.guestFpu)) return confidential(vcpu, call)
  const load = copyUabiToGuestFpu(vcpu.guestFpu, from, at, vcpu.vm.kvm.supportedXcr0)
  if (load.refusal !== null) return call.refuse(EINVAL, load.refusal.rule, load.refusal.sentence, load.refusal.details)
  if (load.pkru >= 0) vcpu.pkru = load.pkru
  return 0
}

export function getFpu(vcpu: Vcpu, call: IoctlCall): Partial<ValueOf<typeof kvm_fpu>> | number {
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

export function setFpu(vcpu: Vcpu, fpu: ValueOf<typeof kvm_fpu>, call: IoctlCall): number {
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

export function getXcrs(vcpu: Vcpu, call: IoctlCall): Partial<ValueOf<typeof kvm_xcrs>> | number {
  const refused = xcrsRefused(vcpu, call)
  if (refused < 0) return refused
  if (!vcpu.vm.kvm.model.has('xsave')) return { nr_xcrs: 0 }
  return { nr_xcrs: 1, flags: 0, xcrs: [{ xcr: 0, value: BigInt(vcpu.xcr0) }] }
}

/** The first entry for XCR0 counts; others are ignored. XSAVE-30. */
export function setXcrs(vcpu: Vcpu, xcrs: ValueOf<typeof kvm_xcrs>, call: IoctlCall): number {
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
