/** An instruction that raised #UD because the engine or the CPU model does not have it, or the bytes are no instruction. */
export interface UnsupportedInstruction {
  readonly mnemonic: string
  /** Hex of its bytes. */
  readonly bytes: string
  /** CPUID features it belongs to, in iced's names. */
  readonly features: readonly string[]
  /** 'engine': not implemented; 'model': the CPU model lacks a feature; 'invalid': no instruction. */
  readonly reason: 'engine' | 'model' | 'invalid'
  /** Linear address of the first occurrence. */
  readonly rip: bigint
  count: number
}

/** What was hit and is not there, listed at exit. One entry per distinct instruction bytes, at most 1000. */
export class UnsupportedLog {
  private readonly entries = new Map<string, UnsupportedInstruction>()
  onFirst: (entry: UnsupportedInstruction) => void = () => {}
  /** The latest, and where it was met: who gets the #UD can say why. */
  last: UnsupportedInstruction | null = null
  lastRip = 0n

  note(entry: Omit<UnsupportedInstruction, 'count'>): void {
    const known = this.entries.get(entry.bytes)
    this.lastRip = entry.rip
    if (known !== undefined) {
      known.count++
      this.last = known
      return
    }
    const first = { ...entry, count: 1 }
    this.last = first
    if (this.entries.size >= 1000) return
    this.entries.set(entry.bytes, first)
    this.onFirst(first)
  }

  list(): UnsupportedInstruction[] {
    return [...this.entries.values()]
  }
}
