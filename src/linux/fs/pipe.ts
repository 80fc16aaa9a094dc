import { EAGAIN, EBADF, EFAULT, EPIPE, ERESTARTSYS } from '../errno.ts'
import {
  O_NONBLOCK,
  O_RDONLY,
  O_WRONLY,
  OpenFile,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  plainStat,
  S_IFIFO,
  type Stat,
} from '../file.ts'
import type { Kernel } from '../kernel.ts'
import type { MaybePreemptible, Preemptible } from '../preemption.ts'
import { sendSignal } from '../signal/send.ts'
import { SI_KERNEL, SIGPIPE } from '../signal/signals.ts'
import type { Task } from '../task.ts'
import { WaitQueue, WOKEN, waitUntil } from '../wait-queue.ts'

const CAPACITY = 65536
/** Writes up to this size are all or nothing (PIPE_BUF). */
const ATOMIC = 4096

class PipeBuffer {
  readonly bytes = new Uint8Array(CAPACITY)
  start = 0
  length = 0
  readers = 0
  writers = 0
  readonly changed = new WaitQueue()
  get room(): number {
    return CAPACITY - this.length
  }
}

class PipeEnd extends OpenFile {
  readonly name: string
  private readonly pipe: PipeBuffer
  private readonly writes: boolean

  constructor(flags: number, pipe: PipeBuffer, writes: boolean, number: number) {
    super(flags)
    this.pipe = pipe
    this.writes = writes
    this.name = `pipe:[${number}]`
    if (writes) pipe.writers++
    else pipe.readers++
  }
  override stat(): Stat {
    return plainStat(S_IFIFO | 0o600, this.pipe)
  }
  override get pollQueue(): WaitQueue {
    return this.pipe.changed
  }
  override poll(): number {
    const { pipe } = this
    if (this.writes) return (pipe.room >= ATOMIC ? POLLOUT : 0) | (pipe.readers === 0 ? POLLERR : 0)
    return (pipe.length > 0 ? POLLIN : 0) | (pipe.writers === 0 ? POLLHUP : 0)
  }

  override read(task: Task, user: number, length: number): MaybePreemptible<number> {
    if (this.writes) return -EBADF
    if (length === 0) return 0
    const { pipe } = this
    if (pipe.length > 0) return this.take(task, user, length)
    if (pipe.writers === 0) return 0
    if ((this.flags & O_NONBLOCK) !== 0) return -EAGAIN
    return this.waitAndRead(task, user, length)
  }
  private *waitAndRead(task: Task, user: number, length: number): Preemptible<number> {
    const { pipe } = this
    const result = yield* waitUntil(task, pipe.changed, () => pipe.length > 0 || pipe.writers === 0)
    if (result !== WOKEN) return -ERESTARTSYS
    return pipe.length > 0 ? this.take(task, user, length) : 0
  }
  private take(task: Task, user: number, length: number): number {
    const { pipe } = this
    let done = 0
    while (done < length && pipe.length > 0) {
      const chunk = Math.min(length - done, pipe.length, CAPACITY - pipe.start)
      if (!task.mm.copyToUser(user + done, pipe.bytes, pipe.start, chunk)) return done === 0 ? -EFAULT : done
      pipe.start = (pipe.start + chunk) % CAPACITY
      pipe.length -= chunk
      done += chunk
    }
    pipe.changed.wakeAll()
    return done
  }

  override write(task: Task, user: number, length: number): MaybePreemptible<number> {
    if (!this.writes) return -EBADF
    const { pipe } = this
    if (pipe.readers > 0 && length <= pipe.room) return this.store(task, user, length)
    return this.writeSlowly(task, user, length)
  }
  private *writeSlowly(task: Task, user: number, length: number): Preemptible<number> {
    const { pipe } = this
    let done = 0
    while (done < length) {
      if (pipe.readers === 0) {
        sendSignal(task, { signal: SIGPIPE, code: SI_KERNEL })
        return done > 0 ? done : -EPIPE
      }
      const rest = length - done
      const wanted = rest <= ATOMIC ? rest : 1
      if (pipe.room >= wanted) {
        const wrote = this.store(task, user + done, Math.min(rest, pipe.room))
        if (wrote < 0) return done > 0 ? done : wrote
        done += wrote
        continue
      }
      if ((this.flags & O_NONBLOCK) !== 0) return done > 0 ? done : -EAGAIN
      const result = yield* waitUntil(task, pipe.changed, () => pipe.room >= wanted || pipe.readers === 0)
      if (result !== WOKEN) return done > 0 ? done : -ERESTARTSYS
    }
    return done
  }
  private store(task: Task, user: number, length: number): number {
    const { pipe } = this
    let done = 0
    while (done < length) {
      const end = (pipe.start + pipe.length) % CAPACITY
      const chunk = Math.min(length - done, CAPACITY - end)
      if (!task.mm.copyFromUser(pipe.bytes, end, user + done, chunk)) return done === 0 ? -EFAULT : done
      pipe.length += chunk
      done += chunk
    }
    pipe.changed.wakeAll()
    return done
  }

  override release(): void {
    if (this.writes) this.pipe.writers--
    else this.pipe.readers--
    this.pipe.changed.wakeAll()
  }
}

/** pipe2: the reading and the writing end. */
export function makePipe(kernel: Kernel, flags: number): [OpenFile, OpenFile] {
  const pipe = new PipeBuffer()
  const number = kernel.inodeNumber(pipe)
  const status = flags & O_NONBLOCK
  return [new PipeEnd(O_RDONLY | status, pipe, false, number), new PipeEnd(O_WRONLY | status, pipe, true, number)]
}
