import { SnapshotError } from './snapshot-error.ts'

/**
 * The header of a saved guest, 64 bytes, little-endian:
 *
 *  0  16  magic `WSGUEST-x86_64\r\n`; the line end shows what a text-mode copy does to it
 * 16   4  version of the format
 * 20   4  bytes of this header
 * 24   4  CRC-32 of everything behind the header
 * 28   4  bytes of the description, which follows the header
 * 32   8  bytes of the data, which follow the description to the end of the file
 * 40  24  zero
 */
export const HEADER_BYTES = 64
/** Written today. Readers take every version up to it. */
export const FORMAT_VERSION = 1

const MAGIC_PREFIX = 'WSGUEST-'
const ARCHITECTURE = 'x86_64\r\n'
const MAX_DESCRIPTION = 4 << 20
const MAX_DATA = 2 ** 32

export interface SnapshotHeader {
  readonly version: number
  readonly crc: number
  readonly descriptionBytes: number
  readonly dataBytes: number
}

export function encodeHeader(header: SnapshotHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES)
  const view = new DataView(bytes.buffer)
  bytes.set(new TextEncoder().encode(MAGIC_PREFIX + ARCHITECTURE))
  view.setUint32(16, header.version, true)
  view.setUint32(20, HEADER_BYTES, true)
  view.setUint32(24, header.crc, true)
  view.setUint32(28, header.descriptionBytes, true)
  view.setBigUint64(32, BigInt(header.dataBytes), true)
  return bytes
}

/** Checks everything that can be checked without looking at the content. @throws SnapshotError */
export function decodeHeader(file: Uint8Array): SnapshotHeader {
  const magic = String.fromCharCode(...file.subarray(0, 16))
  if (!magic.startsWith(MAGIC_PREFIX)) throw new SnapshotError('not-a-snapshot', 'not a saved guest')
  if (file.length < HEADER_BYTES) {
    throw new SnapshotError('truncated', `truncated: the header has ${HEADER_BYTES} bytes, the file ${file.length}`)
  }
  if (magic !== MAGIC_PREFIX + ARCHITECTURE) {
    const architecture = magic.slice(MAGIC_PREFIX.length).trim()
    throw new SnapshotError('other-architecture', `a saved guest of architecture '${printable(architecture)}', not x86_64`)
  }
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const version = view.getUint32(16, true)
  if (version === 0 || version > FORMAT_VERSION) {
    throw new SnapshotError('newer-version', `format version ${version}; this program reads versions 1 to ${FORMAT_VERSION}`)
  }
  const crc = view.getUint32(24, true)
  const descriptionBytes = view.getUint32(28, true)
  const dataBytes = Number(view.getBigUint64(32, true))
  if (descriptionBytes > MAX_DESCRIPTION || dataBytes > MAX_DATA) {
    throw new SnapshotError('too-large', `it claims ${descriptionBytes} bytes of description and ${dataBytes} of data`)
  }
  const expected = HEADER_BYTES + descriptionBytes + dataBytes
  if (file.length < expected) {
    throw new SnapshotError('truncated', `truncated: ${expected} bytes are expected, the file has ${file.length}`)
  }
  if (file.length > expected) throw new SnapshotError('damaged', `${file.length - expected} bytes follow the end`)
  return { version, crc, descriptionBytes, dataBytes }
}

const printable = (text: string): string => text.replace(/[^ -~]/g, '?')
