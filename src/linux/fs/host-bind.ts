import { PHYSICAL_BASE } from '../../machine/memory-map.ts'
import { EACCES, EEXIST, EFAULT, EINVAL, EIO, EROFS } from '../errno.ts'
import { O_ACCMODE, O_APPEND, O_RDONLY, O_TRUNC, OpenFile, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, type Stat } from '../file.ts'
import type { Kernel } from '../kernel.ts'
import { BEYOND_END, type MappedRange, NO_MEMORY, type PageSource } from '../mm/page-source.ts'
import { PROT_WRITE, type Vma } from '../mm/vma.ts'
import type { Task } from '../task.ts'
import { Directory, Node, Symlink } from './node.ts'

/** What is known of a file outside. `mode` has type and permission bits; time in ns. */
export interface HostFileInfo {
  readonly mode: number
  readonly size: number
  readonly time: number
  readonly links: number
}

/** An open file outside. Counts, or -errno. */
export interface HostFileHandle {
  read(into: Uint8Array, at: number, length: number, position: number): number
  write(from: Uint8Array, at: number, length: number, position: number): number
  size(): number
  truncate(length: number): number
  close(): void
}

/**
 * A part of the file system outside that a bind shows (given by the command line). Paths are relative to the bound place, `''`
 * is that place itself; the last component is never followed if it is a symbolic link, and no other component is one: the
 * kernel model walks links itself, inside its own tree. Results are values or -errno.
 */
export interface HostFiles {
  info(path: string): HostFileInfo | number
  list(path: string): string[] | number
  open(path: string, access: 'read' | 'write' | 'read-write'): HostFileHandle | number
  readLink(path: string): string | number
  /** Absent where the bind is read-only. */
  create?(path: string, mode: number): number
  makeDirectory?(path: string, mode: number): number
  remove?(path: string, directory: boolean): number
  rename?(from: string, to: string): number
}

/** Bytes that are read or written outside at a time. */
const CHUNK = 1 << 20

const join = (path: string, name: string): string => (path === '' ? name : `${path}/${name}`)

/** The node for a place outside, or null when there is nothing. */
export function hostNode(kernel: Kernel, files: HostFiles, path: string): Node | null {
  const info = files.info(path)
  if (typeof info === 'number') return null
  switch (info.mode & S_IFMT) {
    case S_IFDIR:
      return new HostDirectory(kernel, files, path, info)
    case S_IFREG:
      return new HostFileNode(kernel, files, path, info)
    case S_IFLNK:
      return new Symlink(() => files.readLink(path))
    default:
      return null
  }
}

class HostDirectory extends Directory {
  private readonly kernel: Kernel
  private readonly files: HostFiles
  private readonly path: string

  constructor(kernel: Kernel, files: HostFiles, path: string, info: HostFileInfo) {
    super(info.mode)
    this.kernel = kernel
    this.files = files
    this.path = path
    this.dev = 0x801
  }
  override lookup(_task: Task | null, name: string): Node | null {
    return hostNode(this.kernel, this.files, join(this.path, name))
  }
  override entries(): [string, Node][] {
    const names = this.files.list(this.path)
    if (typeof names === 'number') return []
    const entries: [string, Node][] = []
    for (const name of [...names].sort()) {
      const node = this.lookup(null, name)
      if (node !== null) entries.push([name, node])
    }
    return entries
  }
  override create(name: string, mode: number): Node | number {
    if (this.files.create === undefined) return -EROFS
    const result = this.files.create(join(this.path, name), mode)
    return result < 0 ? result : (this.lookup(null, name) ?? -EIO)
  }
  override makeDirectory(name: string, mode: number): number {
    if (this.lookup(null, name) !== null) return -EEXIST
    return this.files.makeDirectory?.(join(this.path, name), mode) ?? -EROFS
  }
  override unlink(name: string, directory: boolean): number {
    return this.files.remove?.(join(this.path, name), directory) ?? -EROFS
  }
  override rename(name: string, target: Directory, targetName: string): number {
    if (!(target instanceof HostDirectory) || target.files !== this.files) return -EACCES
    return this.files.rename?.(join(this.path, name), join(target.path, targetName)) ?? -EROFS
  }
}

class HostFileNode extends Node {
  private readonly kernel: Kernel
  private readonly files: HostFiles
  private readonly path: string
  private readonly info: HostFileInfo

