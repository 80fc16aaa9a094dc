import { EINVAL, ENOEXEC, ENOMEM } from '../errno.ts'
import type { OpenFile } from '../file.ts'
import { ELF_ET_DYN_BASE, MMAP_MIN_ADDR, pageAlignDown, pageAlignUp, TASK_SIZE_MAX } from '../mm/layout.ts'
import { ProgramError, type ProgramErrorCode } from './program-error.ts'

/** Reading an ELF64 program. LUX-01; System V ABI ELF chapters 4 and 5; fs/binfmt_elf.c. */

const ET_EXEC = 2
const ET_DYN = 3
const EM_386 = 3
const EM_X86_64 = 62
const PT_LOAD = 1
const PT_INTERP = 3
const PT_GNU_STACK = 0x6474e551
const PF_X = 1
const PF_W = 2
const PF_R = 4
const EHDR_SIZE = 64
export const PHDR_SIZE = 56
/** The kernel reads program headers up to this size (ELF_MIN_ALIGN pages of them). */
const MAX_PHDR_BYTES = 65536

/** One PT_LOAD, with addresses as in the file (before any load bias). */
export interface LoadSegment {
  readonly offset: number
  readonly address: number
  readonly fileSize: number
  readonly memorySize: number
  /** PROT_* */
  readonly prot: number
}

/** A checked program: what to map where. */
export interface ElfProgram {
  readonly segments: readonly LoadSegment[]
  /** Added to every address: 0 for ET_EXEC. */
  readonly bias: number
  readonly entry: number
  /** User address of the program headers, 0 if no segment holds them. */
  readonly phdrAddress: number
  readonly phdrCount: number
  readonly executableStack: boolean
  /** End of the last segment, page aligned: where the heap starts. */
  readonly end: number
}

/** Checks the file and lays it out. Throws ProgramError, with the errno execve gives. */
export function readElf(file: OpenFile, path: string): ElfProgram {
  const fail = (code: ProgramErrorCode, because: string, errno: number = ENOEXEC): never => {
    throw new ProgramError(code, path, because, -errno)
  }
  const header = new Uint8Array(EHDR_SIZE)
  const got = file.readKernel(header, 0, EHDR_SIZE, 0)
  if (got < 0) fail('not-readable', 'cannot be read', -got)
  const view = new DataView(header.buffer)
  if (got < 4 || view.getUint32(0, false) !== 0x7f454c46) {
    const script = got >= 2 && view.getUint16(0, false) === 0x2321
    fail(
      'not-elf',
      script ? 'a script, not an ELF program: name its interpreter, if that is a static program' : 'not an ELF program',
    )
  }
  if (got < EHDR_SIZE) fail('truncated', `truncated: the ELF header needs ${EHDR_SIZE} bytes, the file has ${got}`)
  const machine = view.getUint16(18, true)
  if (header[4] === 1)
    fail('not-x86-64', machine === EM_386 ? 'a 32-bit x86 program; only x86-64 programs run here' : 'a 32-bit program')
  if (header[4] !== 2 || header[5] !== 1 || machine !== EM_X86_64)
    fail('not-x86-64', `not an x86-64 program (ELF machine ${machine})`)
  const type = view.getUint16(16, true)
  if (type !== ET_EXEC && type !== ET_DYN) fail('not-executable-type', `not an executable (ELF type ${type})`)
  const phdrOffset = longAt(view, 32)
  const phdrSize = view.getUint16(54, true)
  const phdrCount = view.getUint16(56, true)
  if (phdrSize !== PHDR_SIZE || phdrCount === 0 || phdrCount * PHDR_SIZE > MAX_PHDR_BYTES) {
    fail('bad-program-headers', `${phdrCount} program headers of ${phdrSize} bytes`)
  }
  const table = new Uint8Array(phdrCount * PHDR_SIZE)
  if (!(phdrOffset >= 0 && phdrOffset < Number.MAX_SAFE_INTEGER))
    fail('bad-program-headers', 'the program headers lie outside the file')
  if (file.readKernel(table, 0, table.length, phdrOffset) !== table.length)
    fail('truncated', 'truncated: the program headers end beyond the file')
  const segments: LoadSegment[] = []
  let executableStack = true
  const size = file.seekEnd()
  for (let i = 0; i < phdrCount; i++) {
    const at = new DataView(table.buffer, i * PHDR_SIZE, PHDR_SIZE)
    const kind = at.getUint32(0, true)
    if (kind === PT_INTERP) fail('dynamic', 'a dynamically linked program: only static ones are supported')
    if (kind === PT_GNU_STACK) executableStack = (at.getUint32(4, true) & PF_X) !== 0
    if (kind === PT_LOAD) {
      const segment = loadSegment(at)
      const wrong = segmentProblem(segment, segments, size, type === ET_EXEC)
      if (wrong !== null) fail(wrong.code, wrong.because, wrong.errno)
      if (segment.memorySize > 0) segments.push(segment)
    }
  }
  if (segments.length === 0) fail('bad-segment', 'no segment to load')
  return layOut(view, type, segments, phdrOffset, phdrCount, executableStack, fail)
}

