import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { worldswitch } from './command.ts'

const PROGRAM = fileURLToPath(new URL('../fixtures/linux-programs/processes.elf', import.meta.url))
const run = (...options: string[]) => worldswitch(['exec', ...options, '--', PROGRAM, 'o'])

test('with --root a program takes the processor that it runs on offline, and goes on', async () => {
  expect(await run('--root')).toMatchObject({ status: 0, stdout: 'before=0x1\nwritten=0x1\nafter=0x0\nallowed=0x1\nlater=0x3\n' })
})

test('without it the file cannot be opened for writing: all processors stay', async () => {
  // write(2) of a file that open(2) did not give: EBADF.
  expect((await run()).stdout).toContain('before=0x1\nwritten=0xfffffffffffffff7\nafter=0x1\n')
})
