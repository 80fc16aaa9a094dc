import { EACCES, EEXIST, EPERM } from '../errno.ts'
import { type OpenFile, S_IFDIR, S_IFLNK, S_IFMT, type Stat } from '../file.ts'
import type { Task } from '../task.ts'

/** A named thing of the file tree. Results that can fail are the value or -errno. */
export abstract class Node {
  /** File type and permission bits. */
  mode: number
  links = 1
  /** Major and minor of the file system it shows as. */
  dev = 0x19

  constructor(mode: number) {
    this.mode = mode
  }

  get isDirectory(): boolean {
    return (this.mode & S_IFMT) === S_IFDIR
  }
  get isSymlink(): boolean {
    return (this.mode & S_IFMT) === S_IFLNK
  }
  stat(_task: Task | null): Stat {
    return { dev: this.dev, identity: this, mode: this.mode, nlink: this.links, rdev: 0, size: 0, blocks: 0, time: 0 }
  }
  /** Opens it. `path` is where it was found. */
  open(_task: Task, _flags: number, _path: string): OpenFile | number {
    return -EACCES
  }
  truncate(_length: number): number {
    return -EPERM
  }
}

export abstract class Directory extends Node {
  constructor(mode = S_IFDIR | 0o755) {
    super(mode)
    this.links = 2
  }
  abstract lookup(task: Task | null, name: string): Node | null
  /** Names and nodes, without `.` and `..`. */
  abstract entries(task: Task | null): [string, Node][]
  create(_name: string, _mode: number): Node | number {
    return -EACCES
  }
  makeDirectory(_name: string, _mode: number): number {
    return -EACCES
  }
  makeSymlink(_name: string, _target: string): number {
    return -EACCES
  }
  link(_name: string, _node: Node): number {
    return -EPERM
  }
  unlink(_name: string, _directory: boolean): number {
    return -EACCES
  }
  /** Moves an entry of this directory to another directory of the same file system. */
  rename(_name: string, _target: Directory, _targetName: string): number {
    return -EACCES
  }
}

export class Symlink extends Node {
  private readonly targetOf: (task: Task) => string | number

  constructor(target: string | ((task: Task) => string | number)) {
    super(S_IFLNK | 0o777)
    this.targetOf = typeof target === 'string' ? () => target : target
  }
  target(task: Task): string | number {
    return this.targetOf(task)
  }
  override stat(task: Task | null): Stat {
    const target = task === null ? '' : this.targetOf(task)
    return { ...super.stat(task), size: typeof target === 'string' ? target.length : 0 }
  }
}

/** A link that leads to a node directly, whatever its text says: /proc/PID/exe, /proc/PID/fd/N. */
export class MagicLink extends Symlink {
  readonly follow: (task: Task, flags: number) => Node | OpenFile | number
  constructor(target: (task: Task) => string | number, follow: (task: Task, flags: number) => Node | OpenFile | number) {
    super(target)
    this.follow = follow
  }
}

/** A directory whose entries are fixed by the kernel: mount points, /dev, /sys. */
export class FixedDirectory extends Directory {
  private readonly children = new Map<string, Node>()

  override lookup(_task: Task | null, name: string): Node | null {
    return this.children.get(name) ?? null
  }
  override entries(): [string, Node][] {
    return [...this.children]
  }
  add(name: string, node: Node): Node {
    this.children.set(name, node)
    return node
  }
  remove(name: string): void {
    this.children.delete(name)
  }
  /** The directory `name`, made if it is missing (a writable one of the kernel's own is taken as it is). */
  directory(name: string): FixedDirectory {
    const found = this.children.get(name)
    if (found instanceof FixedDirectory || (found instanceof Directory && 'directory' in found)) return found as FixedDirectory
    if (found !== undefined) throw new Error(`${name} is not a directory of the kernel's own`)
    const made = new FixedDirectory()
    made.dev = this.dev
    this.children.set(name, made)
    return made
  }
  override create(name: string): number {
    return this.children.has(name) ? -EEXIST : -EACCES
  }
}
