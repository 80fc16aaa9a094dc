import * as fs from 'node:fs'
import { join } from 'node:path'
import { EIO } from '../linux/errno.ts'
import type { HostFileHandle, HostFileInfo, HostFiles } from '../linux/fs/host-bind.ts'

/** A directory or file of this machine, as the kernel model sees it through a bind. */
export class HostDirectory implements HostFiles {
  private readonly root: string
  readonly create?: (path: string, mode: number) => number
  readonly makeDirectory?: (path: string, mode: number) => number
  readonly remove?: (path: string, directory: boolean) => number
  readonly rename?: (from: string, to: string) => number

  constructor(root: string, readOnly: boolean) {
    this.root = root
    if (readOnly) return
    this.create = (path, mode) => attempt(() => fs.closeSync(fs.openSync(this.at(path), 'wx', mode)))
    this.makeDirectory = (path, mode) => attempt(() => fs.mkdirSync(this.at(path), mode))
    this.remove = (path, directory) => attempt(() => (directory ? fs.rmdirSync(this.at(path)) : fs.unlinkSync(this.at(path))))
    this.rename = (from, to) => attempt(() => fs.renameSync(this.at(from), this.at(to)))
  }

  private at(path: string): string {
    return path === '' ? this.root : join(this.root, path)
  }

  info(path: string): HostFileInfo | number {
    return attempt(() => {
      // The bound place itself may be a link: the person named it.
      const found = path === '' ? fs.statSync(this.at(path)) : fs.lstatSync(this.at(path))
      return { mode: found.mode, size: found.size, time: Math.floor(found.mtimeMs) * 1e6, links: found.nlink }
    })
  }
  list(path: string): string[] | number {
    return attempt(() => fs.readdirSync(this.at(path), { encoding: 'latin1' }))
  }
  readLink(path: string): string | number {
    return attempt(() => fs.readlinkSync(this.at(path), { encoding: 'latin1' }))
  }
  open(path: string, access: 'read' | 'write' | 'read-write'): HostFileHandle | number {
    // O_NOFOLLOW: a link that appears after the lookup must not lead outside.
    const flags = { read: fs.constants.O_RDONLY, write: fs.constants.O_WRONLY, 'read-write': fs.constants.O_RDWR }[access]
    const noFollow = path === '' ? 0 : fs.constants.O_NOFOLLOW
    return attempt(() => fileHandle(fs.openSync(this.at(path), flags | noFollow)))
  }
}

function fileHandle(fd: number): HostFileHandle {
  return {
    read: (into, at, length, position) => attempt(() => fs.readSync(fd, into, at, length, position)),
    write: (from, at, length, position) => attempt(() => fs.writeSync(fd, from, at, length, position)),
    size: () => fs.fstatSync(fd).size,
    truncate: (length) => attempt(() => fs.ftruncateSync(fd, length)),
    close: () => fs.closeSync(fd),
  }
}

/** The value, 0 for none, or -errno (Linux numbers; a number this machine's system gives another meaning is EIO). */
function attempt<T>(action: () => T): (T extends void ? number : T) | number {
  try {
    return (action() ?? 0) as T extends void ? number : T
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    return code !== undefined && code in LINUX_ERRNO ? -LINUX_ERRNO[code] : -EIO
  }
}

/** errno numbers of x86-64 Linux for what file operations report; this machine's own numbers may differ. */
const LINUX_ERRNO: Readonly<Record<string, number>> = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EBADF: 9,
  EACCES: 13,
  EEXIST: 17,
  EXDEV: 18,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EMLINK: 31,
  ENAMETOOLONG: 36,
  ENOTEMPTY: 39,
  ELOOP: 40,
}