function layOut(
  view: DataView,
  type: number,
  segments: LoadSegment[],
  phdrOffset: number,
  phdrCount: number,
  executableStack: boolean,
  fail: (code: ProgramErrorCode, because: string, errno?: number) => never,
): ElfProgram {
  const first = pageAlignDown(segments[0].address)
  const last = segments[segments.length - 1]
  const bias = type === ET_DYN ? ELF_ET_DYN_BASE - first : 0
  const end = pageAlignUp(last.address + last.memorySize) + bias
  if (end > TASK_SIZE_MAX) fail('bad-segment', 'the program does not fit into the address space', ENOMEM)
  const entry = longAt(view, 24) + bias
  if (!(entry >= 0 && entry < TASK_SIZE_MAX)) fail('bad-segment', 'the entry point lies outside the user address space', EINVAL)
  let phdrAddress = 0
  for (const segment of segments) {
    if (phdrOffset >= segment.offset && phdrOffset < segment.offset + segment.fileSize) {
      phdrAddress = phdrOffset - segment.offset + segment.address + bias
    }
  }
  return { segments, bias, entry, phdrAddress, phdrCount, executableStack, end }
}

function longAt(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 4294967296 + view.getUint32(at, true)
}

function loadSegment(at: DataView): LoadSegment {
  const flags = at.getUint32(4, true)
  const prot = ((flags & PF_R) !== 0 ? 1 : 0) | ((flags & PF_W) !== 0 ? 2 : 0) | ((flags & PF_X) !== 0 ? 4 : 0)
  return { offset: longAt(at, 8), address: longAt(at, 16), fileSize: longAt(at, 32), memorySize: longAt(at, 40), prot }
}

interface Problem {
  readonly code: ProgramErrorCode
  readonly because: string
  readonly errno: number
}

/** What is wrong with a segment, given those before it; null = nothing. */
function segmentProblem(segment: LoadSegment, before: LoadSegment[], fileBytes: number, fixed: boolean): Problem | null {
  const { offset, address, fileSize, memorySize } = segment
  const hex = `0x${address.toString(16)}`
  const bad = (because: string, errno: number = EINVAL): Problem => ({ code: 'bad-segment', because, errno })
  if (fileSize > memorySize) return bad(`segment at ${hex} has more bytes in the file than in memory`)
  if (memorySize > TASK_SIZE_MAX || address > TASK_SIZE_MAX || address + memorySize > TASK_SIZE_MAX) {
    return bad(`segment at ${hex} of 0x${memorySize.toString(16)} bytes lies outside the user address space`, ENOMEM)
  }
  if (offset % 4096 !== address % 4096) return bad(`segment at ${hex}: file offset and address differ within the page`)
  if (fileSize > 0 && offset + fileSize > fileBytes) {
    return { code: 'truncated', because: `truncated: segment at ${hex} ends beyond the file`, errno: ENOEXEC }
  }
  if (fixed && pageAlignDown(address) < MMAP_MIN_ADDR && memorySize > 0)
    return bad(`segment at ${hex} lies below the lowest address`, 1)
  const previous = before[before.length - 1]
  if (previous !== undefined && address < previous.address + previous.memorySize) {
    return bad(`segment at ${hex} overlaps or precedes the one before it`)
  }
  if (
    previous !== undefined &&
    pageAlignDown(address) < pageAlignUp(previous.address + previous.memorySize) &&
    pageAlignDown(address) < pageAlignDown(previous.address + previous.memorySize - 1)
  ) {
    return bad(`segment at ${hex} overlaps the pages of the one before it`)
  }
  return null
}
