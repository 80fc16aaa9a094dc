import { XFEATURE_MASK_FPSSE, xfeatureNames } from '../../isa/xfeatures.ts'
import { EBUSY, EFAULT, EINVAL, ENOMEM, ENOSPC, EOPNOTSUPP, refuse } from '../errno.ts'
import { PREEMPTION_POINT, type Preemptible } from '../preemption.ts'
import { countSide, passed, refusedBy } from '../refusal.ts'
import type { Task } from '../task.ts'
import { kernelSize, userSize as userSizeOf, type XstateConfig } from './config.ts'
import { notDynamic, notGranted, notSupported, unknownComponent } from './explain.ts'
import type { PermissionRecord } from './thread-fpu.ts'

export const ARCH_GET_XCOMP_SUPP = 0x1021
export const ARCH_GET_XCOMP_PERM = 0x1022
export const ARCH_REQ_XCOMP_PERM = 0x1023
export const ARCH_GET_XCOMP_GUEST_PERM = 0x1024
export const ARCH_REQ_XCOMP_GUEST_PERM = 0x1025

/** The records that count are the thread-group leader's (PERM §4). */
export function groupPermission(task: Task, guest: boolean): PermissionRecord {
  const { fpu } = task.group.leader
  return guest ? fpu.guestPerm : fpu.perm
}

/** arch_prctl options 0x1021..0x1025. PERM-16..23. */
export function xstatePrctl(task: Task, option: number, argumentLo: number, argumentHi: number, user: number): number {
  const { xstate } = task.kernel
  const userSupported = xstate.profile.fpu.userSupported
  switch (option) {
    case ARCH_GET_XCOMP_SUPP:
      return store(task, user, xstate.userMax | XFEATURE_MASK_FPSSE)
    case ARCH_GET_XCOMP_PERM:
      return store(task, user, groupPermission(task, false).statePerm & userSupported)
    case ARCH_GET_XCOMP_GUEST_PERM:
      return store(task, user, groupPermission(task, true).statePerm & userSupported)
    case ARCH_REQ_XCOMP_PERM:
      return requestPermission(task, argumentLo, argumentHi, false)
    case ARCH_REQ_XCOMP_GUEST_PERM:
      return requestPermission(task, argumentLo, argumentHi, true)
    default:
      return -EINVAL
  }
}

function store(task: Task, user: number, mask: number): number {
  return task.mm.putUser64(user, mask, 0) ? 0 : refuse(task, EFAULT, 'PERM-16', 'the result pointer is not writable')
}

/** The checks of PERM-17, in their order. */
function requestPermission(task: Task, lo: number, hi: number, guest: boolean): number {
  const requested = facilityOf(task, lo, hi)
  if (requested < 0) return requested
  if (isPermitted(task, requested, guest)) return 0
  return requestUnderLock(task, lo, requested, guest)
}

/** ARCH_REQ_XCOMP_PERM and _GUEST_PERM with the places where Linux's could lose the processor. Linux 6.12 xstate_request_perm(). */
export function* requestPermissionPreemptibly(task: Task, lo: number, hi: number, guest: boolean): Preemptible<number> {
  yield PREEMPTION_POINT
  const requested = facilityOf(task, lo, hi)
  if (requested < 0) return requested
  if (isPermitted(task, requested, guest)) return 0
  // What was seen without the lock is not relied on.
  yield PREEMPTION_POINT
  const result = requestUnderLock(task, lo, requested, guest)
  yield PREEMPTION_POINT
  return result
}

/** The components that are asked for with this one, or a negative errno. */
function facilityOf(task: Task, lo: number, hi: number): number {
  const { xstate } = task.kernel
  const { permissions } = xstate.profile
  if (hi !== 0 || lo >>> 0 >= permissions.xfeatureMax) {
    const sentence = `component numbers end at ${permissions.xfeatureMax - 1}`
    return refuse(task, EINVAL, 'PERM-17', sentence, unknownComponent(task, lo, hi))
  }
  const component = lo
  const facility = permissions.facilities.find(({ highestComponent }) => highestComponent === component)
  if (facility === undefined) {
    return refuse(
      task,
      EOPNOTSUPP,
      'PERM-17',
      `component ${component} is not one that needs permission`,
      notDynamic(task, component),
    )
  }
  const requested = facility.components
  if ((xstate.userMax & requested) !== requested) {
    const details = notSupported(task, component, requested)
    return refuse(task, EOPNOTSUPP, 'PERM-17', `this host does not support ${xfeatureNames(requested).join(' ')}`, details)
  }
  return requested
}

