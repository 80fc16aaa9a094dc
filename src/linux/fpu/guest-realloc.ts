import { EFAULT, EPERM, refuse } from '../errno.ts'
import { PREEMPTION_POINT, type Preemptible, withPreemptionDisabled } from '../preemption.ts'
import type { PinnedProcessor } from '../processor.ts'
import { describeComponents } from '../refusal.ts'
import type { Task } from '../task.ts'
import { kernelSize as kernelSizeOf, userSize as userSizeOf } from './config.ts'
import type { GuestFpu } from './door.ts'
import { guestNotPermitted } from './explain.ts'
import { FpState } from './fpstate.ts'
import { type GuestFpuState, ignoresPermission, stateOf } from './guest-state.ts'
import { groupPermission } from './permission.ts'
import { loadForUser, updateXfd } from './registers.ts'

/** Room for dynamic components in a vCPU's image: asked for at KVM_SET_CPUID2 or later, as the design wants it. GFPU-35..43. */

/** Sizes of an image with all that is permitted, read under the lock. */
interface Room {
  readonly kernelSize: number
  readonly userSize: number
}

export function enableFeatures(task: Task, handle: GuestFpu, cpuidFeatures: number): number {
  const state = stateOf(handle)
  const wanted = missing(state, cpuidFeatures)
  if (wanted === 0) return 0
  if (ignoresPermission(state.kernel.xstate)) return showFeatures(state, wanted)
  const room = permittedRoom(task, cpuidFeatures, wanted)
  return typeof room === 'number' ? room : growImage(task, state, wanted, room)
}

/** The same steps with the places between them where Linux's could lose the processor. Linux 6.12 __xfd_enable_feature(), fpstate_realloc(). */
export function* enableFeaturesPreemptibly(task: Task, handle: GuestFpu, cpuidFeatures: number): Preemptible<number> {
  const state = stateOf(handle)
  const wanted = missing(state, cpuidFeatures)
  if (wanted === 0) return 0
  if (ignoresPermission(state.kernel.xstate)) return showFeatures(state, wanted)
  yield PREEMPTION_POINT
  const room = permittedRoom(task, cpuidFeatures, wanted)
  // The lock is dropped: the sizes hold for these components whatever is permitted meanwhile.
  yield PREEMPTION_POINT
  if (typeof room === 'number') return room
  const grown = allocateLarger(state, wanted, room)
  if (grown === null) return noMemory(task)
  yield PREEMPTION_POINT
  const old = state.fpstate!
  withPreemptionDisabled(task, exchangeImages, { state, grown, added: wanted })
  yield PREEMPTION_POINT
  finishGrowing(task, state, old)
  return 0
}

const missing = (state: GuestFpuState, mask: number): number =>
  mask & ~state.xfeatures & state.kernel.xstate.profile.fpu.userDynamic

/** Under the sighand lock: are these permitted, and how large is an image with all that is? A negative errno if they are not. GFPU-39. */
function permittedRoom(task: Task, cpuidFeatures: number, wanted: number): Room | number {
  const { statePerm, locked, kernelSize, userSize } = groupPermission(task, true)
  if ((statePerm & wanted) === wanted) return { kernelSize, userSize }
  const details = guestNotPermitted(task, cpuidFeatures, wanted, statePerm, locked)
  const sentence = `guest CPUID has ${describeComponents(details.bits!)}, for which the process has no guest permission (ARCH_REQ_XCOMP_GUEST_PERM)`
  return refuse(task, EPERM, 'GFPU-39', sentence, details)
}

/** The image has room for them already: user space may now read and write them. PERM-64, PERM-66. */
function showFeatures(state: GuestFpuState, wanted: number): number {
  const { xstate } = state.kernel
  const added = wanted & xstate.userMax
  if (added === 0) return 0
  const fpstate = state.fpstate!
  fpstate.userXfeatures |= added
  fpstate.userSize = userSizeOf(xstate.layout, xstate.profile, fpstate.userXfeatures)
  state.xfeatures |= added
  state.uabiSize = fpstate.userSize
  return 0
}

export function missingFeatures(handle: GuestFpu, mask: number): number {
  return missing(stateOf(handle), mask) >>> 0
}

export function requestFeatures(handle: GuestFpu, mask: number): void {
  stateOf(handle).reallocRequest |= mask
}

export function warnPendingRealloc({ id, kernel, current }: PinnedProcessor): void {
  kernel.log.warnOnce(
    `WARNING: CPU: ${id} PID: ${current!.tid} at fpu_guest_realloc_fpstate: a request is pending while the guest is entered (GFPU-35)`,
  )
}

/** Design D1, before the image is saved and put. What fails here is told nobody, and asked for again (GFPU-35). */
export function reallocate(task: Task, state: GuestFpuState): void {
  const wanted = state.reallocRequest
  const record = groupPermission(task, true)
  if ((record.statePerm & wanted) === wanted && growImage(task, state, wanted, record) === 0) {
    state.reallocRequest = 0
    return
  }
  state.kernel.trace.fpu?.('guest_realloc_failed', task, { features: wanted })
}

/** fpstate_realloc for a guest: a new zeroed image; content survives only if it is in the registers (GFPU-39, -40). */
function growImage(task: Task, state: GuestFpuState, added: number, room: Room): number {
  const grown = allocateLarger(state, added, room)
  if (grown === null) return noMemory(task)
  const old = state.fpstate!
  withPreemptionDisabled(task, exchangeImages, { state, grown, added })
  finishGrowing(task, state, old)
  return 0
}

const noMemory = (task: Task): number => refuse(task, EFAULT, 'GFPU-39', 'no memory for the larger image')

/** The guest counts as having the components from here on. Null: no memory, nothing has changed. */
function allocateLarger(state: GuestFpuState, added: number, { kernelSize, userSize }: Room): FpState | null {
  const old = state.fpstate!
  const grown = FpState.allocate(state.kernel, kernelSize, kernelSizeOf(state.kernel.xstate, old.xfeatures | added))
  if (grown === null) return null
  grown.size = kernelSize
  grown.userSize = userSize
  grown.isValloc = true
  grown.isGuest = true
  grown.isConfidential = old.isConfidential
  grown.inUse = old.inUse
  state.xfeatures |= added
  state.uabiSize = userSize
  return grown
}

/** Between fpregs_lock() and fpregs_unlock(): the larger image takes the old one's place, in the thread too if it is active there. */
function exchangeImages(cpu: PinnedProcessor, what: { state: GuestFpuState; grown: FpState; added: number }): void {
  const { state, grown, added } = what
  const old = state.fpstate!
  const { fpu } = cpu.current!
  const active = fpu.fpstate === old
  if (active && fpu.needLoad) loadForUser(fpu, cpu)
  grown.xfeatures = old.xfeatures | added
  grown.userXfeatures = old.userXfeatures | added
  grown.xfd = old.xfd & ~added
  grown.initXcompBv(state.kernel.xstate)
  state.fpstate = grown
  if (!active) return
  fpu.fpstate = grown
  updateXfd(fpu, cpu, grown)
}

function finishGrowing(task: Task, state: GuestFpuState, old: FpState): void {
  const { xfeatures, size } = state.fpstate!
  state.kernel.trace.fpu?.('guest_fpstate_grown', task, { features: xfeatures, size, uabiSize: state.uabiSize })
  old.free()
}
