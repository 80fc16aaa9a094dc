import { EACCES, EBADF, EEXIST, EFAULT, EINVAL, EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR, ERANGE, EXDEV } from '../errno.ts'
import { DirectoryFile } from '../fs/directory-file.ts'
import { Directory, Symlink } from '../fs/node.ts'
import { AT_FDCWD, type Found, walkPath } from '../fs/path-walk.ts'
import type { Task } from '../task.ts'
import type { SyscallArguments } from './arguments.ts'
import { fileStat, statx } from './stat.ts'
import { full, partial, type SyscallRows } from './support.ts'

export const AT_SYMLINK_NOFOLLOW = 0x100
export const AT_REMOVEDIR = 0x200
export const AT_SYMLINK_FOLLOW = 0x400
export const AT_EMPTY_PATH = 0x1000

/** A path argument, or -errno. */
export function readPath(task: Task, user: number): string | number {
  const path = task.mm.stringFromUser(user)
  return path === null ? -EFAULT : path === undefined ? -ENAMETOOLONG : path
}

function find(task: Task, dirfd: number, user: number, follow: boolean): Found | number {
  const path = readPath(task, user)
  return typeof path === 'number' ? path : walkPath(task, dirfd, path, follow)
}

/** Names in the file tree: LUX §3, §10. */
export const nameCalls: SyscallRows = {
  4: { name: 'stat', args: 'str ptr', support: full, run: (task, a) => fileStat(task, AT_FDCWD, a.long(0), a.long(1), 0) },
  5: { name: 'fstat', args: 'fd ptr', support: full, run: (task, a) => fileStat(task, a.int(0), 0, a.long(1), AT_EMPTY_PATH) },
  6: {
    name: 'lstat',
    args: 'str ptr',
    support: full,
    run: (task, a) => fileStat(task, AT_FDCWD, a.long(0), a.long(1), AT_SYMLINK_NOFOLLOW),
  },
  21: { name: 'access', args: 'str mode', support: full, run: (task, a) => access(task, AT_FDCWD, a.long(0), a.int(1), 0) },
  76: {
    name: 'truncate',
    args: 'str size',
    support: full,
    run: (task, a) => {
      const found = find(task, AT_FDCWD, a.long(0), true)
      if (typeof found === 'number') return found
      if (found.node === null) return -ENOENT
      if (found.node instanceof Directory) return -EISDIR
      return a.long(1) < 0 ? -EINVAL : found.node.truncate(a.long(1))
    },
  },
  78: { name: 'getdents', args: 'fd ptr size', support: partial('getdents64 only'), run: () => -EINVAL },
  79: { name: 'getcwd', args: 'ptr size', support: full, run: (task, a) => getcwd(task, a.long(0), a.long(1)) },
  80: { name: 'chdir', args: 'str', support: full, run: chdir },
  81: { name: 'fchdir', args: 'fd', support: full, run: fchdir },
  82: {
    name: 'rename',
    args: 'str str',
    support: full,
    run: (task, a) => rename(task, AT_FDCWD, a.long(0), AT_FDCWD, a.long(1), 0),
  },
  83: { name: 'mkdir', args: 'str mode', support: full, run: (task, a) => mkdir(task, AT_FDCWD, a.long(0), a.u32(1)) },
  84: { name: 'rmdir', args: 'str', support: full, run: (task, a) => unlink(task, AT_FDCWD, a.long(0), AT_REMOVEDIR) },
  86: { name: 'link', args: 'str str', support: full, run: (task, a) => link(task, AT_FDCWD, a.long(0), AT_FDCWD, a.long(1), 0) },
  87: { name: 'unlink', args: 'str', support: full, run: (task, a) => unlink(task, AT_FDCWD, a.long(0), 0) },
  88: { name: 'symlink', args: 'str str', support: full, run: (task, a) => symlink(task, a.long(0), AT_FDCWD, a.long(1)) },
  89: {
    name: 'readlink',
    args: 'str ptr size',
    support: full,
    run: (task, a) => readlink(task, AT_FDCWD, a.long(0), a.long(1), a.int(2)),
  },
  90: {
    name: 'chmod',
    args: 'str mode',
    support: partial('checked, not enforced'),
    run: (task, a) => chmod(task, AT_FDCWD, a.long(0), a.u32(1)),
  },
  95: {
    name: 'umask',
    args: 'mode',
    support: full,
    run: (task, a) => {
      const old = task.fs.umask
      task.fs.umask = a.u32(0) & 0o777
      return old
    },
  },
  258: { name: 'mkdirat', args: 'dirfd str mode', support: full, run: (task, a) => mkdir(task, a.int(0), a.long(1), a.u32(2)) },
  262: {
    name: 'newfstatat',
    args: 'dirfd str ptr AT',
    support: full,
    run: (task, a) => fileStat(task, a.int(0), a.long(1), a.long(2), a.int(3)),
  },
  263: { name: 'unlinkat', args: 'dirfd str AT', support: full, run: (task, a) => unlink(task, a.int(0), a.long(1), a.int(2)) },
  264: {
    name: 'renameat',
    args: 'dirfd str dirfd str',
    support: full,
    run: (task, a) => rename(task, a.int(0), a.long(1), a.int(2), a.long(3), 0),
  },
  265: {
    name: 'linkat',
    args: 'dirfd str dirfd str AT',
    support: full,
    run: (task, a) => link(task, a.int(0), a.long(1), a.int(2), a.long(3), a.int(4)),
  },
  266: {
    name: 'symlinkat',
    args: 'str dirfd str',
    support: full,
    run: (task, a) => symlink(task, a.long(0), a.int(1), a.long(2)),
  },
  267: {
    name: 'readlinkat',
    args: 'dirfd str ptr size',
    support: full,
    run: (task, a) => readlink(task, a.int(0), a.long(1), a.long(2), a.int(3)),
  },
  268: {
    name: 'fchmodat',
    args: 'dirfd str mode',
    support: partial('checked, not enforced'),
    run: (task, a) => chmod(task, a.int(0), a.long(1), a.u32(2)),
  },
  269: {
    name: 'faccessat',
    args: 'dirfd str mode',
    support: full,
    run: (task, a) => access(task, a.int(0), a.long(1), a.int(2), 0),
  },
  316: {
    name: 'renameat2',
    args: 'dirfd str dirfd str hex',
    support: partial('no flags'),
    run: (task, a) => rename(task, a.int(0), a.long(1), a.int(2), a.long(3), a.int(4)),
  },
  332: {
    name: 'statx',
    args: 'dirfd str AT hex ptr',
    support: full,
    run: (task, a) => statx(task, a.int(0), a.long(1), a.int(2), a.long(4)),
  },
  439: {
    name: 'faccessat2',
    args: 'dirfd str mode AT',
    support: full,
    run: (task, a) => access(task, a.int(0), a.long(1), a.int(2), a.int(3)),
  },
}

