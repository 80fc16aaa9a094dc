/** Reading a guest of the small VMM: an ELF64 file, as docs/guest-contract.md allows it. System V ABI, ELF chapters 4 and 5. */

/** Why a file is not a guest. */
export type GuestFileErrorCode =
  | 'not-elf'
  | 'truncated'
  | 'not-64-bit'
  | 'not-x86-64'
  | 'not-executable'
  | 'bad-program-headers'
  | 'bad-segment'
  | 'bad-entry'

/** A file cannot be run as a guest; the message is one line that says why. */
export class GuestFileError extends Error {
  readonly code: GuestFileErrorCode
  constructor(code: GuestFileErrorCode, file: string, because: string) {
    super(`${file}: ${because}`)
    this.name = 'GuestFileError'
    this.code = code
  }
}

export interface GuestSegment {
  /** Guest-physical address, which is also the linear one. */
  readonly address: number
  /** Bytes of memory; those beyond `bytes` are zero. */
  readonly size: number
  readonly bytes: Uint8Array
}

export interface GuestFile {
  readonly entry: number
  readonly segments: readonly GuestSegment[]
}

/** The VMM's own: page tables, GDT, stack. */
export const LOWEST_GUEST_ADDRESS = 0x100000

const EHDR_SIZE = 64
const PHDR_SIZE = 56
const ELFCLASS64 = 2
const ELFDATA2LSB = 1
const EM_386 = 3
const EM_X86_64 = 62
const ET_EXEC = 2
const ET_DYN = 3
const PT_LOAD = 1

type Fail = (code: GuestFileErrorCode, because: string) => never
const hex = (value: bigint | number): string => `0x${value.toString(16)}`

/**
 * @param name what messages call the file
 * @param memoryBytes guest memory, which starts at 0
 * @throws GuestFileError
 */
export function readGuestFile(file: Uint8Array, name: string, memoryBytes: number): GuestFile {
  const fail: Fail = (code, because) => {
    throw new GuestFileError(code, name, because)
  }
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  checkHeader(view, fail)
  const segments: GuestSegment[] = []
  for (const at of programHeaders(view, fail)) {
    if (view.getUint32(at, true) !== PT_LOAD) continue
    const segment = readSegment(view, at, memoryBytes, fail)
    const other = segments.find((s) => segment.address < s.address + s.size && s.address < segment.address + segment.size)
    if (other !== undefined) fail('bad-segment', `the segments at ${hex(other.address)} and ${hex(segment.address)} overlap`)
    if (segment.size > 0) segments.push(segment)
  }
  if (segments.length === 0) fail('bad-segment', 'there is no segment to load')
  const entry = view.getBigUint64(24, true)
  const inside = segments.some((s) => entry >= BigInt(s.address) && entry < BigInt(s.address + s.size))
  if (!inside) fail('bad-entry', `the entry point ${hex(entry)} lies in no segment`)
  return { entry: Number(entry), segments }
}

function checkHeader(view: DataView, fail: Fail): void {
  const size = view.byteLength
  if (size < 4 || view.getUint32(0, false) !== 0x7f454c46) fail('not-elf', 'not an ELF file')
  if (size < EHDR_SIZE) fail('truncated', `truncated: an ELF header has ${EHDR_SIZE} bytes, the file has ${size}`)
  const machine = view.getUint16(18, true)
  if (view.getUint8(4) !== ELFCLASS64) {
    fail('not-64-bit', machine === EM_386 ? 'a 32-bit x86 file; guests are 64-bit' : 'not a 64-bit file')
  }
  if (view.getUint8(5) !== ELFDATA2LSB || machine !== EM_X86_64) fail('not-x86-64', `not an x86-64 file (ELF machine ${machine})`)
  const type = view.getUint16(16, true)
  if (type === ET_DYN)
    fail('not-executable', 'position-independent (ET_DYN); link the guest at fixed addresses, with -static -no-pie')
  if (type !== ET_EXEC) fail('not-executable', `not an executable (ELF type ${type})`)
}

/** Offsets of the program headers, which all lie in the file. */
function programHeaders(view: DataView, fail: Fail): number[] {
  const offset = view.getBigUint64(32, true)
  const entrySize = view.getUint16(54, true)
  const count = view.getUint16(56, true)
  if (count === 0 || entrySize !== PHDR_SIZE) fail('bad-program-headers', `${count} program headers of ${entrySize} bytes`)
  if (offset + BigInt(count * PHDR_SIZE) > BigInt(view.byteLength)) {
    fail('truncated', 'truncated: the program headers end beyond the file')
  }
  return Array.from({ length: count }, (_, i) => Number(offset) + i * PHDR_SIZE)
}

function readSegment(view: DataView, at: number, memoryBytes: number, fail: Fail): GuestSegment {
  const offset = view.getBigUint64(at + 8, true)
  const linear = view.getBigUint64(at + 16, true)
  const address = view.getBigUint64(at + 24, true)
  const fileSize = view.getBigUint64(at + 32, true)
  const size = view.getBigUint64(at + 40, true)
  const segment = `the segment at ${hex(address)}`
  if (fileSize > size) fail('bad-segment', `${segment} has ${hex(fileSize)} bytes in the file and ${hex(size)} in memory`)
  if (offset + fileSize > BigInt(view.byteLength)) fail('truncated', `truncated: ${segment} ends beyond the file`)
  if (linear !== address) fail('bad-segment', `${segment} is linked at ${hex(linear)}: p_paddr must equal p_vaddr`)
  if (address + size > 1n << 64n) fail('bad-segment', `${segment} of ${hex(size)} bytes wraps around the address space`)
  if (address < BigInt(LOWEST_GUEST_ADDRESS) && size > 0n) {
    fail('bad-segment', `${segment} lies below ${hex(LOWEST_GUEST_ADDRESS)}, which is the VMM's`)
  }
  if (address + size > BigInt(memoryBytes)) {
    fail('bad-segment', `${segment} of ${hex(size)} bytes ends beyond the guest's memory of ${hex(memoryBytes)} bytes`)
  }
  const from = view.byteOffset + Number(offset)
  return { address: Number(address), size: Number(size), bytes: new Uint8Array(view.buffer, from, Number(fileSize)) }
}
