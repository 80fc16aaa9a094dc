import { expect, test } from 'vitest'
import { testHost } from '../../vmm/hosts.ts'

const FILE = '/proc/sys/kernel/split_lock_mitigate'

// It came with 6.2; Debian's 6.1.192 has it from stable.
test.each([
  ['linux-5.17', null],
  ['linux-6.1.0', null],
  ['linux-6.1', '1\n'],
  ['linux-6.6.0', '1\n'],
  ['linux-6.12', '1\n'],
])('%s: kernel.split_lock_mitigate is %j [SLD-15]', (kernel, text) => {
  const process = testHost({ kernel }).newProcess()
  if (text === null) expect(() => process.readFile(FILE)).toThrow(/ENOENT/)
  else expect(process.readFile(FILE)).toBe(text)
})
