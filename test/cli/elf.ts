/** ELF64 files made in code, whole or broken in one place. Field names are those of elf(5). */

export interface ProgramHeader {
  p_type: number
  p_flags: number
  p_offset: bigint
  p_vaddr: bigint
  p_filesz: bigint
  p_memsz: bigint
  p_align: bigint
}

export interface ElfFile {
  /** ELFCLASS64 is 2. */
  class: number
  /** ELFDATA2LSB is 1. */
  data: number
  e_type: number
  e_machine: number
  e_entry: bigint
  e_phoff: bigint
  e_phentsize: number
  /** Default: as many as there are. */
  e_phnum: number | undefined
  headers: ProgramHeader[]
  /** Bytes at file offset 0x1000. */
  code: number[]
  /** Bytes the file is cut to; default: as long as it needs to be. */
  length: number | undefined
}

export const PT_LOAD = 1
export const PT_INTERP = 3
export const ET_REL = 1
export const ET_EXEC = 2
export const ET_DYN = 3
export const EM_386 = 3
export const EM_X86_64 = 62
export const EM_AARCH64 = 183
export const BASE = 0x400000n
const CODE_OFFSET = 0x1000

/** exit_group(0) */
const EXIT = [0xb8, 231, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]

export function load(changes: Partial<ProgramHeader> = {}): ProgramHeader {
  return {
    p_type: PT_LOAD,
    p_flags: 5,
    p_offset: BigInt(CODE_OFFSET),
    p_vaddr: BASE,
    p_filesz: 0x100n,
    p_memsz: 0x100n,
    p_align: 0x1000n,
    ...changes,
  }
}

/** A static program that exits with status 0, with these changes. */
export function elf(changes: Partial<ElfFile> = {}): Uint8Array {
  const file: ElfFile = {
    class: 2,
    data: 1,
    e_type: ET_EXEC,
    e_machine: EM_X86_64,
    e_entry: BASE,
    e_phoff: 64n,
    e_phentsize: 56,
    e_phnum: undefined,
    headers: [load()],
    code: EXIT,
    length: undefined,
    ...changes,
  }
  const bytes = new Uint8Array(CODE_OFFSET + 0x1000)
  const view = new DataView(bytes.buffer)
  bytes.set([0x7f, 0x45, 0x4c, 0x46, file.class, file.data, 1])
  view.setUint16(16, file.e_type, true)
  view.setUint16(18, file.e_machine, true)
  view.setUint32(20, 1, true)
  view.setBigUint64(24, file.e_entry, true)
  view.setBigUint64(32, file.e_phoff, true)
  view.setUint16(52, 64, true)
  view.setUint16(54, file.e_phentsize, true)
  view.setUint16(56, file.e_phnum ?? file.headers.length, true)
  for (const [i, header] of file.headers.entries()) writeHeader(view, 64 + i * 56, header)
  bytes.set(file.code, CODE_OFFSET)
  return bytes.slice(0, file.length ?? bytes.length)
}

function writeHeader(view: DataView, at: number, header: ProgramHeader): void {
  view.setUint32(at, header.p_type, true)
  view.setUint32(at + 4, header.p_flags, true)
  view.setBigUint64(at + 8, header.p_offset, true)
  view.setBigUint64(at + 16, header.p_vaddr, true)
  view.setBigUint64(at + 24, header.p_vaddr, true)
  view.setBigUint64(at + 32, header.p_filesz, true)
  view.setBigUint64(at + 40, header.p_memsz, true)
  view.setBigUint64(at + 48, header.p_align, true)
}
