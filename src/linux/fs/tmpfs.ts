import { EEXIST, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EXDEV } from '../errno.ts'
import { O_ACCMODE, O_RDONLY, O_TRUNC, type OpenFile, S_IFDIR, S_IFREG, type Stat } from '../file.ts'
import type { Kernel } from '../kernel.ts'
import type { Task } from '../task.ts'
import { MemoryFile, type MemoryInode } from './memory-file.ts'
import { Directory, Node, Symlink } from './node.ts'
import { SharedMemory } from './shmem.ts'

/** A regular file in memory. */
export class TmpfsFile extends Node implements MemoryInode {
  readonly memory: SharedMemory
  seals = 0
  private readonly kernel: Kernel
  private time: number

  constructor(kernel: Kernel, mode: number) {
    super(S_IFREG | (mode & 0o7777))
    this.kernel = kernel
    this.memory = new SharedMemory(kernel, 0)
    this.time = kernel.realTime()
  }
  override stat(): Stat {
    const { size, allocatedPages } = this.memory
    return { ...super.stat(null), size, blocks: allocatedPages * 8, time: this.time }
  }
  override open(_task: Task, flags: number, path: string): OpenFile {
    if ((flags & O_TRUNC) !== 0 && (flags & O_ACCMODE) !== O_RDONLY) this.memory.truncate(0)
    this.time = this.kernel.realTime()
    return new MemoryFile(flags, path, this)
  }
  override truncate(length: number): number {
    this.memory.truncate(length)
    return 0
  }
}

/** A writable directory in memory (/tmp, /dev/shm). */
export class TmpfsDirectory extends Directory {
  private readonly kernel: Kernel
  private readonly children = new Map<string, Node>()

  constructor(kernel: Kernel, mode = 0o755) {
    super(S_IFDIR | (mode & 0o7777))
    this.kernel = kernel
    this.dev = 0x1a
  }
  override lookup(_task: Task | null, name: string): Node | null {
    return this.children.get(name) ?? null
  }
  override entries(): [string, Node][] {
    return [...this.children]
  }
  /** Mounts a node of another file system here. */
  add(name: string, node: Node): Node {
    this.children.set(name, node)
    return node
  }
  /** The directory `name`, made if it is missing: a place to mount something in. */
  directory(name: string): TmpfsDirectory {
    const found = this.children.get(name)
    if (found instanceof TmpfsDirectory) return found
    if (found !== undefined) throw new Error(`${name} is not a directory of the kernel's own`)
    return this.adopt(name, new TmpfsDirectory(this.kernel)) as TmpfsDirectory
  }
  private adopt(name: string, node: Node): Node {
    node.dev = this.dev
    this.children.set(name, node)
    return node
  }
  override create(name: string, mode: number): Node | number {
    if (this.children.has(name)) return -EEXIST
    return this.adopt(name, new TmpfsFile(this.kernel, mode))
  }
  override makeDirectory(name: string, mode: number): number {
    if (this.children.has(name)) return -EEXIST
    this.adopt(name, new TmpfsDirectory(this.kernel, mode))
    this.links++
    return 0
  }
  override makeSymlink(name: string, target: string): number {
    if (this.children.has(name)) return -EEXIST
    this.adopt(name, new Symlink(target))
    return 0
  }
  override link(name: string, node: Node): number {
    if (this.children.has(name)) return -EEXIST
    if (node.isDirectory) return -EPERM
    if (node.dev !== this.dev) return -EXDEV
    node.links++
    this.children.set(name, node)
    return 0
  }
  override unlink(name: string, directory: boolean): number {
    const node = this.children.get(name)
    if (node === undefined) return -ENOENT
    if (directory && !(node instanceof Directory)) return -ENOTDIR
    if (!directory && node instanceof Directory) return -EISDIR
    if (node instanceof Directory) {
      if (node.entries(null).length > 0) return -ENOTEMPTY
      this.links--
    }
    this.children.delete(name)
    this.dropLink(node)
    return 0
  }
  private dropLink(node: Node): void {
    if (--node.links === 0 && node instanceof TmpfsFile) node.memory.release()
  }
  override rename(name: string, target: Directory, targetName: string): number {
    const node = this.children.get(name)
    if (node === undefined) return -ENOENT
    if (!(target instanceof TmpfsDirectory) || target.dev !== this.dev) return -EXDEV
    const old = target.children.get(targetName)
    if (old === node) return 0
    if (old instanceof Directory && !(node instanceof Directory)) return -EISDIR
    if (old !== undefined && node instanceof Directory && !(old instanceof Directory)) return -ENOTDIR
    if (old instanceof Directory && old.entries(null).length > 0) return -ENOTEMPTY
    if (old !== undefined) this.dropLink(old)
    this.children.delete(name)
    target.children.set(targetName, node)
    return 0
  }
}
