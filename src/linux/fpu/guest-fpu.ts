import { FXSAVE, XFEATURE_MASK_FPSSE, XSTATE_BV_OFFSET } from '../../isa/xfeatures.ts'
import { EINVAL } from '../errno.ts'
import type { Kernel } from '../kernel.ts'
import { calledFrom, HostOops } from '../oops.ts'
import { PREEMPTION_POINT, type Preemptible } from '../preemption.ts'
import type { PinnedProcessor } from '../processor.ts'
import { describeComponents, refusedBy, u64Of } from '../refusal.ts'
import type { Task } from '../task.ts'
import { kernelSize as kernelSizeOf, type XstateConfig } from './config.ts'
import type { GuestFpu, HostXstate, UabiLoad } from './door.ts'
import { imageDetails } from './explain.ts'
import { FpState } from './fpstate.ts'
import { reallocate, warnPendingRealloc } from './guest-realloc.ts'
import { GuestFpuState, ignoresPermission, imageOf, stateOf } from './guest-state.ts'
import type { FxsaveFields } from './legacy-fields.ts'
import { reportOverrun } from './overrun.ts'
import { groupPermission } from './permission.ts'
import { noteXfd } from './register-owner.ts'
import { loadForUser, markActive, restoreRegisters, saveRegisters, updateXfd as writeXfd } from './registers.ts'
import type { FpuThread } from './thread-fpu.ts'
import {
  checkFeatures,
  checkHeader,
  checkMxcsr,
  componentAt,
  get32,
  copyFromUabi as loadUabi,
  put32,
  reservedMxcsr,
  copyToUabi as storeUabi,
  type UabiRefusal,
} from './uabi-copy.ts'

export function allocate(task: Task): GuestFpu | null {
  const fpu = newImage(task)
  if (fpu !== null) lockPermissions(task)
  return fpu
}

/** The same steps with the places where Linux's could lose the processor. Linux 6.12 fpu_alloc_guest_fpstate(). */
export function* allocatePreemptibly(task: Task): Preemptible<GuestFpu | null> {
  yield PREEMPTION_POINT
  const fpu = newImage(task)
  yield PREEMPTION_POINT
  if (fpu !== null) lockPermissions(task)
  yield PREEMPTION_POINT
  return fpu
}

/** Under the sighand lock: the process has a vCPU (PERM-23). */
function lockPermissions(task: Task): void {
  groupPermission(task, true).locked = true
}

function newImage(task: Task): GuestFpu | null {
  const { kernel } = task
  const { xstate } = kernel
  // Where KVM does not ask for permission it gets room for all it may want at once (PERM-64).
  const features = ignoresPermission(xstate) ? xstate.kernelMax : xstate.guestDefault
  const size = kernelSizeOf(xstate, features)
  const fpstate = FpState.allocate(kernel, size)
  if (fpstate === null) return null
  fpstate.size = size
  fpstate.userSize = xstate.userDefaultSize
  fpstate.xfeatures = features
  fpstate.userXfeatures = xstate.userDefault
  fpstate.xfd = 0 // the reset value, unlike host threads (GFPU-02)
  fpstate.isValloc = true
  fpstate.isGuest = true
  fpstate.initImage(xstate)
  return new GuestFpuState(kernel, fpstate) as unknown as GuestFpu
}

export function free(handle: GuestFpu): void {
  const state = stateOf(handle)
  const fpstate = imageOf(handle)
  if (fpstate.inUse || !fpstate.isValloc || !fpstate.isGuest) {
    state.kernel.log.warnOnce('WARNING: fpu_free_guest_fpstate: image in use (GFPU-05)')
    return
  }
  fpstate.free()
  state.fpstate = null
}

export function load(cpu: PinnedProcessor, handle: GuestFpu): void {
  const { fpu } = cpu.current!
  const image = imageOf(handle)
  if (stateOf(handle).reallocRequest !== 0) warnPendingRealloc(cpu)
  saveCurrent(fpu, cpu)
  fpu.taskFpstate = fpu.fpstate
  fpu.fpstate = image
  image.inUse = true
  activate(fpu, cpu)
}

