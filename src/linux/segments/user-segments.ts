import { SEGMENT } from '../../machine/memory-map.ts'
import { forceFault } from '../signal/send.ts'
import { SI_KERNEL, SIGBUS, SIGSEGV } from '../signal/signals.ts'
import type { Task } from '../task.ts'
import {
  codeSegmentFault,
  findDescriptor,
  stackSegmentFault,
  USER_CS,
  USER_CS_RIGHTS,
  USER_DS,
  USER_DS_RIGHTS,
} from './descriptors.ts'

/** The segments a 64-bit program starts with (LUX-02): flat CS and SS, null data segments with base 0. */
export function setInitialSegments(task: Task): void {
  const { context } = task
  context.setSegment(SEGMENT.CS, USER_CS, USER_CS_RIGHTS, 0xffffffff, 0, 0)
  context.setSegment(SEGMENT.SS, USER_DS, USER_DS_RIGHTS, 0xffffffff, 0, 0)
  for (const segment of [SEGMENT.DS, SEGMENT.ES, SEGMENT.FS, SEGMENT.GS]) context.setSegment(segment, 0, 0x10000, 0, 0, 0)
}

export function set64BitCode(task: Task): void {
  task.context.setSegment(SEGMENT.CS, USER_CS, USER_CS_RIGHTS, 0xffffffff, 0, 0)
}

/** SS for a signal handler: kept if it is a valid user data segment, else replaced (LUX-44). */
export function forceValidStack(task: Task): void {
  const selector = task.context.selector(SEGMENT.SS)
  if (selector === USER_DS || stackSegmentFault(findDescriptor(task, selector)) === 0) return
  task.context.setSegment(SEGMENT.SS, USER_DS, USER_DS_RIGHTS, 0xffffffff, 0, 0)
}

/** What IRET to `cs:ss` would raise. */
export interface ReturnFault {
  readonly vector: number
  readonly errorCode: number
}

/** Loads CS and SS as IRET to user mode does; the fault it would raise leaves the old ones in place except selectors. */
export function loadReturnSegments(task: Task, cs: number, ss: number): ReturnFault | null {
  const code = findDescriptor(task, cs)
  const codeFault = codeSegmentFault(code)
  if (codeFault !== 0) return { vector: codeFault, errorCode: cs & ~3 }
  const stack = findDescriptor(task, ss)
  const stackFault = stackSegmentFault(stack)
  if (stackFault !== 0) return { vector: stackFault, errorCode: ss & ~3 }
  const { context } = task
  context.setSegment(SEGMENT.CS, cs, code!.rights, code!.limit, code!.base | 0, 0)
  context.setSegment(SEGMENT.SS, ss, stack!.rights, stack!.limit, stack!.base | 0, 0)
  return null
}

/** IRET to user mode faulted: the signal of #NP, #SS or #GP, with the selector as error code (LUX-40, -48). */
export function raiseReturnFault(task: Task, fault: ReturnFault): void {
  task.trap.number = fault.vector
  task.trap.errorCode = fault.errorCode
  forceFault(task, { signal: fault.vector === 13 ? SIGSEGV : SIGBUS, code: SI_KERNEL, address: 0 })
}

/** The interrupted code is 64-bit code: told by the selector, as after a failed IRET the segment itself is still the old one. */
export function in64BitMode(task: Task): boolean {
  return task.context.selector(SEGMENT.CS) === USER_CS
}

/** The descriptor behind `selector` changed: data segments that hold it are loaded again, or become null (refresh_ldt_segments). */
export function reloadDataSegments(task: Task, matches: (selector: number) => boolean): void {
  const { context } = task
  for (const segment of [SEGMENT.DS, SEGMENT.ES, SEGMENT.FS, SEGMENT.GS]) {
    const selector = context.selector(segment)
    if (selector === 0 || !matches(selector)) continue
    const descriptor = findDescriptor(task, selector)
    if (descriptor === null || (descriptor.rights & 0x80) === 0) context.setSegment(segment, 0, 0x10000, 0, 0, 0)
    else context.setSegment(segment, selector, descriptor.rights, descriptor.limit, descriptor.base | 0, 0)
  }
}
