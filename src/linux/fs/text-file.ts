import { EACCES, EFAULT, EINVAL } from '../errno.ts'
import { O_ACCMODE, O_RDONLY, OpenFile, S_IFREG, type Stat } from '../file.ts'
import type { MaybePreemptible, Preemptible } from '../preemption.ts'
import type { Task } from '../task.ts'
import { Node } from './node.ts'

/** Text made when the file is opened and read; a write, where allowed, gets the whole text. */
export interface TextFile {
  readonly mode?: number
  read(task: Task): string
  /** 0 or -errno. Root may, and others where `mode` says so. */
  write?(task: Task, text: string): MaybePreemptible<number>
  /** st_size: sysfs reports 4096, procfs 0 (LUX §10). */
  readonly size?: number
}

/** A file of procfs or sysfs. */
export class TextNode extends Node {
  private readonly file: TextFile

  constructor(file: TextFile) {
    super(S_IFREG | (file.mode ?? 0o444))
    this.file = file
  }
  override stat(task: Task | null): Stat {
    return { ...super.stat(task), size: this.file.size ?? 0 }
  }
  override open(task: Task, flags: number, path: string): OpenFile | number {
    if ((flags & O_ACCMODE) !== O_RDONLY && !this.mayWrite(task)) return -EACCES
    return new OpenText(flags, path, this, this.file)
  }
  private mayWrite({ kernel }: Task): boolean {
    return this.file.write !== undefined && (kernel.uid === 0 || (this.mode & 0o002) !== 0)
  }
  override truncate(): number {
    return 0
  }
}

class OpenText extends OpenFile {
  readonly name: string
  private readonly node: TextNode
  private readonly file: TextFile
  private bytes: Uint8Array | null = null

  constructor(flags: number, path: string, node: TextNode, file: TextFile) {
    super(flags)
    this.name = path
    this.node = node
    this.file = file
  }
  override get seekable(): boolean {
    return true
  }
  override stat(): Stat {
    return this.node.stat(null)
  }
  override seekEnd(): number {
    return this.file.size ?? 0
  }
  override read(task: Task, user: number, length: number, position: number): number {
    if (this.bytes === null || position === 0) this.bytes = latin1(this.file.read(task))
    const count = Math.max(0, Math.min(length, this.bytes.length - position))
    if (count === 0) return 0
    return task.mm.copyToUser(user, this.bytes, position, count) ? count : -EFAULT
  }
  override write(task: Task, user: number, length: number): MaybePreemptible<number> {
    if (this.file.write === undefined) return -EINVAL
    const bytes = new Uint8Array(Math.min(length, 4096))
    if (!task.mm.copyFromUser(bytes, 0, user, bytes.length)) return -EFAULT
    const result = this.file.write(task, String.fromCharCode(...bytes))
    return typeof result === 'number' ? written(result, bytes.length) : lateWritten(result, bytes.length)
  }
}

const written = (result: number, length: number): number => (result < 0 ? result : length)

function* lateWritten(result: Preemptible<number>, length: number): Preemptible<number> {
  return written(yield* result, length)
}

/** Bytes of a string whose characters are below 256. */
export function latin1(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i)
  return bytes
}

export function fromLatin1(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return text
}
