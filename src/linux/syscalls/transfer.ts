import { EBADF, EFAULT, EINVAL, ESPIPE } from '../errno.ts'
import { O_ACCMODE, O_RDONLY, O_WRONLY, type OpenFile } from '../file.ts'
import type { MaybePreemptible, Preemptible } from '../preemption.ts'
import type { Task } from '../task.ts'
import { full, partial, type SyscallRows } from './support.ts'

/** A call transfers at most this much (MAX_RW_COUNT). */
const MAX_TRANSFER = 0x7ffff000
const MAX_VECTORS = 1024

/** read, write and their relatives. */
export const transferCalls: SyscallRows = {
  0: {
    name: 'read',
    args: 'fd ptr size',
    support: full,
    run: (task, a) => transfer(task, a.int(0), a.long(1), a.long(2), false),
  },
  1: {
    name: 'write',
    args: 'fd buf size',
    support: full,
    run: (task, a) => transfer(task, a.int(0), a.long(1), a.long(2), true),
  },
  17: {
    name: 'pread64',
    args: 'fd ptr size int',
    support: full,
    run: (task, a) => transferAt(task, a.int(0), a.long(1), a.long(2), a.long(3), false),
  },
  18: {
    name: 'pwrite64',
    args: 'fd buf size int',
    support: full,
    run: (task, a) => transferAt(task, a.int(0), a.long(1), a.long(2), a.long(3), true),
  },
  19: { name: 'readv', args: 'fd ptr int', support: full, run: (task, a) => vectors(task, a.int(0), a.long(1), a.int(2), false) },
  20: { name: 'writev', args: 'fd ptr int', support: full, run: (task, a) => vectors(task, a.int(0), a.long(1), a.int(2), true) },
  40: { name: 'sendfile', args: 'fd fd ptr size', support: partial('always EINVAL: programs copy instead'), run: () => -EINVAL },
  74: { name: 'fsync', args: 'fd', support: full, run: (task, a) => (task.files.get(a.int(0)) === null ? -EBADF : 0) },
  75: { name: 'fdatasync', args: 'fd', support: full, run: (task, a) => (task.files.get(a.int(0)) === null ? -EBADF : 0) },
  326: {
    name: 'copy_file_range',
    args: 'fd ptr fd ptr size hex',
    support: partial('always EINVAL: programs copy instead'),
    run: () => -EINVAL,
  },
}

/** The description behind `fd` if it was opened for this direction; -EBADF. */
function fileFor(task: Task, fd: number, write: boolean): OpenFile | null {
  const file = task.files.get(fd)
  if (file === null || (file.flags & O_ACCMODE) === (write ? O_RDONLY : O_WRONLY)) return null
  return file
}

function transfer(task: Task, fd: number, user: number, length: number, write: boolean): MaybePreemptible<number> {
  const file = fileFor(task, fd, write)
  if (file === null) return -EBADF
  if (length < 0) return -EINVAL
  if (!task.mm.inUserRange(user, length)) return -EFAULT
  const count = Math.min(length, MAX_TRANSFER)
  const { position } = file
  const result = write ? file.write(task, user, count, position) : file.read(task, user, count, position)
  if (typeof result !== 'number') return held(task, file, result)
  if (result > 0 && file.seekable) file.position += result
  return result
}

function* held(task: Task, file: OpenFile, call: Preemptible<number>): Preemptible<number> {
  file.retain()
  try {
    const result = yield* call
    if (result > 0 && file.seekable) file.position += result
    return result
  } finally {
    file.put(task)
  }
}

function transferAt(
  task: Task,
  fd: number,
  user: number,
  length: number,
  position: number,
  write: boolean,
): MaybePreemptible<number> {
  if (position < 0) return -EINVAL
  const file = fileFor(task, fd, write)
  if (file === null) return -EBADF
  if (!file.seekable) return -ESPIPE
  if (length < 0) return -EINVAL
  if (!task.mm.inUserRange(user, length)) return -EFAULT
  const count = Math.min(length, MAX_TRANSFER)
  return write ? file.write(task, user, count, position) : file.read(task, user, count, position)
}

function vectors(task: Task, fd: number, user: number, count: number, write: boolean): MaybePreemptible<number> {
  if (fileFor(task, fd, write) === null) return -EBADF
  if (count < 0 || count > MAX_VECTORS) return -EINVAL
  const list: number[] = []
  let total = 0
  for (let i = 0; i < count; i++) {
    const base = task.mm.getUserLong(user + i * 16)
    const length = task.mm.getUserLong(user + i * 16 + 8)
    if (Number.isNaN(base) || Number.isNaN(length)) return -EFAULT
    if (length < 0) return -EINVAL
    total += length
    if (length > 0) list.push(base, length)
  }
  if (total > MAX_TRANSFER) return -EINVAL
  return eachVector(task, fd, list, write)
}

function eachVector(task: Task, fd: number, list: number[], write: boolean): MaybePreemptible<number> {
  let done = 0
  for (let i = 0; i < list.length; i += 2) {
    const result = transfer(task, fd, list[i], list[i + 1], write)
    if (typeof result !== 'number') return restOfVectors(task, fd, list, write, i, done, result)
    if (result < 0) return done > 0 ? done : result
    done += result
    if (result < list[i + 1]) break
  }
  return done
}

function* restOfVectors(
  task: Task,
  fd: number,
  list: number[],
  write: boolean,
  from: number,
  before: number,
  waiting: Preemptible<number>,
): Preemptible<number> {
  let done = before
  let pending: MaybePreemptible<number> = waiting
  for (let i = from; i < list.length; i += 2) {
    const result: number = typeof pending === 'number' ? pending : yield* pending
    if (result < 0) return done > 0 ? done : result
    done += result
    if (result < list[i + 1] || i + 2 >= list.length) break
    pending = transfer(task, fd, list[i + 2], list[i + 3], write)
  }
  return done
}
