import { O_RDWR, plainStat, S_IFREG, type Stat } from '../file.ts'
import type { Kernel } from '../kernel.ts'
import { F_SEAL_SEAL, MemoryFile, type MemoryInode } from './memory-file.ts'
import { SharedMemory } from './shmem.ts'

class MemfdInode implements MemoryInode {
  readonly memory: SharedMemory
  seals: number

  constructor(kernel: Kernel, allowSealing: boolean) {
    this.memory = new SharedMemory(kernel, 0)
    this.seals = allowSealing ? 0 : F_SEAL_SEAL
  }
  stat(): Stat {
    return { ...plainStat(S_IFREG | 0o777, this), size: this.memory.size, blocks: this.memory.allocatedPages * 8 }
  }
}

/** memfd_create(2). */
export function makeMemfd(kernel: Kernel, name: string, allowSealing: boolean): MemoryFile {
  const inode = new MemfdInode(kernel, allowSealing)
  const file = new MemoryFile(O_RDWR, `/memfd:${name} (deleted)`, inode)
  inode.memory.release() // the file holds it now
  return file
}
