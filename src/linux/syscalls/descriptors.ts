import { EBADF, EEXIST, EFAULT, EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM, ESPIPE } from '../errno.ts'
import {
  O_ACCMODE,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_TMPFILE,
  type OpenFile,
} from '../file.ts'
import { DirectoryFile } from '../fs/directory-file.ts'
import { EventFd } from '../fs/eventfd.ts'
import { FD_CLOEXEC } from '../fs/file-table.ts'
import { makeMemfd } from '../fs/memfd.ts'
import { F_SEAL_SEAL, MemoryFile } from '../fs/memory-file.ts'
import { Directory, type Node, Symlink } from '../fs/node.ts'
import { AT_FDCWD, type Found, walkPath } from '../fs/path-walk.ts'
import { makePipe } from '../fs/pipe.ts'
import type { MaybePreemptible, Preemptible } from '../preemption.ts'
import type { Task } from '../task.ts'
import type { SyscallArguments } from './arguments.ts'
import { readPath } from './names.ts'
import { full, partial, type SyscallRows } from './support.ts'

/** File descriptors and what makes them: LUX §3, §10. */
export const descriptorCalls: SyscallRows = {
  2: {
    name: 'open',
    args: 'str OPEN mode',
    support: full,
    run: (task, a) => open(task, AT_FDCWD, a.long(0), a.int(1), a.u32(2)),
  },
  3: { name: 'close', args: 'fd', support: full, run: (task, a) => task.files.close(task, a.int(0)) },
  8: { name: 'lseek', args: 'fd int SEEK', support: full, run: lseek },
  16: { name: 'ioctl', args: 'fd IOCTL hex', support: full, run: ioctl },
  22: { name: 'pipe', args: 'ptr', support: full, run: (task, a) => pipe(task, a.long(0), 0) },
  32: {
    name: 'dup',
    args: 'fd',
    support: full,
    run: (task, a) => {
      const file = task.files.get(a.int(0))
      return file === null ? -EBADF : task.files.install(task, file.retain(), false)
    },
  },
  33: {
    name: 'dup2',
    args: 'fd fd',
    support: full,
    run: (task, a) => (a.int(0) === a.int(1) && task.files.get(a.int(0)) !== null ? a.int(1) : dup3(task, a.int(0), a.int(1), 0)),
  },
  72: { name: 'fcntl', args: 'fd FCNTL hex', support: partial('no locks, leases or owners'), run: fcntl },
  77: {
    name: 'ftruncate',
    args: 'fd size',
    support: full,
    run: (task, a) => {
      const file = task.files.get(a.int(0))
      if (file === null) return -EBADF
      return a.long(1) < 0 ? -EINVAL : file.truncate(task, a.long(1))
    },
  },
  85: { name: 'creat', args: 'str mode', support: full, run: (task, a) => open(task, AT_FDCWD, a.long(0), 0o1101, a.u32(1)) },
  91: {
    name: 'fchmod',
    args: 'fd mode',
    support: partial('accepted'),
    run: (task, a) => (task.files.get(a.int(0)) === null ? -EBADF : 0),
  },
  217: {
    name: 'getdents64',
    args: 'fd ptr size',
    support: full,
    run: (task, a) => {
      const file = task.files.get(a.int(0))
      if (file === null) return -EBADF
      return file instanceof DirectoryFile ? file.list(task, a.long(1), a.u32(2)) : -ENOTDIR
    },
  },
  221: {
    name: 'fadvise64',
    args: 'fd hex size int',
    support: partial('advice changes nothing'),
    run: (task, a) => (task.files.get(a.int(0)) === null ? -EBADF : 0),
  },
  257: {
    name: 'openat',
    args: 'dirfd str OPEN mode',
    support: full,
    run: (task, a) => open(task, a.int(0), a.long(1), a.int(2), a.u32(3)),
  },
  284: { name: 'eventfd', args: 'uint', support: full, run: (task, a) => eventfd(task, a.u32(0), 0) },
  285: { name: 'fallocate', args: 'fd hex size size', support: full, run: fallocate },
  290: { name: 'eventfd2', args: 'uint hex', support: full, run: (task, a) => eventfd(task, a.u32(0), a.int(1)) },
  292: {
    name: 'dup3',
    args: 'fd fd OPEN',
    support: full,
    run: (task, a) => (a.int(0) === a.int(1) ? -EINVAL : dup3(task, a.int(0), a.int(1), a.int(2))),
  },
  293: { name: 'pipe2', args: 'ptr OPEN', support: full, run: (task, a) => pipe(task, a.long(0), a.int(1)) },
  319: { name: 'memfd_create', args: 'str hex', support: partial('no huge pages'), run: memfdCreate },
  436: { name: 'close_range', args: 'uint uint hex', support: partial('no CLOSE_RANGE_UNSHARE'), run: closeRange },
}
function open(task: Task, dirfd: number, user: number, flags: number, mode: number): number {
  const path = readPath(task, user)
  if (typeof path === 'number') return path
  if ((flags & O_TMPFILE) === O_TMPFILE) return -95
  const exclusive = (flags & (O_CREAT | O_EXCL)) === (O_CREAT | O_EXCL)
  const follow = (flags & O_NOFOLLOW) === 0 && !exclusive
  const found = walkPath(task, dirfd, path, follow, flags)
  if (typeof found === 'number') return found
  const file = openFound(task, found, flags, mode, exclusive)
  if (typeof file === 'number') return file
  return task.files.install(task, file, (flags & O_CLOEXEC) !== 0)
}

