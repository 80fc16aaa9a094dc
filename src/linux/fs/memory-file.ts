import { EACCES, EFBIG, EINVAL, ENOSPC, EOPNOTSUPP, EPERM } from '../errno.ts'
import { O_ACCMODE, O_APPEND, O_RDONLY, O_RDWR, OpenFile, type Stat } from '../file.ts'
import { PROT_WRITE, type Vma } from '../mm/vma.ts'
import type { Task } from '../task.ts'
import type { SharedMemory } from './shmem.ts'

export const FALLOC_FL_KEEP_SIZE = 1
export const FALLOC_FL_PUNCH_HOLE = 2

export const F_SEAL_SEAL = 1
export const F_SEAL_SHRINK = 2
export const F_SEAL_GROW = 4
export const F_SEAL_WRITE = 8
export const F_SEAL_FUTURE_WRITE = 16

const MAX_FILE_SIZE = 2 ** 52

/** What an open tmpfs file or memfd needs of its inode. */
export interface MemoryInode {
  readonly memory: SharedMemory
  /** F_SEAL_*; undefined where seals do not exist. */
  seals: number
  stat(): Stat
}

/** An open tmpfs file or memfd. */
export class MemoryFile extends OpenFile {
  readonly name: string
  readonly inode: MemoryInode

  constructor(flags: number, name: string, inode: MemoryInode) {
    super(flags)
    this.name = name
    this.inode = inode
    inode.memory.retain()
  }
  override stat(): Stat {
    return this.inode.stat()
  }
  override get seekable(): boolean {
    return true
  }
  override seekEnd(): number {
    return this.inode.memory.size
  }
  override read(task: Task, user: number, length: number, position: number): number {
    return this.inode.memory.readTo(task.mm, user, length, position)
  }
  override readKernel(into: Uint8Array, at: number, length: number, position: number): number {
    return this.inode.memory.readKernel(into, at, length, position)
  }
  override write(task: Task, user: number, length: number, position: number): number {
    const { memory, seals } = this.inode
    const at = (this.flags & O_APPEND) !== 0 ? memory.size : position
    if ((seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) !== 0) return -EPERM
    if ((seals & F_SEAL_GROW) !== 0 && at + length > memory.size) return -EPERM
    if (at + length > MAX_FILE_SIZE) return -EFBIG
    const written = memory.writeFrom(task.mm, user, length, at)
    if ((this.flags & O_APPEND) !== 0 && written > 0) this.position = at
    return written
  }
  override truncate(_task: Task, length: number): number {
    const { memory, seals } = this.inode
    if ((this.flags & O_ACCMODE) === O_RDONLY) return -EINVAL
    if (length > MAX_FILE_SIZE) return -EFBIG
    if ((seals & F_SEAL_SHRINK) !== 0 && length < memory.size) return -EPERM
    if ((seals & F_SEAL_GROW) !== 0 && length > memory.size) return -EPERM
    memory.truncate(length)
    return 0
  }
  override fallocate(_task: Task, mode: number, offset: number, length: number): number {
    const { memory, seals } = this.inode
    if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) !== 0) return -EOPNOTSUPP
    if ((mode & FALLOC_FL_PUNCH_HOLE) !== 0) {
      if ((mode & FALLOC_FL_KEEP_SIZE) === 0) return -EOPNOTSUPP
      if ((seals & F_SEAL_WRITE) !== 0) return -EPERM
      memory.punchHole(offset, Math.min(length, Math.max(0, memory.size - offset)))
      return 0
    }
    if ((seals & F_SEAL_GROW) !== 0 && offset + length > memory.size) return -EPERM
    if (offset + length > MAX_FILE_SIZE) return -EFBIG
    if (!memory.preallocate(offset, length)) return -ENOSPC
    if ((mode & FALLOC_FL_KEEP_SIZE) === 0 && offset + length > memory.size) memory.truncate(offset + length)
    return 0
  }
  override mmap(_task: Task, vma: Vma): number {
    if (vma.shared && (this.flags & O_ACCMODE) !== O_RDWR) {
      if ((vma.prot & PROT_WRITE) !== 0) return -EACCES
      vma.maxProt &= ~PROT_WRITE
    }
    if (vma.shared && (this.inode.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) !== 0) {
      if ((vma.prot & PROT_WRITE) !== 0) return -EPERM
      vma.maxProt &= ~PROT_WRITE
    }
    vma.source = this.inode.memory
    return 0
  }
  override release(): void {
    this.inode.memory.release()
  }
}