const ACCESS_MODES = 7

function access(task: Task, dirfd: number, user: number, mode: number, flags: number): number {
  if ((mode & ~ACCESS_MODES) !== 0) return -EINVAL
  const found = find(task, dirfd, user, (flags & AT_SYMLINK_NOFOLLOW) === 0)
  if (typeof found === 'number') return found
  if (found.file !== null) return 0
  if (found.node === null) return -ENOENT
  const bits = found.node.mode & 0o777
  const granted = ((bits >> 6) | (bits >> 3) | bits) & 7
  return (mode & ~granted) !== 0 ? -EACCES : 0
}

function getcwd(task: Task, user: number, size: number): number {
  const path = `${task.fs.path}\0`
  if (size < path.length) return -ERANGE
  const bytes = Uint8Array.from(path, (c) => c.charCodeAt(0))
  return task.mm.copyToUser(user, bytes, 0, bytes.length) ? bytes.length : -EFAULT
}

function chdir(task: Task, a: SyscallArguments): number {
  const found = find(task, AT_FDCWD, a.long(0), true)
  if (typeof found === 'number') return found
  if (found.node === null) return -ENOENT
  if (!(found.node instanceof Directory)) return -ENOTDIR
  task.fs.cwd = found.name === '' ? [] : [...found.steps, { name: found.name, directory: found.node }]
  return 0
}

function fchdir(task: Task, a: SyscallArguments): number {
  const file = task.files.get(a.int(0))
  if (file === null) return -EBADF
  if (!(file instanceof DirectoryFile)) return -ENOTDIR
  task.fs.cwd = [...file.steps]
  return 0
}

function rename(task: Task, oldDir: number, oldUser: number, newDir: number, newUser: number, flags: number): number {
  if (flags !== 0) return -EINVAL
  const from = find(task, oldDir, oldUser, false)
  if (typeof from === 'number') return from
  const to = find(task, newDir, newUser, false)
  if (typeof to === 'number') return to
  if (from.node === null) return -ENOENT
  return from.parent.rename(from.name, to.parent, to.name)
}

function mkdir(task: Task, dirfd: number, user: number, mode: number): number {
  const found = find(task, dirfd, user, false)
  if (typeof found === 'number') return found
  if (found.node !== null) return -EEXIST
  return found.parent.makeDirectory(found.name, mode & ~task.fs.umask)
}

function unlink(task: Task, dirfd: number, user: number, flags: number): number {
  if ((flags & ~AT_REMOVEDIR) !== 0) return -EINVAL
  const found = find(task, dirfd, user, false)
  if (typeof found === 'number') return found
  if (found.node === null) return -ENOENT
  return found.parent.unlink(found.name, (flags & AT_REMOVEDIR) !== 0)
}

function link(task: Task, oldDir: number, oldUser: number, newDir: number, newUser: number, flags: number): number {
  const from = find(task, oldDir, oldUser, (flags & AT_SYMLINK_FOLLOW) !== 0)
  if (typeof from === 'number') return from
  const to = find(task, newDir, newUser, false)
  if (typeof to === 'number') return to
  if (from.node === null) return from.file === null ? -ENOENT : -EXDEV
  if (to.node !== null) return -EEXIST
  return to.parent.link(to.name, from.node)
}

function symlink(task: Task, targetUser: number, dirfd: number, user: number): number {
  const target = readPath(task, targetUser)
  if (typeof target === 'number') return target
  const found = find(task, dirfd, user, false)
  if (typeof found === 'number') return found
  return found.node !== null ? -EEXIST : found.parent.makeSymlink(found.name, target)
}

function readlink(task: Task, dirfd: number, user: number, buffer: number, size: number): number {
  if (size <= 0) return -EINVAL
  const found = find(task, dirfd, user, false)
  if (typeof found === 'number') return found
  if (found.node === null) return -ENOENT
  if (!(found.node instanceof Symlink)) return -EINVAL
  const target = found.node.target(task)
  if (typeof target === 'number') return target
  const bytes = Uint8Array.from(target.slice(0, size), (c) => c.charCodeAt(0))
  return task.mm.copyToUser(buffer, bytes, 0, bytes.length) ? bytes.length : -EFAULT
}

function chmod(task: Task, dirfd: number, user: number, mode: number): number {
  const found = find(task, dirfd, user, true)
  if (typeof found === 'number') return found
  if (found.node === null) return -ENOENT
  found.node.mode = (found.node.mode & ~0o7777) | (mode & 0o7777)
  return 0
}
