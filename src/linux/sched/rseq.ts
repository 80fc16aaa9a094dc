import { EBUSY, EINVAL, EPERM } from '../errno.ts'
import { TASK_SIZE_MAX } from '../mm/layout.ts'
import { forceFault } from '../signal/send.ts'
import { SI_KERNEL, SIGSEGV } from '../signal/signals.ts'
import type { Task } from '../task.ts'

/** Restartable sequences: LUX-29, -30. */

const RSEQ_FLAG_UNREGISTER = 1
const ORIGINAL_SIZE = 32
const RSEQ_ALIGN = 32
/** Offsets in struct rseq. */
const CPU_ID_START = 0
const CPU_ID = 4
const RSEQ_CS = 8
const NODE_ID = 20
const MM_CID = 24

export function rseq(task: Task, address: number, length: number, flags: number, signature: number): number {
  const area = task.rseq
  if ((flags & RSEQ_FLAG_UNREGISTER) !== 0) {
    if ((flags & ~RSEQ_FLAG_UNREGISTER) !== 0) return -EINVAL
    if (area.address !== address || address === 0 || area.length !== length) return -EINVAL
    if (area.signature !== signature) return -EPERM
    if (!writeIds(task, 0, 0xffffffff)) return -14
    area.address = area.length = area.signature = 0
    return 0
  }
  if (flags !== 0) return -EINVAL
  if (area.address !== 0) {
    if (area.address !== address || area.length !== length) return -EINVAL
    return area.signature === signature ? -EBUSY : -EPERM
  }
  if (length < ORIGINAL_SIZE || address % RSEQ_ALIGN !== 0) return -EINVAL
  if (!task.mm.inUserRange(address, length)) return -14
  area.address = address
  area.length = length
  area.signature = signature
  task.rseqStale = true
  return 0
}

function writeIds(task: Task, start: number, id: number): boolean {
  const { mm, rseq: area } = task
  return (
    mm.putUser32(area.address + CPU_ID_START, start) &&
    mm.putUser32(area.address + CPU_ID, id) &&
    mm.putUser32(area.address + NODE_ID, 0) &&
    mm.putUser32(area.address + MM_CID, start)
  )
}

/** Before user mode after a migration, preemption or signal: critical section aborted, ids rewritten. */
export function updateRseq(task: Task): void {
  task.rseqStale = false
  if (task.rseq.address === 0) return
  const { cpuId } = task
  if (!abortCriticalSection(task) || !writeIds(task, cpuId, cpuId)) kill(task)
}

/** A handler is about to run: the interrupted section ends. */
export function rseqSignalDeliver(task: Task): void {
  if (task.rseq.address === 0) return
  task.rseqStale = true
  if (!abortCriticalSection(task)) kill(task)
}

function kill(task: Task): void {
  forceFault(task, { signal: SIGSEGV, code: SI_KERNEL, address: 0 })
}

/** False: the descriptor is bad and the task gets SIGSEGV. */
function abortCriticalSection(task: Task): boolean {
  const { mm, rseq: area, context } = task
  const descriptor = mm.getUserLong(area.address + RSEQ_CS)
  if (Number.isNaN(descriptor)) return false
  if (descriptor === 0) return true
  if (!(descriptor > 0 && descriptor < TASK_SIZE_MAX)) return false
  const version = mm.getUser32(descriptor)
  const start = mm.getUserLong(descriptor + 8)
  const length = mm.getUserLong(descriptor + 16)
  const abort = mm.getUserLong(descriptor + 24)
  if (version !== 0 || Number.isNaN(start) || Number.isNaN(length) || Number.isNaN(abort)) return false
  if (start < 0 || start + length >= TASK_SIZE_MAX || abort < 0 || abort >= TASK_SIZE_MAX) return false
  if (abort >= start && abort < start + length) return false
  const rip = context.ripHi * 4294967296 + (context.ripLo >>> 0)
  const inside = rip >= start && rip < start + length
  if (inside && mm.getUser32(abort - 4) !== area.signature) return false
  if (!mm.putUser64(area.address + RSEQ_CS, 0, 0)) return false
  if (inside) context.setRip(abort | 0, Math.floor(abort / 4294967296) | 0)
  return true
}
