import { spawnSync } from 'node:child_process'
import { mkdirSync, symlinkSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { exec, type Ran, Scratch, worldswitch } from './command.ts'
import { BASE, EM_386, EM_AARCH64, ET_DYN, ET_REL, elf, load, PT_INTERP } from './elf.ts'

const scratch = new Scratch()
afterAll(() => scratch.remove())

/** What a header claims must not become memory of ours. */
const SMALL = { env: { NODE_OPTIONS: '--max-old-space-size=64' } }

const NOT_RUNNABLE = 126
const NOT_FOUND = 127

/** One line on stderr that names the file and says `because`; nothing else, and soon. */
function expectRefusal(ran: Ran, status: number, because: string): void {
  expect(ran).toMatchObject({ status, stdout: '' })
  expect(ran.stderr).toMatch(/^worldswitch: [^\n]+\n$/)
  expect(ran.stderr).toContain(because)
  expect(ran.stderr).not.toContain('internal error')
  expect(ran.milliseconds).toBeLessThan(10_000)
}

describe('a program that is not there', () => {
  test.concurrent('missing file', async () => {
    expectRefusal(await exec([], scratch.at('missing')), NOT_FOUND, `${scratch.at('missing')}: no such file`)
  })
  test.concurrent('a file where a directory should be', async () => {
    expectRefusal(await exec([], `${scratch.write('plain', '')}/program`), NOT_FOUND, 'no such file')
  })
  test.concurrent('a link to nothing', async () => {
    symlinkSync('nowhere', scratch.at('dangling'))
    expectRefusal(await exec([], scratch.at('dangling')), NOT_FOUND, 'no such file')
  })
  test.concurrent('a name that is not in PATH', async () => {
    expectRefusal(await worldswitch(['exec', '--', 'no-such-program-anywhere']), NOT_FOUND, 'no such program in PATH')
    expectRefusal(await worldswitch(['exec', '--', '']), NOT_FOUND, 'no such program in PATH')
  })
  test.concurrent('a name with line breaks and terminal commands stays one harmless line', async () => {
    const ran = await exec([], '/no\nsuch\x1b[2Jthing')
    expectRefusal(ran, NOT_FOUND, 'no such file')
    expect(ran.stderr).not.toContain('\x1b')
  })
})

describe('a file that is no program', () => {
  test.concurrent('directory', async () => {
    expectRefusal(await exec([], scratch.path), NOT_RUNNABLE, 'is a directory')
  })
  test.concurrent('device', async () => {
    expectRefusal(await exec([], '/dev/null'), NOT_RUNNABLE, 'is no regular file')
  })
  test.concurrent('named pipe: it is not opened, so nothing waits', async () => {
    spawnSync('mkfifo', [scratch.at('pipe')])
    expectRefusal(await exec([], scratch.at('pipe')), NOT_RUNNABLE, 'is no regular file')
  })
  test.concurrent('no execute permission', async () => {
    expectRefusal(await exec([], scratch.write('unexecutable', elf(), 0o644)), NOT_RUNNABLE, 'no execute permission')
  })
})

/** name, what is in the file, what is said about it. */
const FILES: [string, string | Uint8Array, string][] = [
  ['empty', '', 'not an ELF program'],
  ['a shell script', '#!/bin/sh\nexit 0\n', 'a script'],
  ['text', 'hello\n', 'not an ELF program'],
  ['three bytes of the magic number', '\x7fEL', 'not an ELF program'],
  ['the magic number alone', '\x7fELF', 'truncated'],
  ['truncated ELF header', elf({ length: 63 }), 'truncated'],
  ['truncated program headers', elf({ length: 64 + 55 }), 'truncated'],
  ['truncated segment', elf({ length: 0x1080 }), 'truncated'],
  ['32-bit x86', elf({ class: 1, e_machine: EM_386 }), '32-bit'],
  ['big-endian', elf({ data: 2 }), 'not an x86-64 program'],
  ['another machine', elf({ e_machine: EM_AARCH64 }), 'not an x86-64 program'],
  ['an object file', elf({ e_type: ET_REL }), 'not an executable'],
  ['dynamically linked', elf({ e_type: ET_DYN, headers: [load({ p_type: PT_INTERP }), load()] }), 'dynamically linked'],
  ['no program headers', elf({ e_phnum: 0, headers: [] }), 'program headers'],
  ['program headers of another size', elf({ e_phentsize: 32 }), 'program headers'],
  ['65535 program headers', elf({ e_phnum: 0xffff }), 'program headers'],
  ['program headers that are not in the file', elf({ e_phoff: 0x100000n }), 'truncated'],
  ['program headers at the end of the number range', elf({ e_phoff: 0xffffffffffffffc0n }), 'program headers'],
  ['nothing to load', elf({ headers: [load({ p_type: 4 })] }), 'no segment'],
  ['an empty segment only', elf({ headers: [load({ p_filesz: 0n, p_memsz: 0n })] }), 'no segment'],
  ['more in the file than in memory', elf({ headers: [load({ p_memsz: 0x80n })] }), 'more bytes in the file than in memory'],
  ['a segment of 2^63 bytes', elf({ headers: [load({ p_memsz: 1n << 63n })] }), 'outside the user address space'],
  ['a segment that wraps', elf({ headers: [load({ p_vaddr: 0xfffffffffffff000n, p_memsz: 0x2000n })] }), 'address space'],
  ['a segment in the kernel half', elf({ headers: [load({ p_vaddr: 0xffff800000000000n })] }), 'address space'],
  ['a segment across the end of user space', elf({ headers: [load({ p_vaddr: 0x7ffffffff000n })] }), 'address space'],
  ['a segment at address 0', elf({ headers: [load({ p_vaddr: 0n })], e_entry: 0n }), 'lowest address'],
  [
    'file bytes that wrap',
    elf({ headers: [load({ p_offset: 0xfffffffffffff000n, p_filesz: 0x2000n, p_memsz: 0x2000n })] }),
    'truncated',
  ],
  ['file bytes beyond the end', elf({ headers: [load({ p_offset: 0x100000n })] }), 'truncated'],
  ['offset and address that do not fit', elf({ headers: [load({ p_vaddr: BASE + 8n })] }), 'within the page'],
  ['the same segment twice', elf({ headers: [load(), load()] }), 'overlaps'],
  [
    'segments that overlap by a byte',
    elf({ headers: [load({ p_memsz: 0x1001n }), load({ p_vaddr: BASE + 0x1000n })] }),
    'overlaps',
  ],
  ['segments in descending order', elf({ headers: [load({ p_vaddr: BASE + 0x1000n }), load()] }), 'overlaps'],
  ['an entry point in the kernel half', elf({ e_entry: 0xffffffff81000000n }), 'entry point'],
]

describe('a file that is no program this host runs', () => {
  test.concurrent.each(FILES)('%s', async (name, content, because) => {
    const path = scratch.write(name.replaceAll(/[^a-z0-9]+/gi, '-'), content)
    const ran = await exec([], path, [], SMALL)
    expectRefusal(ran, NOT_RUNNABLE, because)
    expect(ran.stderr).toContain(path)
  })
})

describe('a strange program that Linux starts all the same', () => {
  const starts = async (name: string, content: Uint8Array) => exec([], scratch.write(name, content), [], SMALL)

  test.concurrent('is the base of these cases, and exits', async () => {
    expect(await starts('good', elf())).toMatchObject({ status: 0, stdout: '', stderr: '' })
    expect(await starts('good-pie', elf({ e_type: ET_DYN }))).toMatchObject({ status: 0 })
  })
  test.concurrent('entry point outside every segment: SIGSEGV', async () => {
    expect(await starts('lost', elf({ e_entry: 0x12345678n }))).toMatchObject({ status: 139, stdout: '', stderr: '' })
  })
  test.concurrent('segment without execute permission: SIGSEGV', async () => {
    expect(await starts('data-only', elf({ headers: [load({ p_flags: 4 })] }))).toMatchObject({ status: 139 })
  })
  test.concurrent('61 program headers of which one counts', async () => {
    const nothing = load({ p_type: 0 })
    const headers = [...Array.from({ length: 60 }, () => nothing), load()]
    expect(await starts('many', elf({ headers }))).toMatchObject({ status: 0 })
  })
  test.concurrent('64 TiB that it never touches', async () => {
    const memory = load({ p_flags: 6, p_vaddr: 0x10000000n, p_filesz: 0n, p_memsz: 1n << 46n })
    expect(await starts('roomy', elf({ headers: [load(), memory] }))).toMatchObject({ status: 0, stderr: '' })
  })
})

test.concurrent('a program whose name is not ASCII', async () => {
  mkdirSync(scratch.at('dossier été'))
  expect(await exec([], scratch.write('dossier été/прог', elf()))).toMatchObject({ status: 0, stderr: '' })
})
