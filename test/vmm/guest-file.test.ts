import { describe, expect, it } from 'vitest'
import { GuestFileError, readGuestFile } from '../../src/vmm/small-vmm/guest-file.ts'
import { type ElfFile, EM_386, EM_AARCH64, ET_DYN, ET_REL, load, PT_INTERP } from '../cli/elf.ts'
import { amxMigrate, guestBytes, MEMORY } from './guests.ts'

const HLT = [0xf4]

function errorOf(file: Uint8Array, memory = MEMORY): GuestFileError {
  try {
    readGuestFile(file, 'g.elf', memory)
  } catch (error) {
    if (error instanceof GuestFileError) return error
    throw error
  }
  throw new Error('the file was taken')
}

const header = (changes: Partial<ReturnType<typeof load>>): Partial<ElfFile> => ({ headers: [load(changes)] })

/** What is wrong with the file, the code, and the words. */
const BAD: [string, Partial<ElfFile>, string, RegExp][] = [
  ['32-bit', { class: 1, e_machine: EM_386 }, 'not-64-bit', /a 32-bit x86 file/],
  ['of another machine', { e_machine: EM_AARCH64 }, 'not-x86-64', /ELF machine 183/],
  ['big-endian', { data: 2 }, 'not-x86-64', /not an x86-64 file/],
  ['position-independent', { e_type: ET_DYN }, 'not-executable', /position-independent/],
  ['an object file', { e_type: ET_REL }, 'not-executable', /ELF type 1/],
  ['cut inside the ELF header', { length: 60 }, 'truncated', /64 bytes, the file has 60/],
  ['cut inside the program headers', { length: 100 }, 'truncated', /program headers end beyond the file/],
  ['cut inside a segment', { length: 0x1010 }, 'truncated', /segment at 0x400000 ends beyond the file/],
  ['without program headers', { e_phnum: 0 }, 'bad-program-headers', /0 program headers/],
  ['with program headers of a strange size', { e_phentsize: 32 }, 'bad-program-headers', /of 32 bytes/],
  ['with program headers at the end of the world', { e_phoff: 0xffff_ffff_ffff_fff0n }, 'truncated', /program headers/],
  ['without a segment', { headers: [load({ p_type: PT_INTERP })] }, 'bad-segment', /no segment to load/],
  [
    'with a segment larger in the file',
    header({ p_filesz: 0x200n }),
    'bad-segment',
    /0x200 bytes in the file and 0x100 in memory/,
  ],
  ['with a huge segment', header({ p_memsz: 1n << 40n }), 'bad-segment', /ends beyond the guest's memory/],
  ['with a segment that wraps', header({ p_memsz: 0xffff_ffff_ffff_f000n }), 'bad-segment', /wraps around/],
  ['with a segment at the top', header({ p_vaddr: 0xffff_ffff_ffff_0000n }), 'bad-segment', /ends beyond the guest's memory/],
  ['with a segment in the first MiB', header({ p_vaddr: 0xff000n, p_memsz: 0x2000n }), 'bad-segment', /below 0x100000/],
  ['with a segment far behind in the file', header({ p_offset: 1n << 63n }), 'truncated', /ends beyond the file/],
  [
    'with overlapping segments',
    { headers: [load(), load({ p_vaddr: 0x4000f0n })] },
    'bad-segment',
    /0x400000 and 0x4000f0 overlap/,
  ],
  ['with an entry outside', { e_entry: 0x500000n }, 'bad-entry', /entry point 0x500000/],
]

describe('a guest file', () => {
  it.each(BAD)('%s is refused in one line', (_what, changes, code, words) => {
    const error = errorOf(guestBytes(HLT, changes))
    expect(error.code).toBe(code)
    expect(error.message).toMatch(words)
    expect(error.message).toMatch(/^g\.elf: [^\n]+$/)
  })

  it('that is no ELF file, or empty, is refused', () => {
    expect(errorOf(new Uint8Array(0)).code).toBe('not-elf')
    expect(errorOf(new TextEncoder().encode('#!/bin/sh\nexit 0\n')).code).toBe('not-elf')
    expect(errorOf(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46)).code).toBe('truncated')
  })

  it('linked at one address to be loaded at another is refused', () => {
    const file = guestBytes(HLT)
    new DataView(file.buffer).setBigUint64(64 + 24, 0x300000n, true)
    expect(errorOf(file).message).toMatch(/segment at 0x300000 is linked at 0x400000/)
  })

  it('that fits exactly is taken, one page more is not', () => {
    const end = { headers: [load({ p_vaddr: BigInt(MEMORY - 0x1000), p_memsz: 0x1000n })], e_entry: BigInt(MEMORY - 0x1000) }
    expect(readGuestFile(guestBytes(HLT, end), 'g.elf', MEMORY).segments[0].size).toBe(0x1000)
    expect(errorOf(guestBytes(HLT, end), MEMORY - 0x1000).code).toBe('bad-segment')
  })

  it('is taken as our example is', () => {
    expect(amxMigrate.entry).toBe(0x101220)
    expect(amxMigrate.segments.map((s) => s.address)).toEqual([0x100000, 0x101000, 0x102000, 0x103180])
  })

  it('never makes anything but a GuestFileError, whatever byte of its headers is changed', () => {
    const good = guestBytes(HLT)
    for (let at = 0; at < 64 + 56; at++) {
      for (const value of [0, 1, 0x7f, 0x80, 0xff]) {
        const file = good.slice()
        file[at] = value
        try {
          readGuestFile(file, 'g.elf', MEMORY)
        } catch (error) {
          expect(error).toBeInstanceOf(GuestFileError)
        }
      }
    }
  })
})