function openFound(task: Task, found: Found, flags: number, mode: number, exclusive: boolean): OpenFile | number {
  if (found.file !== null) return found.file.retain()
  let node: Node
  if (found.node === null) {
    if ((flags & O_CREAT) === 0) return -ENOENT
    if (found.wantsDirectory) return -EISDIR
    const made = found.parent.create(found.name, mode & ~task.fs.umask)
    if (typeof made === 'number') return made
    node = made
  } else {
    if (exclusive) return -EEXIST
    node = found.node
  }
  if (node instanceof Symlink) return (flags & O_PATH) !== 0 ? -EINVAL : -ELOOP
  if (node instanceof Directory) {
    if ((flags & O_ACCMODE) !== O_RDONLY || (flags & O_CREAT) !== 0) return -EISDIR
    const steps = found.name === '' ? [] : [...found.steps, { name: found.name, directory: node }]
    return new DirectoryFile(flags & ~O_CLOEXEC, node, found.path, steps)
  }
  if ((flags & O_DIRECTORY) !== 0) return -ENOTDIR
  return node.open(task, flags & ~(O_CLOEXEC | O_CREAT | O_EXCL), found.path)
}

function lseek(task: Task, a: SyscallArguments): number {
  const file = task.files.get(a.int(0))
  if (file === null) return -EBADF
  if (!file.seekable) return -ESPIPE
  const offset = a.long(1)
  const whence = a.int(2)
  const bases = [0, file.position, file.seekEnd()]
  if (whence === 3 || whence === 4) {
    // SEEK_DATA and SEEK_HOLE of a file without known holes.
    const end = file.seekEnd()
    if (offset < 0 || offset >= end) return -6
    return (file.position = whence === 3 ? offset : end)
  }
  if (whence < 0 || whence > 2) return -EINVAL
  const position = bases[whence] + offset
  if (position < 0) return -EINVAL
  file.position = position
  return position
}

const FIOCLEX = 0x5451
const FIONCLEX = 0x5450
const FIONBIO = 0x5421

function ioctl(task: Task, a: SyscallArguments): MaybePreemptible<number> {
  const fd = a.int(0)
  const file = task.files.get(fd)
  if (file === null) return -EBADF
  const request = a.u32(1)
  const argument = a.long(2)
  if (request === FIOCLEX || request === FIONCLEX) {
    task.files.setCloseOnExec(fd, request === FIOCLEX)
    return 0
  }
  if (request === FIONBIO) {
    const on = task.mm.getUser32(argument)
    if (on < 0) return -EFAULT
    file.flags = on !== 0 ? file.flags | O_NONBLOCK : file.flags & ~O_NONBLOCK
    return 0
  }
  const result = file.ioctl(task, request, argument)
  return typeof result === 'number' ? result : whileHeld(task, file, result)
}

/** Keeps the description alive while a call sleeps on it, whatever happens to the descriptor meanwhile. */
export function* whileHeld(task: Task, file: OpenFile, call: Preemptible<number>): Preemptible<number> {
  file.retain()
  try {
    return yield* call
  } finally {
    file.put(task)
  }
}

function pipe(task: Task, user: number, flags: number): number {
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK | 0o40000)) !== 0) return -EINVAL
  const [reader, writer] = makePipe(task.kernel, flags)
  const closeOnExec = (flags & O_CLOEXEC) !== 0
  const readFd = task.files.install(task, reader, closeOnExec)
  if (readFd < 0) {
    writer.put(task)
    return readFd
  }
  const writeFd = task.files.install(task, writer, closeOnExec)
  if (writeFd < 0) {
    task.files.close(task, readFd)
    return writeFd
  }
  if (task.mm.putUser32(user, readFd) && task.mm.putUser32(user + 4, writeFd)) return 0
  task.files.close(task, readFd)
  task.files.close(task, writeFd)
  return -EFAULT
}

