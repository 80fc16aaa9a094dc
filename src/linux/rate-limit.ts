/** At most so many events in each interval, counted from the first one in it (lib/ratelimit.c). */
export class RateLimit {
  private readonly now: () => number
  private readonly interval: number
  readonly burst: number
  private begin = Number.NEGATIVE_INFINITY
  private count = 0

  /** @param now virtual time, ns @param interval ns @param burst events an interval allows */
  constructor(now: () => number, interval: number, burst: number) {
    this.now = now
    this.interval = interval
    this.burst = burst
  }

  /** Counts an event; false when this interval has had its share. */
  allow(): boolean {
    const now = this.now()
    if (now - this.begin > this.interval) {
      this.begin = now
      this.count = 0
    }
    if (this.count >= this.burst) return false
    this.count++
    return true
  }
}
