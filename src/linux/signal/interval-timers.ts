import type { Timer } from '../clock.ts'
import type { ThreadGroup } from '../thread-group.ts'
import { sendGroupSignal } from './send.ts'
import { SI_KERNEL, SIGALRM } from './signals.ts'

/** ITIMER_REAL of a process: alarm(2), setitimer(2). LUX-53. */
export class IntervalTimers {
  private readonly group: ThreadGroup
  private timer: Timer | null = null
  /** ns; 0 = fires once. */
  interval = 0

  constructor(group: ThreadGroup) {
    this.group = group
  }

  static of(group: ThreadGroup): IntervalTimers {
    group.timers ??= new IntervalTimers(group)
    return group.timers
  }

  /** ns until it fires, 0 = not armed. */
  get remaining(): number {
    if (this.timer === null) return 0
    return Math.max(1, this.timer.deadline - this.group.kernel.clock.now)
  }

  /** Arms it to fire in `value` ns, 0 = never. */
  set(value: number, interval: number): void {
    const { clock } = this.group.kernel
    if (this.timer !== null) clock.cancel(this.timer)
    this.timer = null
    this.interval = interval
    if (value > 0) this.timer = clock.arm(clock.now + value, () => this.fire())
  }

  private fire(): void {
    const { clock } = this.group.kernel
    const due = this.timer!.deadline
    this.timer = null
    sendGroupSignal(this.group, { signal: SIGALRM, code: SI_KERNEL })
    if (this.interval > 0) this.timer = clock.arm(Math.max(due + this.interval, clock.now + 1), () => this.fire())
  }

  cancelAll(): void {
    this.set(0, 0)
  }
}
