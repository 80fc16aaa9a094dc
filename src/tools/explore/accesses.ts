/** Most cells a model may have: access sets are fixed bit strings. */
const WORDS = 2
export const MAX_CELLS = WORDS * 32

/** The cells that one step read and wrote. Bit n = cell n. */
export interface Accesses {
  readonly reads: Int32Array
  readonly writes: Int32Array
}

export const newAccesses = (): Accesses => ({ reads: new Int32Array(WORDS), writes: new Int32Array(WORDS) })

export function copyAccesses(from: Accesses, into: Accesses = newAccesses()): Accesses {
  for (let i = 0; i < WORDS; i++) {
    into.reads[i] = from.reads[i]
    into.writes[i] = from.writes[i]
  }
  return into
}

export function clearAccesses({ reads, writes }: Accesses): void {
  for (let i = 0; i < WORDS; i++) reads[i] = writes[i] = 0
}

export function addCell(set: Int32Array, cell: number): void {
  set[cell >>> 5] |= 1 << (cell & 31)
}

/** Names of the cells in a set, in their order. */
export function namesIn(set: Int32Array, cells: readonly string[]): string[] {
  return cells.filter((_, cell) => (set[cell >>> 5] & (1 << (cell & 31))) !== 0)
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
    clearAccesses(this.step)
    this.recording = true
  }
  /** What the step touched: valid until the next one begins. */
  end(): Accesses {
    this.recording = false
    return this.step
  }

  read(cell: number): void {
    if (this.recording) addCell(this.step.reads, cell)
  }
  write(cell: number): void {
    if (this.recording) addCell(this.step.writes, cell)
  }
}
