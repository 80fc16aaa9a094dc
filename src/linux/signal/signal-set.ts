/** A set of signals 1..64: signal n is bit n-1. Two signed 32-bit halves. */
export class SignalSet {
  lo = 0
  hi = 0

  static of(...signals: number[]): SignalSet {
    const set = new SignalSet()
    for (const signal of signals) set.add(signal)
    return set
  }

  has(signal: number): boolean {
    return signal <= 32 ? ((this.lo >>> (signal - 1)) & 1) !== 0 : ((this.hi >>> (signal - 33)) & 1) !== 0
  }
  add(signal: number): void {
    if (signal <= 32) this.lo |= 1 << (signal - 1)
    else this.hi |= 1 << (signal - 33)
  }
  delete(signal: number): void {
    if (signal <= 32) this.lo &= ~(1 << (signal - 1))
    else this.hi &= ~(1 << (signal - 33))
  }
  set(lo: number, hi: number): void {
    this.lo = lo | 0
    this.hi = hi | 0
  }
  copy(other: SignalSet): void {
    this.lo = other.lo
    this.hi = other.hi
  }
  union(other: SignalSet): void {
    this.lo |= other.lo
    this.hi |= other.hi
  }
  subtract(other: SignalSet): void {
    this.lo &= ~other.lo
    this.hi &= ~other.hi
  }
  get empty(): boolean {
    return (this.lo | this.hi) === 0
  }
  clear(): void {
    this.lo = 0
    this.hi = 0
  }
}
