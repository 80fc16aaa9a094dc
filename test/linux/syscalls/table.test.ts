import { describe, expect, test } from 'vitest'
import { EBUSY, type RefusalSlot, refuse } from '../../../src/linux/errno.ts'
import { resultText } from '../../../src/linux/syscalls/strace.ts'
import { flagTables } from '../../../src/linux/syscalls/strace-flags.ts'
import { syscallTable } from '../../../src/linux/syscalls/table.ts'
import { runProgram } from '../programs.ts'

const rows = syscallTable.flatMap((row, nr) => (row === undefined ? [] : [{ nr, row }]))

describe('the system-call table', () => {
  test('names are unique', () => {
    const names = rows.map(({ row }) => row.name)
    expect(new Set(names).size).toBe(names.length)
  })
  test('every argument word is one strace can show', () => {
    const plain = new Set(['fd', 'dirfd', 'int', 'uint', 'hex', 'ptr', 'size', 'str', 'buf', 'mode', 'sig'])
    for (const { row } of rows) {
      for (const word of row.args.split(' ').filter((w) => w !== ''))
        expect([row.name, plain.has(word) || word in flagTables]).toEqual([row.name, true])
    }
  })
  test('what is partial says which part, what is refused says why', () => {
    for (const { row } of rows) {
      if (row.support.kind === 'partial') expect(row.support.what).not.toBe('')
      if (row.support.kind === 'refused') expect(row.support.why).not.toBe('')
    }
  })
  test('every call of LUX §3 has a row', () => {
    const needed = [
      0, 1, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 20, 21, 24, 25, 28, 32, 33, 34, 35, 37, 38, 39, 56, 59, 60, 61, 62, 63,
      72, 77, 86, 87, 89, 96, 97, 99, 101, 102, 104, 107, 108, 109, 110, 128, 131, 154, 157, 158, 160, 172, 173, 186, 201, 202,
      203, 204, 218, 221, 228, 229, 230, 231, 234, 257, 262, 273, 285, 290, 293, 298, 302, 309, 318, 319, 323, 334, 425, 435, 453,
    ]
    for (const nr of needed) expect([nr, syscallTable[nr] !== undefined]).toEqual([nr, true])
  })
})

describe('strace', () => {
  test('prints calls as strace(1) does', () => {
    const lines: string[] = []
    runProgram('processes', {
      args: ['t'],
      prepare: (kernel) => {
        kernel.trace.syscall = (_task, text, result, refusal) => lines.push(`${text} ${resultText(result, refusal)}`)
      },
    })
    expect(lines[0]).toMatch(/^futex\(0x[0-9a-f]+, FUTEX_WAIT\|FUTEX_PRIVATE_FLAG, 0, 0x[0-9a-f]+, NULL, 0\) = -1 ETIMEDOUT$/)
    expect(lines[1]).toBe('write(1, "timeout=0x6e\\n", 13) = 13')
    expect(lines.at(-1)).toBe('exit_group(0) = ?')
  })
  test('the rule behind a refusal follows the errno', () => {
    const slot: RefusalSlot = { refusal: null }
    expect(resultText(refuse(slot, EBUSY, 'PERM-23', 'a vCPU exists'), slot.refusal)).toBe('= -1 EBUSY (PERM-23: a vCPU exists)')
  })
})

test('a number without row is ENOSYS and counted [LUX-09]', () => {
  const { kernel } = runProgram('processes', { args: ['e'] })
  expect(kernel.syscalls.unsupported()).toEqual([])
  kernel.syscalls.note('system call 999')
  expect(kernel.syscalls.unsupported()).toEqual([['system call 999', 1]])
})
