import { EAGAIN, EFAULT, EINVAL, ERESTARTSYS } from '../errno.ts'
import { O_NONBLOCK, O_RDWR, OpenFile, POLLERR, POLLIN, POLLOUT } from '../file.ts'
import type { MaybePreemptible, Preemptible } from '../preemption.ts'
import type { Task } from '../task.ts'
import { WaitQueue, WOKEN, waitUntil } from '../wait-queue.ts'

export const EFD_SEMAPHORE = 1
const MAX = 0xffff_ffff_ffff_fffen

/** eventfd(2): a 64-bit counter to wait for. KVM's irqfd and ioeventfd use `signal`, `changed` and `take`. */
export class EventFd extends OpenFile {
  readonly name = 'anon_inode:[eventfd]'
  private count: bigint
  private readonly semaphore: boolean
  /** Woken whenever the counter changes. */
  readonly changed = new WaitQueue()

  constructor(count: number, flags: number) {
    super(O_RDWR | (flags & O_NONBLOCK))
    this.count = BigInt(count)
    this.semaphore = (flags & EFD_SEMAPHORE) !== 0
  }
  override get pollQueue(): WaitQueue {
    return this.changed
  }
  override poll(): number {
    return (this.count > 0n ? POLLIN : 0) | (this.count < MAX ? POLLOUT : 0) | (this.count > MAX ? POLLERR : 0)
  }

  /** Adds `n` from inside the kernel; saturates. */
  signal(n: bigint): void {
    this.count = this.count + n > MAX ? MAX + 1n : this.count + n
    this.changed.wakeAll()
  }
  /** Takes what a read would; 0 when there is nothing. */
  take(): bigint {
    const value = this.count === 0n ? 0n : this.semaphore ? 1n : this.count
    this.count -= value
    if (value !== 0n) this.changed.wakeAll()
    return value
  }

  override read(task: Task, user: number, length: number): MaybePreemptible<number> {
    if (length < 8) return -EINVAL
    if (this.count > 0n) return this.store(task, user)
    if ((this.flags & O_NONBLOCK) !== 0) return -EAGAIN
    return this.waitAndRead(task, user)
  }
  private *waitAndRead(task: Task, user: number): Preemptible<number> {
    const result = yield* waitUntil(task, this.changed, () => this.count > 0n)
    return result === WOKEN ? this.store(task, user) : -ERESTARTSYS
  }
  private store(task: Task, user: number): number {
    const value = this.take()
    return task.mm.putUser64(user, Number(value & 0xffffffffn), Number(value >> 32n)) ? 8 : -EFAULT
  }

  override write(task: Task, user: number, length: number): MaybePreemptible<number> {
    if (length < 8) return -EINVAL
    if (!task.mm.getUser64(user)) return -EFAULT
    const value = (BigInt(task.mm.hi >>> 0) << 32n) | BigInt(task.mm.lo >>> 0)
    if (value > MAX) return -EINVAL
    if (MAX - this.count >= value) return this.add(value)
    if ((this.flags & O_NONBLOCK) !== 0) return -EAGAIN
    return this.waitAndAdd(task, value)
  }
  private add(value: bigint): number {
    this.count += value
    this.changed.wakeAll()
    return 8
  }
  private *waitAndAdd(task: Task, value: bigint): Preemptible<number> {
    const result = yield* waitUntil(task, this.changed, () => MAX - this.count >= value)
    return result === WOKEN ? this.add(value) : -ERESTARTSYS
  }
}