export function put(cpu: PinnedProcessor, handle: GuestFpu): void {
  const { fpu } = cpu.current!
  const state = stateOf(handle)
  if (state.reallocRequest !== 0) reallocate(cpu.current!, state)
  saveCurrent(fpu, cpu)
  imageOf(handle).inUse = false
  if (fpu.taskFpstate === null) {
    throw new HostOops('BUG: kernel NULL pointer dereference', 'GFPU-16', 'the thread has no buffer of its own to go back to', {
      function: 'fpu_swap_kvm_fpstate',
      registers: {},
    })
  }
  fpu.fpstate = fpu.taskFpstate
  fpu.taskFpstate = null
  activate(fpu, cpu)
}

function saveCurrent(fpu: FpuThread, cpu: PinnedProcessor): void {
  if (!fpu.fpstate.isConfidential && !fpu.needLoad) saveRegisters(fpu, cpu)
}

function activate(fpu: FpuThread, cpu: PinnedProcessor): void {
  try {
    if (fpu.fpstate.isConfidential) writeXfd(fpu, cpu, fpu.fpstate)
    else restoreRegisters(fpu, cpu, fpu.fpstate, fpu.config.restoreMask)
  } catch (error) {
    throw calledFrom(error, 'fpu_swap_kvm_fpstate')
  }
  markActive(fpu, cpu)
}

export function ensureRegistersLoaded(cpu: PinnedProcessor): void {
  const { fpu } = cpu.current!
  if (fpu.needLoad) loadForUser(fpu, cpu)
}

export function imageBytes(handle: GuestFpu): number {
  return stateOf(handle).fpstate?.allocatedBytes ?? 0
}

export function uabiSize(handle: GuestFpu): number {
  return stateOf(handle).uabiSize
}

export function uabiBuffer(handle: GuestFpu): number {
  return stateOf(handle).kernel.xstate.scratchImage
}

export function copyToUabi(handle: GuestFpu, into: Uint8Array, at: number, size: number, trim: number, pkru: number): void {
  const { kernel } = stateOf(handle)
  const { mem } = kernel.machine
  const fpstate = imageOf(handle)
  if (kernel.xstate.xsave) {
    if (fpstate.shortBy !== 0) noteOverrun(kernel, fpstate, 'Read', '__copy_xstate_to_uabi_buf', fpstate.xstateBv & trim)
    storeUabi(kernel.xstate, mem, fpstate, into, at, size, trim, pkru)
    return
  }
  into.fill(0, at, at + size)
  into.set(mem.u8.subarray(fpstate.image, fpstate.image + 512), at)
  into[at + XSTATE_BV_OFFSET] = XFEATURE_MASK_FPSSE // XSAVE-12
}

export function copyFromUabi(handle: GuestFpu, from: Uint8Array, at: number, supported: number): UabiLoad {
  const { kernel } = stateOf(handle)
  const { xstate } = kernel
  const { mem } = kernel.machine
  const fpstate = imageOf(handle)
  if (!xstate.xsave) return loadLegacyOnly(kernel, fpstate, from, at)
  if (xstate.profile.xsave.setDropsUnsupported) {
    put32(from, at + XSTATE_BV_OFFSET, get32(from, at + XSTATE_BV_OFFSET) & supported & fpstate.userXfeatures)
    put32(from, at + XSTATE_BV_OFFSET + 4, 0)
  }
  const hi = get32(from, at + XSTATE_BV_OFFSET + 4)
  let features = get32(from, at + XSTATE_BV_OFFSET)
  if (xstate.profile.xsave.setMasksWithXfd && (features & fpstate.xfd) !== 0) {
    features &= ~fpstate.xfd
    put32(from, at + XSTATE_BV_OFFSET, features)
  }
  if ((features & ~supported) !== 0 || hi !== 0) return refusedLoad(unsupportedImage(features, hi, supported))
  const refusal = checkGuestImage(xstate, fpstate, from, at)
  if (refusal !== null) return refusedLoad(refusal)
  if (fpstate.shortBy !== 0) noteOverrun(kernel, fpstate, 'Write', 'copy_uabi_to_xstate', features)
  return { status: 0, pkru: loadUabi(xstate, mem, fpstate, from, at), refusal: null }
}

