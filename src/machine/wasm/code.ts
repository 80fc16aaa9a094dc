/** A growing buffer of WebAssembly bytes. LEB128 forms as in the WebAssembly core specification, 5.2.2. */
export class CodeBuffer {
  bytes: Uint8Array
  length = 0

  constructor(capacity = 4096) {
    this.bytes = new Uint8Array(capacity)
  }

  private reserve(extra: number): void {
    if (this.length + extra <= this.bytes.length) return
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.length + extra))
    grown.set(this.bytes.subarray(0, this.length))
    this.bytes = grown
  }

  byte(value: number): void {
    if (this.length === this.bytes.length) this.reserve(1)
    this.bytes[this.length++] = value
  }

  append(other: Uint8Array): void {
    this.reserve(other.length)
    this.bytes.set(other, this.length)
    this.length += other.length
  }

  u32(value: number): void {
    this.reserve(5)
    let rest = value >>> 0
    while (rest >= 0x80) {
      this.bytes[this.length++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    this.bytes[this.length++] = rest
  }

  s32(value: number): void {
    this.reserve(5)
    let rest = value | 0
    while (rest < -64 || rest > 63) {
      this.bytes[this.length++] = (rest & 0x7f) | 0x80
      rest >>= 7
    }
    this.bytes[this.length++] = rest & 0x7f
  }

  /** Signed LEB128 of the 64-bit value hi:lo. */
  s64(lo: number, hi: number): void {
    if (hi === lo >> 31) {
      this.s32(lo)
      return
    }
    this.reserve(10)
    let l = lo | 0
    let h = hi | 0
    while (!(h === l >> 31 && l >= -64 && l <= 63)) {
      this.bytes[this.length++] = (l & 0x7f) | 0x80
      l = (l >>> 7) | (h << 25)
      h >>= 7
    }
    this.bytes[this.length++] = l & 0x7f
  }

  /** A vector section of the module format: id, size, contents. */
  section(id: number, contents: CodeBuffer): void {
    this.byte(id)
    this.u32(contents.length)
    this.append(contents.view())
  }

  name(text: string): void {
    this.u32(text.length)
    for (let i = 0; i < text.length; i++) this.byte(text.charCodeAt(i))
  }

  view(): Uint8Array {
    return this.bytes.subarray(0, this.length)
  }

  clear(): void {
    this.length = 0
  }
}
