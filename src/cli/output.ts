import { fstatSync, writeSync } from 'node:fs'
import type { OutputSink } from '../linux/fs/host-stream.ts'
import { errnoOf } from './errno.ts'

/** Above this the program waits until somebody has read. */
const BACKLOG = 1 << 18

/** Standard output or error of the command, as the modelled program writes to it. */
export class Output implements OutputSink {
  readonly terminal: boolean
  failure = 0
  private readonly stream: NodeJS.WriteStream
  private readonly fd: 1 | 2
  /** Pipes and sockets: Node writes in the background, as far as there is room. */
  private readonly queued: boolean
  private wake: () => void = () => {}

  constructor(fd: 1 | 2) {
    this.fd = fd
    this.stream = fd === 1 ? process.stdout : process.stderr
    this.terminal = this.stream.isTTY ?? false
    this.queued = this.terminal || isPipe(fd)
    this.stream.on('error', (error) => {
      this.failure = errnoOf(error)
      this.wake()
    })
    this.stream.on('drain', () => this.wake())
  }

  write(bytes: Uint8Array): void {
    if (this.failure !== 0) return
    if (this.queued) {
      this.stream.write(bytes.slice())
      return
    }
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.fd, bytes, at)
    } catch (error) {
      this.failure = errnoOf(error)
    }
  }

  get backlogged(): boolean {
    return this.failure === 0 && this.stream.writableLength > BACKLOG
  }

  /** Resolves when there is room again, when writing fails, or when somebody calls `interrupt`. */
  async room(): Promise<void> {
    if (!this.backlogged || !this.stream.writableNeedDrain) return
    await new Promise<void>((resolve) => {
      this.wake = resolve
    })
    this.wake = () => {}
  }

  interrupt(): void {
    this.wake()
  }
}

function isPipe(fd: number): boolean {
  try {
    const found = fstatSync(fd)
    return found.isFIFO() || found.isSocket()
  } catch {
    return false
  }
}