function dup3(task: Task, from: number, to: number, flags: number): number {
  const file = task.files.get(from)
  if (file === null) return -EBADF
  if ((flags & ~O_CLOEXEC) !== 0) return -EINVAL
  return task.files.replace(task, to, file.retain(), (flags & O_CLOEXEC) !== 0)
}

const F_DUPFD = 0
const F_GETFD = 1
const F_SETFD = 2
const F_GETFL = 3
const F_SETFL = 4
const F_GETLK = 5
const F_SETLK = 6
const F_SETLKW = 7
const F_DUPFD_CLOEXEC = 1030
const F_ADD_SEALS = 1033
const F_GET_SEALS = 1034
const CHANGEABLE = O_APPEND | O_NONBLOCK | 0o40000 | 0o1000000

function fcntl(task: Task, a: SyscallArguments): number {
  const fd = a.int(0)
  const file = task.files.get(fd)
  if (file === null) return -EBADF
  const argument = a.int(2)
  switch (a.int(1)) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
      if (argument < 0 || argument >= task.group.limits.soft[7]) return -EINVAL
      return task.files.install(task, file.retain(), a.int(1) === F_DUPFD_CLOEXEC, argument)
    case F_GETFD:
      return task.files.isCloseOnExec(fd) ? FD_CLOEXEC : 0
    case F_SETFD:
      task.files.setCloseOnExec(fd, (argument & FD_CLOEXEC) !== 0)
      return 0
    case F_GETFL:
      return file.flags | 0o100000
    case F_SETFL:
      file.flags = (file.flags & ~CHANGEABLE) | (argument & CHANGEABLE)
      return 0
    case F_SETLK:
    case F_SETLKW:
      return 0 // one model, one set of programs: nobody outside contends
    case F_GETLK:
      return task.mm.putUser8(a.long(2), 2) && task.mm.putUser8(a.long(2) + 1, 0) ? 0 : -EFAULT
    case F_ADD_SEALS:
      if (!(file instanceof MemoryFile)) return -EINVAL
      if ((file.inode.seals & F_SEAL_SEAL) !== 0) return -EPERM
      file.inode.seals |= argument
      return 0
    case F_GET_SEALS:
      return file instanceof MemoryFile ? file.inode.seals : -EINVAL
    default:
      task.kernel.syscalls.note(`fcntl command ${a.int(1)}`)
      return -EINVAL
  }
}

function fallocate(task: Task, a: SyscallArguments): number {
  const file = task.files.get(a.int(0))
  if (file === null) return -EBADF
  const offset = a.long(2)
  const length = a.long(3)
  if (offset < 0 || length <= 0) return -EINVAL
  if ((file.flags & O_ACCMODE) === O_RDONLY) return -EBADF
  return file.fallocate(task, a.int(1), offset, length)
}

function eventfd(task: Task, count: number, flags: number): number {
  if ((flags & ~(1 | O_CLOEXEC | O_NONBLOCK)) !== 0) return -EINVAL
  return task.files.install(task, new EventFd(count, flags), (flags & O_CLOEXEC) !== 0)
}

const MFD_CLOEXEC = 1
const MFD_ALLOW_SEALING = 2
const MFD_HUGETLB = 4
const MFD_NOEXEC_SEAL = 8
const MFD_EXEC = 16

function memfdCreate(task: Task, a: SyscallArguments): number {
  const flags = a.u32(1)
  const name = readPath(task, a.long(0))
  if (typeof name === 'number') return name === -ENAMETOOLONG ? -EINVAL : name
  if (name.length > 249) return -EINVAL
  if ((flags & MFD_HUGETLB) !== 0) {
    task.kernel.syscalls.note('memfd_create MFD_HUGETLB')
    return -12
  }
  if ((flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC)) !== 0) return -EINVAL
  const sealing = (flags & (MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL)) !== 0
  return task.files.install(task, makeMemfd(task.kernel, name, sealing), (flags & MFD_CLOEXEC) !== 0)
}

function closeRange(task: Task, a: SyscallArguments): number {
  const first = a.u32(0)
  const last = a.u32(1)
  const flags = a.u32(2)
  if (first > last) return -EINVAL
  if ((flags & ~4) !== 0) return -EINVAL
  for (const [fd] of [...task.files.entries()]) {
    if (fd < first || fd > last) continue
    if (flags === 4) task.files.setCloseOnExec(fd, true)
    else task.files.close(task, fd)
  }
  return 0
}