  constructor(kernel: Kernel, files: HostFiles, path: string, info: HostFileInfo) {
    super(info.mode)
    this.kernel = kernel
    this.files = files
    this.path = path
    this.info = info
    this.dev = 0x801
  }
  override stat(task: Task | null): Stat {
    const { size, time, links } = this.info
    return { ...super.stat(task), size, time, nlink: links, blocks: Math.ceil(size / 512) }
  }
  override open(_task: Task, flags: number, path: string): OpenFile | number {
    const access = flags & O_ACCMODE
    if (access !== O_RDONLY && this.files.create === undefined) return -EROFS
    const handle = this.files.open(this.path, access === O_RDONLY ? 'read' : access === 1 ? 'write' : 'read-write')
    if (typeof handle === 'number') return handle
    if ((flags & O_TRUNC) !== 0 && access !== O_RDONLY) handle.truncate(0)
    return new HostFile(flags, path, this.kernel, handle, () => this.stat(null))
  }
  override truncate(length: number): number {
    if (this.files.create === undefined) return -EROFS
    const handle = this.files.open(this.path, 'write')
    if (typeof handle === 'number') return handle
    const result = handle.truncate(length)
    handle.close()
    return result
  }
}

/** An open file of a bind. Mappings of it are private copies of what it holds when a page is first touched. */
class HostFile extends OpenFile implements PageSource {
  readonly name: string
  private readonly kernel: Kernel
  private readonly handle: HostFileHandle
  private readonly statOf: () => Stat
  private readonly pages = new Map<number, number>()

  constructor(flags: number, name: string, kernel: Kernel, handle: HostFileHandle, stat: () => Stat) {
    super(flags)
    this.name = name
    this.kernel = kernel
    this.handle = handle
    this.statOf = stat
  }
  override stat(): Stat {
    return { ...this.statOf(), size: this.handle.size() }
  }
  override get seekable(): boolean {
    return true
  }
  override seekEnd(): number {
    return this.handle.size()
  }
  override read(task: Task, user: number, length: number, position: number): number {
    const wanted = Math.min(length, Math.max(0, this.handle.size() - position))
    const bytes = new Uint8Array(Math.min(wanted, CHUNK))
    let done = 0
    while (done < wanted) {
      const got = this.handle.read(bytes, 0, Math.min(wanted - done, CHUNK), position + done)
      if (got <= 0) return done > 0 ? done : got
      if (!task.mm.copyToUser(user + done, bytes, 0, got)) return done > 0 ? done : -EFAULT
      done += got
    }
    return done
  }
  override readKernel(into: Uint8Array, at: number, length: number, position: number): number {
    const count = Math.min(length, Math.max(0, this.handle.size() - position))
    return count === 0 ? 0 : this.handle.read(into, at, count, position)
  }
  override write(task: Task, user: number, length: number, position: number): number {
    const start = (this.flags & O_APPEND) !== 0 ? this.handle.size() : position
    const bytes = new Uint8Array(Math.min(length, CHUNK))
    let done = 0
    while (done < length) {
      const chunk = Math.min(length - done, CHUNK)
      const copied = task.mm.copyFromUserPartly(bytes, 0, user + done, chunk)
      const wrote = copied === 0 ? -EFAULT : this.handle.write(bytes, 0, copied, start + done)
      if (wrote < 0) return done > 0 ? done : wrote
      done += wrote
      if (wrote < chunk) break
    }
    return done
  }
  override truncate(_task: Task, length: number): number {
    return (this.flags & O_ACCMODE) === O_RDONLY ? -EINVAL : this.handle.truncate(length)
  }
  override mmap(_task: Task, vma: Vma): number {
    if (vma.shared && (vma.prot & PROT_WRITE) !== 0) return -EACCES
    if (vma.shared) vma.maxProt &= ~PROT_WRITE
    vma.source = this
    return 0
  }
  page(index: number): number {
    if (index * 4096 >= this.handle.size()) return BEYOND_END
    const known = this.pages.get(index)
    if (known !== undefined) return known
    const hpa = this.kernel.pages.allocate()
    if (hpa === 0) return NO_MEMORY
    this.handle.read(this.kernel.machine.mem.u8, PHYSICAL_BASE + hpa, 4096, index * 4096)
    this.pages.set(index, hpa)
    return hpa
  }
  mapped(_mapping: MappedRange): void {
    this.retain()
  }
  unmapped(_mapping: MappedRange): void {
    this.put(null)
  }
  override release(): void {
    for (const hpa of this.pages.values()) this.kernel.pages.release(hpa)
    this.handle.close()
  }
}
