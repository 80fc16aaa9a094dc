import { EINVAL, ENODEV, ENOTTY, ESPIPE } from './errno.ts'
import type { Vma } from './mm/vma.ts'
import type { MaybePreemptible } from './preemption.ts'
import type { Task } from './task.ts'
import type { WaitQueue } from './wait-queue.ts'

export const O_ACCMODE = 3
export const O_RDONLY = 0
export const O_WRONLY = 1
export const O_RDWR = 2
export const O_CREAT = 0o100
export const O_EXCL = 0o200
export const O_NOCTTY = 0o400
export const O_TRUNC = 0o1000
export const O_APPEND = 0o2000
export const O_NONBLOCK = 0o4000
export const O_DSYNC = 0o10000
export const O_DIRECT = 0o40000
export const O_LARGEFILE = 0o100000
export const O_DIRECTORY = 0o200000
export const O_NOFOLLOW = 0o400000
export const O_NOATIME = 0o1000000
export const O_CLOEXEC = 0o2000000
export const O_PATH = 0o10000000
export const O_TMPFILE = 0o20000000

export const S_IFMT = 0o170000
export const S_IFIFO = 0o010000
export const S_IFCHR = 0o020000
export const S_IFDIR = 0o040000
export const S_IFREG = 0o100000
export const S_IFLNK = 0o120000

export const POLLIN = 0x1
export const POLLOUT = 0x4
export const POLLERR = 0x8
export const POLLHUP = 0x10
export const POLLNVAL = 0x20

/** Times in ns since the epoch of virtual real time. */
export interface Stat {
  dev: number
  /** What the inode number stands for: the kernel numbers these objects as they are first seen. */
  identity: object
  mode: number
  nlink: number
  rdev: number
  size: number
  blocks: number
  time: number
}

/** An inode as fstat shows it when there is little to show: anonymous inodes, devices. */
export function plainStat(mode: number, identity: object): Stat {
  return { dev: 0xd, identity, mode, nlink: 1, rdev: 0, size: 0, blocks: 0, time: 0 }
}

/**
 * An open file description (Linux's struct file): what file descriptors refer to. Results are counts or values >= 0, or
 * -errno; where a reason helps, `refuse(task, …)` makes the result. Addresses and lengths of user memory are numbers below
 * 2^47; an operation that may have to wait returns `Preemptible` code instead of the number.
 */
export abstract class OpenFile {
  /** O_ACCMODE, O_APPEND, O_NONBLOCK ... (fcntl F_GETFL). */
  flags: number
  position = 0
  /** File descriptors, mappings and calls in progress that hold this description. */
  private references = 1

  constructor(flags: number) {
    this.flags = flags
  }

  /** What readlink of /proc/self/fd/N says: a path, or `anon_inode:kvm-vm`. */
  abstract readonly name: string

  stat(): Stat {
    return plainStat(0o600, this)
  }

  /** True when reads and writes happen at a position. */
  get seekable(): boolean {
    return false
  }

  /** @param position where, for seekable files; ignored by others */
  read(_task: Task, _user: number, _length: number, _position: number): MaybePreemptible<number> {
    return -EINVAL
  }
  write(_task: Task, _user: number, _length: number, _position: number): MaybePreemptible<number> {
    return -EINVAL
  }
  /** The kernel itself reads (program loading): bytes read, or -errno. */
  readKernel(_into: Uint8Array, _at: number, _length: number, _position: number): number {
    return -EINVAL
  }
  /** Size for SEEK_END. */
  seekEnd(): number {
    return -ESPIPE
  }
  /**
   * @param request the ioctl number, unsigned 32 bits
   * @param argument the third argument as a signed number, exact below 2^53
   */
  ioctl(_task: Task, _request: number, _argument: number): MaybePreemptible<number> {
    return -ENOTTY
  }
  /** Asked when a mapping of this file is made. Sets `vma.source`, or refuses. */
  mmap(_task: Task, _vma: Vma): number {
    return -ENODEV
  }
  /** POLL* that hold now. */
  poll(): number {
    return POLLIN | POLLOUT
  }
  /** Woken when `poll` may answer otherwise; null = never. */
  get pollQueue(): WaitQueue | null {
    return null
  }
  truncate(_task: Task, _length: number): number {
    return -EINVAL
  }
  fallocate(_task: Task, _mode: number, _offset: number, _length: number): number {
    return -ENODEV
  }
  /** The last reference is gone. `task` is null when the kernel lets go by itself. */
  release(_task: Task | null): void {}

  retain(): this {
    this.references++
    return this
  }
  put(task: Task | null): void {
    if (--this.references === 0) this.release(task)
  }
}
