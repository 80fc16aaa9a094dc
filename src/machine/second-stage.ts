/** Permissions of a second-stage (EPT) entry. */
export const EPT_READ = 1
export const EPT_WRITE = 2
export const EPT_EXECUTE = 4

/**
 * Guest-physical to host-physical translation, 4 KiB pages (the hardware's EPT or nested page tables).
 * An entry is hpa page << 12 | EPT_* bits; 0 is "not present" and makes an EPT violation.
 */
export class SecondStage {
  private readonly tables = new Map<number, Uint32Array>()
  /** Called after entries were removed or lost permissions: translations cached from them must go. */
  onInvalidate: () => void = () => {}

  /** @param gfn guest page number (gpa / 4096), 0 .. 2^40 - 1 */
  lookup(gfn: number): number {
    const table = this.tables.get(Math.floor(gfn / 512))
    return table === undefined ? 0 : table[gfn % 512]
  }

  map(gfn: number, hpaPage: number, permissions: number): void {
    const key = Math.floor(gfn / 512)
    let table = this.tables.get(key)
    if (table === undefined) this.tables.set(key, (table = new Uint32Array(512)))
    const old = table[gfn % 512]
    table[gfn % 512] = ((hpaPage << 12) | permissions) >>> 0
    if (old !== 0) this.onInvalidate()
  }

  /** Removes `count` pages from `gfn` on. */
  unmap(gfn: number, count: number): void {
    let removed = false
    for (const [key, table] of this.tables) {
      const first = key * 512
      if (first + 512 <= gfn || first >= gfn + count) continue
      const from = Math.max(0, gfn - first)
      const to = Math.min(512, gfn + count - first)
      for (let i = from; i < to; i++) {
        if (table[i] !== 0) removed = true
        table[i] = 0
      }
    }
    if (removed) this.onInvalidate()
  }

  /** Removes EPT_WRITE from `count` pages (dirty logging). */
  writeProtect(gfn: number, count: number): void {
    for (const [key, table] of this.tables) {
      const first = key * 512
      if (first + 512 <= gfn || first >= gfn + count) continue
      for (let i = Math.max(0, gfn - first); i < Math.min(512, gfn + count - first); i++) table[i] &= ~EPT_WRITE
    }
    this.onInvalidate()
  }

  clear(): void {
    this.tables.clear()
    this.onInvalidate()
  }
}
