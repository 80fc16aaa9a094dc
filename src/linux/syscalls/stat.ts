import { EBADF, EFAULT, EINVAL, ENOENT } from '../errno.ts'
import type { Stat } from '../file.ts'
import { walkPath } from '../fs/path-walk.ts'
import type { Task } from '../task.ts'

const AT_SYMLINK_NOFOLLOW = 0x100
const AT_EMPTY_PATH = 0x1000
const AT_FDCWD = -100
const AT_NO_AUTOMOUNT = 0x800
const AT_STATX_SYNC = 0x6000

/** What a path (or, with AT_EMPTY_PATH, a descriptor) is; -errno. */
function statOf(task: Task, dirfd: number, pathUser: number, flags: number): Stat | number {
  let path: string | null | undefined = ''
  if (pathUser !== 0 || (flags & AT_EMPTY_PATH) === 0) {
    path = task.mm.stringFromUser(pathUser)
    if (path === null) return -EFAULT
    if (path === undefined) return -36
  }
  if (path === '') {
    if ((flags & AT_EMPTY_PATH) === 0) return -ENOENT
    if (dirfd === AT_FDCWD) return (task.fs.cwd.at(-1)?.directory ?? task.kernel.root).stat(task)
    return task.files.get(dirfd)?.stat() ?? -EBADF
  }
  const found = walkPath(task, dirfd, path, (flags & AT_SYMLINK_NOFOLLOW) === 0)
  if (typeof found === 'number') return found
  if (found.file !== null) return found.file.stat()
  return found.node === null ? -ENOENT : found.node.stat(task)
}

/** stat, lstat, fstat, newfstatat: struct stat, 144 bytes (arch/x86/include/uapi/asm/stat.h). */
export function fileStat(task: Task, dirfd: number, pathUser: number, user: number, flags: number): number {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT)) !== 0) return -EINVAL
  const stat = statOf(task, dirfd, pathUser, flags)
  if (typeof stat === 'number') return stat
  const { kernel } = task
  const bytes = new Uint8Array(144)
  const view = new DataView(bytes.buffer)
  const long = (at: number, value: number) => {
    view.setUint32(at, value >>> 0, true)
    view.setUint32(at + 4, Math.floor(value / 4294967296), true)
  }
  long(0, stat.dev)
  long(8, kernel.inodeNumber(stat.identity))
  long(16, stat.nlink)
  view.setUint32(24, stat.mode, true)
  view.setUint32(28, kernel.uid, true)
  view.setUint32(32, kernel.gid, true)
  long(40, stat.rdev)
  long(48, stat.size)
  long(56, 4096)
  long(64, stat.blocks)
  const seconds = Math.floor(stat.time / 1e9)
  for (const at of [72, 88, 104]) {
    long(at, seconds)
    long(at + 8, Math.floor(stat.time - seconds * 1e9))
  }
  return task.mm.copyToUser(user, bytes, 0, 144) ? 0 : -EFAULT
}

const STATX_BASIC_STATS = 0x7ff

/** statx: struct statx, 256 bytes (include/uapi/linux/stat.h). */
export function statx(task: Task, dirfd: number, pathUser: number, flags: number, user: number): number {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_SYNC)) !== 0) return -EINVAL
  const stat = statOf(task, dirfd, pathUser, flags)
  if (typeof stat === 'number') return stat
  const { kernel } = task
  const bytes = new Uint8Array(256)
  const view = new DataView(bytes.buffer)
  const long = (at: number, value: number) => {
    view.setUint32(at, value >>> 0, true)
    view.setUint32(at + 4, Math.floor(value / 4294967296), true)
  }
  view.setUint32(0, STATX_BASIC_STATS, true)
  view.setUint32(4, 4096, true)
  view.setUint32(16, stat.nlink, true)
  view.setUint32(20, kernel.uid, true)
  view.setUint32(24, kernel.gid, true)
  view.setUint16(28, stat.mode, true)
  long(32, kernel.inodeNumber(stat.identity))
  long(40, stat.size)
  long(48, stat.blocks)
  const seconds = Math.floor(stat.time / 1e9)
  for (const at of [64, 96, 112]) {
    long(at, seconds)
    view.setUint32(at + 8, Math.floor(stat.time - seconds * 1e9), true)
  }
  view.setUint32(128, stat.rdev >>> 8, true)
  view.setUint32(132, stat.rdev & 0xff, true)
  view.setUint32(136, stat.dev >>> 8, true)
  view.setUint32(140, stat.dev & 0xff, true)
  return task.mm.copyToUser(user, bytes, 0, 256) ? 0 : -EFAULT
}
