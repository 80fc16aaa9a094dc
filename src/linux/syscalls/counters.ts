/** How often each call was made, and which were not there to be made. */
export class SyscallCounters {
  private readonly made = new Map<number, number>()
  private readonly missing = new Map<string, number>()

  count(nr: number): void {
    this.made.set(nr, (this.made.get(nr) ?? 0) + 1)
  }
  /** A call, option or flag that a real kernel has and this one has not. */
  note(what: string): void {
    this.missing.set(what, (this.missing.get(what) ?? 0) + 1)
  }
  get total(): number {
    let sum = 0
    for (const count of this.made.values()) sum += count
    return sum
  }
  /** [number, count], most frequent first. */
  list(): [number, number][] {
    return [...this.made].sort((a, b) => b[1] - a[1])
  }
  /** [name, count] of what was asked for and is not modelled. */
  unsupported(): [string, number][] {
    return [...this.missing].sort((a, b) => b[1] - a[1])
  }
}
