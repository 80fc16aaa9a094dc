import { expect, test } from 'vitest'
import { worldswitch } from './command.ts'

test('kernels lists every profile; one of them with what it changes and the document it comes from', async () => {
  const list = await worldswitch(['kernels'])
  expect(list).toMatchObject({ status: 0, stderr: '' })
  expect(list.stdout).toMatch(/^linux-6\.12 +Debian's 6\.12\.y/m)
  const one = await worldswitch(['kernels', 'proposal:perm-bookkeeping-fixed'])
  expect(one.stdout).toContain('derived from  linux-6.6.0')
  expect(one.stdout).toContain('Always preserve non-user xfeatures/flags in __state_perm')
  expect(one.stdout).toContain('permissions.keepsSupervisorBits: false -> true')
  const [json] = (await worldswitch(['kernels', '--json', 'linux-5.17'])).stdout.split('\n')
  expect(JSON.parse(json)).toMatchObject({ name: 'linux-5.17', derivedFrom: 'linux-5.16', document: null })
})

test('an unknown profile is a usage error', async () => {
  const wrong = await worldswitch(['kernels', 'linux-6.13'])
  expect(wrong).toMatchObject({ status: 2, stdout: '' })
  expect(wrong.stderr).toMatch(/^worldswitch: unknown kernel profile 'linux-6\.13'[^\n]*\n$/)
})
