import { SEGMENT } from '../../machine/memory-map.ts'
import { EFAULT, EINVAL, ENOMEM, ENOSYS, ESRCH } from '../errno.ts'
import { withPreemptionDisabled } from '../preemption.ts'
import type { Task } from '../task.ts'
import { type Descriptor, GDT_TLS_ENTRIES, GDT_TLS_MIN } from './descriptors.ts'
import { descriptorHigh, descriptorLow } from './tables.ts'
import { loadReturnSegments, raiseReturnFault, reloadDataSegments } from './user-segments.ts'

/** modify_ldt(2) and set_thread_area (LUX-57, -59). This kernel is built without 16-bit segments. */

const LDT_ENTRIES = 8192

/** struct user_desc, 16 bytes. */
interface UserDescriptor {
  readonly entry: number
  readonly base: number
  readonly limit: number
  readonly seg32: boolean
  readonly contents: number
  readonly readExecOnly: boolean
  readonly limitInPages: boolean
  readonly notPresent: boolean
  readonly useable: boolean
  readonly long: boolean
}

function readUserDescriptor(task: Task, user: number): UserDescriptor | null {
  const bytes = new Uint8Array(16)
  if (!task.mm.copyFromUser(bytes, 0, user, 16)) return null
  const view = new DataView(bytes.buffer)
  const bits = view.getUint32(12, true)
  return {
    entry: view.getUint32(0, true),
    base: view.getUint32(4, true),
    limit: view.getUint32(8, true),
    seg32: (bits & 1) !== 0,
    contents: (bits >> 1) & 3,
    readExecOnly: (bits & 8) !== 0,
    limitInPages: (bits & 16) !== 0,
    notPresent: (bits & 32) !== 0,
    useable: (bits & 64) !== 0,
    long: (bits & 128) !== 0,
  }
}

/** Everything 0 except the two "not" flags: the entry is cleared. */
function isEmpty(d: UserDescriptor): boolean {
  return (
    d.base === 0 &&
    d.limit === 0 &&
    d.contents === 0 &&
    d.readExecOnly &&
    !d.seg32 &&
    !d.limitInPages &&
    d.notPresent &&
    !d.useable
  )
}

function encode(d: UserDescriptor): Descriptor {
  const type = (d.readExecOnly ? 0 : 2) | (d.contents << 2) | 1
  const rights =
    type |
    0x10 |
    0x60 |
    (d.notPresent ? 0 : 0x80) |
    (d.useable ? 0x1000 : 0) |
    (d.seg32 ? 0x4000 : 0) |
    (d.limitInPages ? 0x8000 : 0)
  const limit = d.limitInPages ? ((d.limit & 0xfffff) * 4096 + 0xfff) >>> 0 : d.limit & 0xfffff
  return { rights, base: d.base, limit }
}

/** func 0: copies the table out in hardware format. Bytes written. */
export function readLdt(task: Task, user: number, length: number): number {
  const { ldt } = task.mm
  // The size is unsigned: a negative one is huge.
  const bytes = new Uint8Array(length < 0 ? ldt.length * 8 : Math.min(length, ldt.length * 8))
  const view = new DataView(bytes.buffer)
  for (let i = 0; i * 8 + 8 <= bytes.length; i++) {
    const descriptor = ldt[i]
    if (descriptor === undefined) continue
    view.setInt32(i * 8, descriptorLow(descriptor), true)
    view.setInt32(i * 8 + 4, descriptorHigh(descriptor), true)
  }
  return task.mm.copyToUser(user, bytes, 0, bytes.length) ? bytes.length : -EFAULT
}

/** func 1 (old mode), 0x11, 2 (default: an empty table). */
export function writeLdt(task: Task, func: number, user: number, length: number): number {
  if (func === 2) {
    const size = length < 0 ? 128 : Math.min(length, 128)
    return task.mm.clearUser(user, size) ? size : -EFAULT
  }
  if (func !== 1 && func !== 0x11) return -ENOSYS
  const oldMode = func === 1
  if (length !== 16) return -EINVAL
  const d = readUserDescriptor(task, user)
  if (d === null) return -EFAULT
  if (d.entry >= LDT_ENTRIES) return -EINVAL
  if (d.contents === 3 && (oldMode || !d.notPresent)) return -EINVAL
  const { ldt } = task.mm
  if ((oldMode && d.base === 0 && d.limit === 0) || isEmpty(d)) {
    ldt[d.entry] = undefined
    reloadLdtUsers(task, d.entry)
    if (task.mm.ldtPages !== 0) task.kernel.descriptors.writeLdtEntry(task.mm, d.entry)
    return 0
  }
  if (!d.seg32) return -EINVAL
  const descriptor = encode(oldMode ? { ...d, useable: false } : d)
  while (ldt.length < d.entry) ldt.push(undefined)
  ldt[d.entry] = descriptor
  reloadLdtUsers(task, d.entry)
  return task.kernel.descriptors.writeLdtEntry(task.mm, d.entry) ? 0 : -ENOMEM
}

/** Every thread of the address space notices a changed entry. */
function reloadLdtUsers(task: Task, entry: number): void {
  for (const each of task.kernel.tasks.values()) {
    if (each.mm !== task.mm || each.state === 'dead') continue
    reloadDataSegments(each, (selector) => selector >> 3 === entry && (selector & 4) !== 0)
    checkReturnSegments(each, entry)
  }
}

/** CS and SS are loaded by the next IRET to user mode, which faults if the entry no longer suits. */
function checkReturnSegments(task: Task, entry: number): void {
  const cs = task.context.selector(SEGMENT.CS)
  const ss = task.context.selector(SEGMENT.SS)
  if (![cs, ss].some((selector) => selector >> 3 === entry && (selector & 4) !== 0)) return
  const fault = loadReturnSegments(task, cs, ss)
  if (fault !== null) raiseReturnFault(task, fault)
}

/** set_thread_area: a GDT entry of this thread; entry -1 picks a free one and stores its number. */
export function setThreadArea(task: Task, user: number): number {
  const d = readUserDescriptor(task, user)
  if (d === null) return -EFAULT
  const empty =
    isEmpty(d) ||
    (d.base === 0 &&
      d.limit === 0 &&
      d.contents === 0 &&
      !d.readExecOnly &&
      !d.seg32 &&
      !d.limitInPages &&
      !d.notPresent &&
      !d.useable)
  if (!empty && (!d.seg32 || d.contents > 1 || d.notPresent)) return -EINVAL
  let entry = d.entry
  if (entry === 0xffffffff) {
    const free = task.tls.indexOf(null)
    if (free < 0) return -ESRCH
    entry = GDT_TLS_MIN + free
    if (!task.mm.putUser32(user, entry)) return -EFAULT
  }
  if (entry < GDT_TLS_MIN || entry >= GDT_TLS_MIN + GDT_TLS_ENTRIES) return -EINVAL
  task.tls[entry - GDT_TLS_MIN] = empty ? null : encode(d)
  task.tlsChanged = true
  reloadDataSegments(task, (selector) => selector >> 3 === entry && (selector & 4) === 0)
  withPreemptionDisabled(task, (cpu) => task.kernel.descriptors.loadTls(task, cpu))
  return 0
}