/** XSAVE-17. */
function unsupportedImage(lo: number, hi: number, supported: number): UabiRefusal {
  const gate = refusedBy('host KVM', 'components that KVM supports here', supported)
  const details = imageDetails(lo, hi, supported, 'this host with KVM supports', [gate])
  return {
    rule: 'XSAVE-17',
    sentence: `xstate_bv has ${describeComponents(details.bits!)}, which KVM on this host does not support`,
    details,
  }
}

function noteOverrun(kernel: Kernel, fpstate: FpState, kind: 'Read' | 'Write', name: string, moved: number): void {
  reportOverrun(kernel, fpstate, { kind, function: name, task: null }, moved)
}

/** What an image must satisfy in the profile's era (XSAVE §5). */
function checkGuestImage(xstate: XstateConfig, fpstate: FpState, from: Uint8Array, at: number): UabiRefusal | null {
  const { setRequiresImageFeatures, setChecksHeader, setAlwaysChecksMxcsr } = xstate.profile.xsave
  return (
    (setRequiresImageFeatures ? ofEra(xstate, checkFeatures(fpstate, from, at)) : null) ??
    (setChecksHeader ? checkHeader(from, at) : null) ??
    checkMxcsr(xstate, from, at, setAlwaysChecksMxcsr)
  )
}

/** Where KVM_SET_CPUID2 has narrowed what the image accepts, that is the reason (XSAVE-35). */
function ofEra({ profile, userMax }: XstateConfig, refusal: UabiRefusal | null): UabiRefusal | null {
  const bits = refusal?.details.bits
  if (refusal === null || bits == null || !profile.xsave.setBoundToGuestFeatures || (bits.mask & ~u64Of(userMax)) !== 0n)
    return refusal
  const sentence = `xstate_bv has ${describeComponents(bits)}, host profile ${profile.name} accepts only the guest's own features`
  return { ...refusal, rule: 'XSAVE-35', sentence }
}

/** XSAVE-25. */
function loadLegacyOnly(kernel: Kernel, fpstate: FpState, from: Uint8Array, at: number): UabiLoad {
  const view = new DataView(from.buffer, from.byteOffset + at)
  const features = view.getInt32(XSTATE_BV_OFFSET, true)
  const hi = view.getInt32(XSTATE_BV_OFFSET + 4, true)
  if ((features & ~XFEATURE_MASK_FPSSE) !== 0 || hi !== 0) {
    const details = imageDetails(features, hi, XFEATURE_MASK_FPSSE, 'a host without XSAVE takes', [
      refusedBy('CPUID bit', 'XSAVE', 0),
    ])
    return refusedLoad({ rule: 'XSAVE-25', sentence: 'a host without XSAVE takes FP and SSE only', details })
  }
  const mxcsr = view.getUint32(FXSAVE.MXCSR, true)
  const { mxcsrMask } = kernel.xstate
  if ((mxcsr & ~mxcsrMask) !== 0) return refusedLoad({ rule: 'XSAVE-25', ...reservedMxcsr(mxcsr, mxcsrMask) })
  kernel.machine.mem.u8.set(from.subarray(at, at + 512), fpstate.image)
  return { status: 0, pkru: -1, refusal: null }
}

function refusedLoad(refusal: UabiRefusal): UabiLoad {
  return { status: -EINVAL, pkru: -1, refusal }
}

export function userFeatures(handle: GuestFpu): number {
  return imageOf(handle).userXfeatures
}
export function setUserFeatures(handle: GuestFpu, mask: number): void {
  const image = imageOf(handle)
  // A component without room cannot be loaded, whatever the guest's CPUID says (designs D1 and D2).
  image.userXfeatures = mask & image.xfeatures
}

