import { SignalSet } from './signal-set.ts'
import { isSynchronous, SIGRTMIN, type SignalInfo } from './signals.ts'

/** Signals sent and not yet delivered, of one task or of a thread group (struct sigpending). */
export class PendingSignals {
  readonly set = new SignalSet()
  private readonly queue: SignalInfo[] = []

  /** Queues `info`. A standard signal that is already pending is lost, as on Linux. False when it was. */
  add(info: SignalInfo): boolean {
    if (info.signal < SIGRTMIN && this.set.has(info.signal)) return false
    this.set.add(info.signal)
    this.queue.push(info)
    return true
  }

  /** Takes the next signal outside `blocked`: synchronous faults first, then the lowest number. */
  take(blocked: SignalSet, only: SignalSet | null = null): SignalInfo | null {
    let best = -1
    for (let i = 0; i < this.queue.length; i++) {
      const { signal } = this.queue[i]
      if (blocked.has(signal) || (only !== null && !only.has(signal))) continue
      if (best < 0 || rank(this.queue[i]) < rank(this.queue[best])) best = i
    }
    if (best < 0) return null
    const [info] = this.queue.splice(best, 1)
    if (!this.queue.some((other) => other.signal === info.signal)) this.set.delete(info.signal)
    return info
  }

  /** Forgets every signal of `signals`. */
  flush(signals: SignalSet): void {
    for (let i = this.queue.length - 1; i >= 0; i--) if (signals.has(this.queue[i].signal)) this.queue.splice(i, 1)
    this.set.subtract(signals)
  }

  clear(): void {
    this.queue.length = 0
    this.set.clear()
  }
}

function rank(info: SignalInfo): number {
  // Only a fault of the instruction itself jumps the queue, not the same number sent by kill (dequeue_synchronous_signal).
  return isSynchronous(info.signal) && info.code > 0 ? info.signal - 100 : info.signal
}
