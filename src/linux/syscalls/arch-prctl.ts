import { SEGMENT } from '../../machine/memory-map.ts'
import { EFAULT, EINVAL, ENODEV, EPERM } from '../errno.ts'
import {
  ARCH_GET_XCOMP_GUEST_PERM,
  ARCH_GET_XCOMP_SUPP,
  ARCH_REQ_XCOMP_GUEST_PERM,
  ARCH_REQ_XCOMP_PERM,
  requestPermissionPreemptibly,
  xstatePrctl,
} from '../fpu/permission.ts'
import { TASK_SIZE_MAX } from '../mm/layout.ts'
import type { MaybePreemptible, Preemptible } from '../preemption.ts'
import { ARCH_SHSTK_ENABLE, ARCH_SHSTK_STATUS, shadowStackPrctl } from '../shstk/prctl.ts'
import type { Task } from '../task.ts'
import type { SyscallArguments } from './arguments.ts'

const ARCH_SET_GS = 0x1001
const ARCH_SET_FS = 0x1002
const ARCH_GET_FS = 0x1003
const ARCH_GET_GS = 0x1004
const ARCH_GET_CPUID = 0x1011
const ARCH_SET_CPUID = 0x1012
const ARCH_GET_UNTAG_MASK = 0x4001
const ARCH_ENABLE_TAGGED_ADDR = 0x4002
const ARCH_GET_MAX_TAG_BITS = 0x4003
const ARCH_FORCE_TAGGED_SVA = 0x4004

/** arch_prctl(2): LUX §6, file 10 §4. An option nobody knows is EINVAL (LUX-32). */
export function archPrctl(task: Task, a: SyscallArguments): MaybePreemptible<number> {
  const option = a.int(0)
  const { profile } = task.kernel
  if (option >= ARCH_GET_XCOMP_SUPP && option <= ARCH_REQ_XCOMP_GUEST_PERM) {
    const guest = option >= ARCH_GET_XCOMP_GUEST_PERM
    if (!(guest ? profile.permissions.guestPermSupported : profile.permissions.hostPermSupported)) return -EINVAL
    return requestOrGet(task, a, option)
  }
  if (option >= ARCH_SHSTK_ENABLE && option <= ARCH_SHSTK_STATUS) {
    return profile.cet.userShadowStack ? shadowStackPrctl(task, task, option, a.u32(1) | 0, a.high(1)) : -EINVAL
  }
  switch (option) {
    case ARCH_SET_FS:
      return setBase(task, SEGMENT.FS, a)
    case ARCH_SET_GS:
      return setBase(task, SEGMENT.GS, a)
    case ARCH_GET_FS:
      return getBase(task, SEGMENT.FS, a.long(1))
    case ARCH_GET_GS:
      return getBase(task, SEGMENT.GS, a.long(1))
    case ARCH_GET_CPUID:
      return 1
    case ARCH_SET_CPUID:
      return -ENODEV // no CPUID faulting
    case ARCH_GET_UNTAG_MASK:
      return !profile.userAbi.taggedAddresses ? -EINVAL : task.mm.putUser64(a.long(1), -1, -1) ? 0 : -EFAULT
    case ARCH_ENABLE_TAGGED_ADDR:
      return profile.userAbi.taggedAddresses ? -ENODEV : -EINVAL
    case ARCH_GET_MAX_TAG_BITS:
      return !profile.userAbi.taggedAddresses ? -EINVAL : task.mm.putUser64(a.long(1), 0, 0) ? 0 : -EFAULT
    case ARCH_FORCE_TAGGED_SVA:
      return profile.userAbi.taggedAddresses ? 0 : -EINVAL
    default:
      return -EINVAL
  }
}

function requestOrGet(task: Task, a: SyscallArguments, option: number): MaybePreemptible<number> {
  const lo = a.u32(1) | 0
  const hi = a.high(1)
  const isRequest = option === ARCH_REQ_XCOMP_PERM || option === ARCH_REQ_XCOMP_GUEST_PERM
  if (isRequest && task.kernel.yieldsEverywhere) return request(task, lo, hi, option === ARCH_REQ_XCOMP_GUEST_PERM)
  const result = xstatePrctl(task, option, lo, hi, a.long(1))
  if (isRequest) traceRequest(task, lo, option === ARCH_REQ_XCOMP_GUEST_PERM, result)
  return result
}

function* request(task: Task, lo: number, hi: number, guest: boolean): Preemptible<number> {
  const result = yield* requestPermissionPreemptibly(task, lo, hi, guest)
  traceRequest(task, lo, guest, result)
  return result
}

function traceRequest(task: Task, component: number, guest: boolean, result: number): void {
  task.kernel.trace.fpu?.('permission_request', task, { component, guest: guest ? 1 : 0, result })
}

/** The selector becomes 0, the base is loaded. */
function setBase(task: Task, segment: number, a: SyscallArguments): number {
  const address = a.long(1)
  if (address < 0 || address >= TASK_SIZE_MAX) return -EPERM
  task.context.setSegment(segment, 0, 0x10000, 0, address | 0, Math.floor(address / 4294967296))
  return 0
}

function getBase(task: Task, segment: number, user: number): number {
  const { context } = task
  return task.mm.putUser64(user, context.segmentBaseLo(segment), context.segmentBaseHi(segment)) ? 0 : -EFAULT
}
