import { EAGAIN, EBADF, EFAULT, ENOTTY, EPIPE, ERESTARTSYS } from '../errno.ts'
import { O_NONBLOCK, OpenFile, POLLERR, POLLHUP, POLLIN, POLLOUT, plainStat, S_IFCHR, S_IFIFO, type Stat } from '../file.ts'
import type { MaybePreemptible, Preemptible } from '../preemption.ts'
import { sendSignal } from '../signal/send.ts'
import { SI_KERNEL, SIGPIPE } from '../signal/signals.ts'
import type { Task } from '../task.ts'
import { WaitQueue, WOKEN, waitUntil } from '../wait-queue.ts'

const TCGETS = 0x5401
const TIOCGWINSZ = 0x5413
const FIONREAD = 0x541b
/** Bytes that are written outside at a time. */
const CHUNK = 1 << 16

/** Where a program's output goes: the person or the host outside. */
export interface OutputSink {
  /** Takes all of it. The bytes may be reused afterwards. */
  write(bytes: Uint8Array): void
  /** The errno with which writing fails by now (EPIPE, ENOSPC, ...), 0 while it works. Absent: it always works. */
  readonly failure?: number
  /** The far end is a terminal. */
  readonly terminal?: boolean
}

/** Bytes from outside: the driver pushes them as they come; what came when is an input of the run. */
export class InputSource {
  private readonly chunks: Uint8Array[] = []
  private ended = false
  readonly terminal: boolean
  readonly changed = new WaitQueue()

  constructor(terminal = false) {
    this.terminal = terminal
  }
  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.chunks.push(bytes)
    this.changed.wakeAll()
  }
  end(): void {
    this.ended = true
    this.changed.wakeAll()
  }
  /** Somebody waits for input from outside: reads, polls or watches it. */
  get awaited(): boolean {
    return !this.changed.idle
  }
  get available(): number {
    return this.chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  }
  get atEnd(): boolean {
    return this.ended && this.chunks.length === 0
  }
  take(limit: number): Uint8Array {
    const chunk = this.chunks[0]
    if (chunk.length <= limit) {
      this.chunks.shift()
      return chunk
    }
    this.chunks[0] = chunk.subarray(limit)
    return chunk.subarray(0, limit)
  }
}

/** A standard stream of the first program: a pipe or terminal to the world outside the model. */
export class HostStream extends OpenFile {
  readonly name: string
  private readonly input: InputSource | null
  private readonly output: OutputSink | null

  constructor(flags: number, name: string, input: InputSource | null, output: OutputSink | null) {
    super(flags)
    this.name = name
    this.input = input
    this.output = output
  }
  private get terminal(): boolean {
    return this.input?.terminal ?? this.output?.terminal ?? false
  }
  override stat(): Stat {
    return this.terminal ? { ...plainStat(S_IFCHR | 0o620, this), rdev: 0x8800 } : plainStat(S_IFIFO | 0o600, this)
  }
  override get pollQueue(): WaitQueue | null {
    return this.input?.changed ?? null
  }
  override poll(): number {
    if (this.input === null) return POLLOUT | (this.output?.failure === EPIPE ? POLLERR : 0)
    return (this.input.available > 0 || this.input.atEnd ? POLLIN : 0) | (this.input.atEnd ? POLLHUP : 0)
  }
  override read(task: Task, user: number, length: number): MaybePreemptible<number> {
    if (this.input === null) return -EBADF
    if (this.input.available > 0 || this.input.atEnd) return this.take(task, user, length)
    if ((this.flags & O_NONBLOCK) !== 0) return -EAGAIN
    return this.waitAndRead(task, this.input, user, length)
  }
  private *waitAndRead(task: Task, input: InputSource, user: number, length: number): Preemptible<number> {
    const result = yield* waitUntil(task, input.changed, () => input.available > 0 || input.atEnd)
    return result === WOKEN ? this.take(task, user, length) : -ERESTARTSYS
  }
  private take(task: Task, user: number, length: number): number {
    if (this.input!.atEnd || length === 0) return 0
    const bytes = this.input!.take(length)
    return task.mm.copyToUser(user, bytes, 0, bytes.length) ? bytes.length : -EFAULT
  }
  override write(task: Task, user: number, length: number): number {
    const { output } = this
    if (output === null) return -EBADF
    // What a call claims to write need not be there: no more memory is taken than there are bytes.
    const bytes = new Uint8Array(Math.min(length, CHUNK))
    let done = 0
    while (done < length) {
      const chunk = Math.min(length - done, CHUNK)
      const copied = task.mm.copyFromUserPartly(bytes, 0, user + done, chunk)
      if (copied > 0) output.write(bytes.subarray(0, copied))
      const failure = output.failure ?? 0
      if (failure === EPIPE) sendSignal(task, { signal: SIGPIPE, code: SI_KERNEL })
      if (failure !== 0) return done > 0 ? done : -failure
      done += copied
      if (copied < chunk) return done > 0 ? done : -EFAULT
    }
    return done
  }
  override ioctl(task: Task, request: number, argument: number): number {
    if (request === FIONREAD && this.input !== null) return task.mm.putUser32(argument, this.input.available) ? 0 : -EFAULT
    if (!this.terminal) return -ENOTTY
    if (request === TCGETS) return this.getTermios(task, argument)
    if (request === TIOCGWINSZ)
      return task.mm.putUser32(argument, (80 << 16) | 24) && task.mm.putUser32(argument + 4, 0) ? 0 : -EFAULT
    return -ENOTTY
  }
  /** struct ktermios of a terminal in its usual state (include/asm-generic/termbits.h, 36 bytes). */
  private getTermios(task: Task, user: number): number {
    const bytes = new Uint8Array(36)
    const view = new DataView(bytes.buffer)
    view.setUint32(0, 0x500, true) // ICRNL IXON
    view.setUint32(4, 0x5, true) // OPOST ONLCR
    view.setUint32(8, 0xbf, true) // B38400 CS8 CREAD
    view.setUint32(12, 0x8a3b, true) // ISIG ICANON ECHO ECHOE ECHOK ECHOCTL ECHOKE IEXTEN
    bytes.set([3, 0x1c, 0x7f, 0x15, 4, 0, 1, 0, 0x11, 0x13, 0x1a, 0, 0x12, 0xf, 0x17, 0x16], 17)
    return task.mm.copyToUser(user, bytes, 0, 36) ? 0 : -EFAULT
  }
}
