import { readFileSync } from 'node:fs'

const SYMTAB = 2

interface CodeImage {
  /** Linear address of the first byte. */
  base: number
  bytes: Uint8Array
  symbols: ReadonlyMap<string, number>
}

let image: CodeImage | undefined
/** test/fixtures/cet/cet-code.elf: its one segment and its symbols. */
export function codeImage(): CodeImage {
  image ??= readElf(readFileSync(new URL('../../fixtures/cet/cet-code.elf', import.meta.url)))
  return image
}

/** Linear address of a routine. */
export function addressOf(symbol: string): number {
  const address = codeImage().symbols.get(symbol)
  if (address === undefined) throw new Error(`cet-code.elf has no symbol ${symbol}`)
  return address
}

/** ELF64, little-endian: header fields at their offsets. */
function readElf(file: Uint8Array): CodeImage {
  const view = new DataView(file.buffer, file.byteOffset, file.length)
  const u64 = (at: number): number => Number(view.getBigUint64(at, true))
  const segment = u64(0x20)
  const [offset, base, size] = [u64(segment + 8), u64(segment + 16), u64(segment + 32)]
  const symbols = new Map<string, number>()
  const sections = u64(0x28)
  for (let i = 0; i < view.getUint16(0x3c, true); i++) {
    const section = sections + i * 64
    if (view.getUint32(section + 4, true) !== SYMTAB) continue
    const strings = u64(sections + view.getUint32(section + 40, true) * 64 + 24)
    for (let at = u64(section + 24); at < u64(section + 24) + u64(section + 32); at += 24) {
      const start = strings + view.getUint32(at, true)
      const name = new TextDecoder().decode(file.subarray(start, file.indexOf(0, start)))
      if (name !== '') symbols.set(name, u64(at + 8))
    }
  }
  return { base, bytes: file.subarray(offset, offset + size), symbols }
}