export function readLegacy(handle: GuestFpu, into: FxsaveFields): void {
  const { mem } = stateOf(handle).kernel.machine
  const { image } = imageOf(handle)
  into.fcw = mem.view.getUint16(image + FXSAVE.FCW, true)
  into.fsw = mem.view.getUint16(image + FXSAVE.FSW, true)
  into.ftw = mem.u8[image + FXSAVE.FTW]
  into.fop = mem.view.getUint16(image + FXSAVE.FOP, true)
  into.fipLo = mem.view.getInt32(image + FXSAVE.FIP, true)
  into.fipHi = mem.view.getInt32(image + FXSAVE.FIP + 4, true)
  into.fdpLo = mem.view.getInt32(image + FXSAVE.FDP, true)
  into.fdpHi = mem.view.getInt32(image + FXSAVE.FDP + 4, true)
  into.st.set(mem.u8.subarray(image + FXSAVE.ST, image + FXSAVE.XMM))
  into.xmm.set(mem.u8.subarray(image + FXSAVE.XMM, image + FXSAVE.RESERVED))
}

export function writeLegacy(handle: GuestFpu, from: FxsaveFields): void {
  const { mem } = stateOf(handle).kernel.machine
  const { image } = imageOf(handle)
  mem.view.setUint16(image + FXSAVE.FCW, from.fcw, true)
  mem.view.setUint16(image + FXSAVE.FSW, from.fsw, true)
  mem.u8[image + FXSAVE.FTW] = from.ftw
  mem.view.setUint16(image + FXSAVE.FOP, from.fop, true)
  mem.view.setInt32(image + FXSAVE.FIP, from.fipLo, true)
  mem.view.setInt32(image + FXSAVE.FIP + 4, from.fipHi, true)
  mem.view.setInt32(image + FXSAVE.FDP, from.fdpLo, true)
  mem.view.setInt32(image + FXSAVE.FDP + 4, from.fdpHi, true)
  mem.u8.set(from.st, image + FXSAVE.ST)
  mem.u8.set(from.xmm, image + FXSAVE.XMM)
}

export function xfd(handle: GuestFpu): number {
  return imageOf(handle).xfd
}

export function updateXfd(cpu: PinnedProcessor, handle: GuestFpu, value: number): void {
  const { kernel } = stateOf(handle)
  const image = imageOf(handle)
  const { fpu } = cpu.current!
  const { xfdWriteClearsImage, xfdWriteAlwaysClearsImage } = kernel.xstate.profile.xsave
  if (xfdWriteAlwaysClearsImage || (xfdWriteClearsImage && fpu.needLoad)) image.xstateBv &= ~value
  image.xfd = value
  if (image.inUse) writeXfd(fpu, cpu, image)
}

export function syncXfdAfterExit(cpu: PinnedProcessor): void {
  const { fpu } = cpu.current!
  if (!fpu.config.dynamicSizing) return
  fpu.fpstate.xfd = cpu.processor.rdmsrXfd()
  noteXfd(cpu, fpu.fpstate.xfd)
}

export function xfdErr(handle: GuestFpu): number {
  return stateOf(handle).xfdErr
}
export function setXfdErr(handle: GuestFpu, value: number): void {
  stateOf(handle).xfdErr = value
}

export function permission(task: Task): number {
  const { xstate } = task.kernel
  if (xstate.profile.permissions.guestPermission === 'ignored') return xstate.kernelMax
  return groupPermission(task, true).statePerm
}

export function clearComponent(handle: GuestFpu, component: number): void {
  const { kernel } = stateOf(handle)
  const image = imageOf(handle)
  if (((image.xstateBv >>> component) & 1) === 0) return
  const at = componentAt(kernel.xstate, image, component)
  kernel.machine.mem.u8.fill(0, at, at + kernel.xstate.layout.sizes[component])
}

export function isLoaded(handle: GuestFpu): boolean {
  return imageOf(handle).inUse
}

export function setConfidential(handle: GuestFpu): void {
  imageOf(handle).isConfidential = true
}
export function isConfidential(handle: GuestFpu): boolean {
  return imageOf(handle).isConfidential
}

export function hostXstate(task: Task): HostXstate {
  const { xstate } = task.kernel
  return { xcr0: xstate.userMax, xss: xstate.xss, dynamic: xstate.dynamic, mxcsrMask: xstate.mxcsrMask }
}

export function hostPkru(task: Task): number {
  return task.cpu === null ? task.fpu.pkru : task.cpu.processor.pkru
}
