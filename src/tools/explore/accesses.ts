/** Most cells a model may have: access sets are fixed bit strings. */
const WORDS = 3
export const MAX_CELLS = WORDS * 32

/** The cells that one step read and wrote. Bit n = cell n. */
export interface Accesses {
  readonly reads: Uint32Array
  readonly writes: Uint32Array
}

export const newAccesses = (): Accesses => ({ reads: new Uint32Array(WORDS), writes: new Uint32Array(WORDS) })

export function copyAccesses({ reads, writes }: Accesses): Accesses {
  return { reads: reads.slice(), writes: writes.slice() }
}

/** Two steps do not commute: one writes a cell that the other reads or writes. */
export function conflict(a: Accesses, b: Accesses): boolean {
  for (let i = 0; i < WORDS; i++) {
    if ((a.writes[i] & (b.reads[i] | b.writes[i])) !== 0 || (a.reads[i] & b.writes[i]) !== 0) return true
  }
  return false
}

/** Collects what the step under way touches. Cells are registered by name before a search. */
export class Recorder {
  readonly names: string[] = []
  readonly step = newAccesses()
  /** Off while a model is built, reset or looked at. */
  recording = false

  /** A new cell. RangeError when there are too many. */
  cell(name: string): number {
    if (this.names.length >= MAX_CELLS) throw new RangeError(`a model has at most ${MAX_CELLS} cells`)
    this.names.push(name)
    return this.names.length - 1
  }

  begin(): void {
    this.step.reads.fill(0)
    this.step.writes.fill(0)
    this.recording = true
  }
  /** What the step touched: valid until the next one begins. */
  end(): Accesses {
    this.recording = false
    return this.step
  }

  read(cell: number): void {
    if (this.recording) this.step.reads[cell >>> 5] |= 1 << (cell & 31)
  }
  write(cell: number): void {
    if (this.recording) this.step.writes[cell >>> 5] |= 1 << (cell & 31)
  }
}