/** Nothing is to be done; PERM-66 where nobody has to ask for guests. */
function isPermitted(task: Task, requested: number, guest: boolean): boolean {
  if ((groupPermission(task, guest).statePerm & requested) === requested) return true
  return guest && task.kernel.xstate.profile.permissions.guestPermission === 'ignored'
}

/** Under the sighand lock: whether a vCPU exists is looked at, and the permission given, in one. PERM-23. */
function requestUnderLock(task: Task, component: number, requested: number, guest: boolean): number {
  const record = groupPermission(task, guest)
  if (guest && record.locked) {
    const lock = refusedBy('vCPU lock', 'a vCPU exists', 1)
    const details = notGranted(task, component, requested, record.statePerm, true, lock)
    return refuse(task, EBUSY, 'PERM-23', 'the process has created a vCPU: guest permissions are locked', details)
  }
  return grant(task, task.kernel.xstate, record, requested, guest)
}

/** PERM-20, -28, §10. */
function grant(task: Task, xstate: XstateConfig, record: PermissionRecord, requested: number, guest: boolean): number {
  const { permissions } = xstate.profile
  let mask = record.statePerm | requested
  if (!guest && permissions.hostSizeForcesSupervisor) mask |= xstate.supervisor
  const user = mask & xstate.profile.fpu.userSupported
  const userSize = userSizeOf(xstate.layout, xstate.profile, user)
  if (!guest) {
    const need = xstate.maxFrame - xstate.userMaxSize + userSize
    for (const thread of task.group.tasks) {
      const { size } = thread.altStack
      if (size === 0 || size >= need) continue
      const sentence = `thread ${thread.tid} has an alternate stack of ${size} bytes, a frame needs ${need}`
      const stack = refusedBy('sigaltstack', `alternate stack of thread ${thread.tid}, bytes`, size)
      const details = notGranted(task, 31 - Math.clz32(requested), requested, record.statePerm, false, stack)
      const sides = [...(details.sides ?? []), countSide('alternate stack, bytes', size), countSide('signal frame, bytes', need)]
      return refuse(task, ENOSPC, 'PERM-28', sentence, { ...details, sides })
    }
  }
  record.kernelSize = kernelSize(xstate, mask)
  record.userSize = userSize
  record.statePerm = permissions.keepsSupervisorBits ? mask : user
  if (!permissions.keepsSupervisorBits) record.locked = false // PERM-61: the store drops flag bits too
  return 0
}

/** sigaltstack(2)'s own size check beyond MINSIGSTKSZ (PERM-29). 0 or -ENOMEM. */
export function validateAltStackSize(task: Task, size: number): number {
  const { xstate } = task.kernel
  const strict = xstate.strictSigaltstack
  if (!xstate.dynamicSizing && !strict) return 0
  const record = groupPermission(task, false)
  const limit = xstate.maxFrame - (xstate.userMaxSize + xstate.frameExtra) + record.userSize
  if (size > limit) return 0
  if (!strict && (record.statePerm & xstate.dynamic) === 0) return 0
  const sentence = `an alternate stack of ${size} bytes cannot hold a signal frame: more than ${limit} are needed`
  return refuse(task, ENOMEM, 'PERM-29', sentence, {
    asked: { kind: 'stack', name: 'alternate signal stack', value: BigInt(size) },
    sides: [countSide('alternate stack, bytes', size), countSide('signal frame, bytes', limit)],
    chain: [
      passed('permission', 'permission of the process', record.statePerm),
      refusedBy('sigaltstack', 'more bytes than this are needed', limit),
    ],
  })
}
