import * as fs from 'node:fs'
import type { HostFileHandle, HostFileInfo, HostFiles } from '../linux/fs/host-bind.ts'
import { errnoOf } from './errno.ts'

/** O_NONBLOCK: a pipe that takes a file's place after the lookup must not hold up the whole host. */
const SAFE_OPEN = (fs.constants.O_NOFOLLOW ?? 0) | (fs.constants.O_NONBLOCK ?? 0)
/** A program may not make set-uid files here, whatever it may in its own world. */
const PERMISSIONS = 0o777

class LeavesBind extends Error {
  readonly code = 'ELOOP'
}

/**
 * A directory or file of this machine, as the kernel model sees it through a bind. File names are bytes, one character each, in the
 * model and `Buffer`s here.
 */
export class HostDirectory implements HostFiles {
  private readonly root: Buffer
  readonly create?: (path: string, mode: number) => number
  readonly makeDirectory?: (path: string, mode: number) => number
  readonly remove?: (path: string, directory: boolean) => number
  readonly rename?: (from: string, to: string) => number

  /** The place itself may be a link: the person named it. */
  constructor(root: string, readOnly: boolean) {
    this.root = fs.realpathSync.native(root, { encoding: 'buffer' })
    if (readOnly) return
    this.create = (path, mode) => attempt(() => fs.closeSync(fs.openSync(this.at(path), 'wx', mode & PERMISSIONS)))
    this.makeDirectory = (path, mode) => attempt(() => fs.mkdirSync(this.at(path), mode & PERMISSIONS))
    this.remove = (path, directory) => attempt(() => (directory ? fs.rmdirSync(this.at(path)) : fs.unlinkSync(this.at(path))))
    this.rename = (from, to) => attempt(() => fs.renameSync(this.at(from), this.at(to)))
  }

  /**
   * Where `path` lies here. The model resolves every link itself, so its paths go through none; but a program that holds a directory
   * open can put a link in that directory's place (rename), and what it then asks for must not lead outside.
   */
  private at(path: string): Buffer {
    if (path === '') return this.root
    const slash = path.lastIndexOf('/')
    if (slash >= 0) {
      const parent = this.below(path.slice(0, slash))
      if (!fs.realpathSync.native(parent, { encoding: 'buffer' }).equals(parent)) throw new LeavesBind()
    }
    return this.below(path)
  }
  private below(path: string): Buffer {
    const separator = this.root.length === 1 ? [] : [Buffer.from('/')]
    return Buffer.concat([this.root, ...separator, Buffer.from(path, 'latin1')])
  }

  info(path: string): HostFileInfo | number {
    return attempt(() => {
      const found = fs.lstatSync(this.at(path))
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
    const flags = { read: fs.constants.O_RDONLY, write: fs.constants.O_WRONLY, 'read-write': fs.constants.O_RDWR }[access]
    return attempt(() => fileHandle(fs.openSync(this.at(path), flags | SAFE_OPEN)))
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

/** The value, 0 for none, or -errno. */
function attempt<T>(action: () => T): (T extends void ? number : T) | number {
  try {
    return (action() ?? 0) as T extends void ? number : T
  } catch (error) {
    return -errnoOf(error)
  }
}
