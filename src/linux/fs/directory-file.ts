import { EINVAL, EISDIR } from '../errno.ts'
import { OpenFile, type Stat } from '../file.ts'
import type { Task } from '../task.ts'
import type { Directory, Node } from './node.ts'

const DT_OF_MODE_SHIFT = 12

/** An open directory. */
export class DirectoryFile extends OpenFile {
  readonly directory: Directory
  readonly name: string
  /** From the root to this directory, inclusive. */
  readonly steps: { name: string; directory: Directory }[]

  constructor(flags: number, directory: Directory, path: string, steps: { name: string; directory: Directory }[]) {
    super(flags)
    this.directory = directory
    this.name = path
    this.steps = steps
  }
  override stat(): Stat {
    return this.directory.stat(null)
  }
  override read(): number {
    return -EISDIR
  }
  override get seekable(): boolean {
    return true
  }

  /** getdents64: struct linux_dirent64 {ino u64, off i64, reclen u16, type u8, name}. Bytes written, 0 at the end. */
  list(task: Task, user: number, length: number): number {
    const entries: [string, Node][] = [['.', this.directory], ['..', this.directory], ...this.directory.entries(task)]
    let written = 0
    while (this.position < entries.length) {
      const [name, node] = entries[this.position]
      const size = (19 + name.length + 1 + 7) & ~7
      if (written + size > length) return written === 0 ? -EINVAL : written
      const bytes = new Uint8Array(size)
      const view = new DataView(bytes.buffer)
      view.setUint32(0, task.kernel.inodeNumber(node), true)
      view.setUint32(8, this.position + 1, true)
      view.setUint16(16, size, true)
      bytes[18] = (node.mode >>> DT_OF_MODE_SHIFT) & 15
      for (let i = 0; i < name.length; i++) bytes[19 + i] = name.charCodeAt(i)
      if (!task.mm.copyToUser(user + written, bytes, 0, size)) return written === 0 ? -14 : written
      written += size
      this.position++
    }
    return written
  }
}
