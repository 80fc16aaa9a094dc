import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'

/** The loadable segments of an ELF64 file, and what its header says it is. */
function readElf(path: string) {
  const bytes = readFileSync(path)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const segments = []
  let interpreter = false
  for (let i = 0; i < view.getUint16(56, true); i++) {
    const at = Number(view.getBigUint64(32, true)) + i * view.getUint16(54, true)
    const type = view.getUint32(at, true)
    interpreter ||= type === 3
    if (type !== 1) continue
    const [vaddr, paddr, , memsz] = [16, 24, 32, 40].map((field) => Number(view.getBigUint64(at + field, true)))
    segments.push({ vaddr, paddr, end: vaddr + memsz })
  }
  return {
    sizeBytes: bytes.length,
    type: view.getUint16(16, true),
    machine: view.getUint16(18, true),
    entry: Number(view.getBigUint64(24, true)),
    segments,
    interpreter,
  }
}

const ET_EXEC = 2
const EM_X86_64 = 62

describe('programs that lie in the repository as built', () => {
  test.each(['hello', 'integer', 'float', 'memory', 'syscall', 'exits'])('bench/programs/%s is small and static', (name) => {
    const elf = readElf(`bench/programs/${name}`)
    expect(elf).toMatchObject({ type: ET_EXEC, machine: EM_X86_64, interpreter: false })
    expect(elf.sizeBytes).toBeLessThan(100_000)
  })

  test('src/cli/doctor/probe.elf is small and static', () => {
    const elf = readElf('src/cli/doctor/probe.elf')
    expect(elf).toMatchObject({ type: ET_EXEC, machine: EM_X86_64, interpreter: false })
    expect(elf.sizeBytes).toBeLessThan(50_000)
  })

  test.each(['amx-migrate', 'split-lock'])('examples/%s keeps the guest contract', (name) => {
    const elf = readElf(`examples/${name}/${name}.elf`)
    expect(elf).toMatchObject({ type: ET_EXEC, machine: EM_X86_64, interpreter: false })
    for (const { vaddr, paddr } of elf.segments) expect([vaddr, vaddr >= 0x100000]).toEqual([paddr, true])
    const inOrder = elf.segments.toSorted((a, b) => a.vaddr - b.vaddr)
    for (const [i, { end }] of inOrder.entries()) expect(end).toBeLessThanOrEqual(inOrder[i + 1]?.vaddr ?? 1 << 30)
    expect(elf.segments.some(({ vaddr, end }) => elf.entry >= vaddr && elf.entry < end)).toBe(true)
  })
})
