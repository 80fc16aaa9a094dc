import { expect, test } from 'vitest'
import { runProgram } from '../programs.ts'

test('arguments, environment and auxiliary vector are in their places and order [LUX-03, LUX-05]', () => {
  const { output, status } = runProgram('start', { args: ['one', 'two'], envp: ['A=1'] })
  expect(status).toBe(0)
  expect(output).toMatch(/^arg \/opt\/start\narg one\narg two\nenv A=1\n/)
  const tags = [...output.matchAll(/^tag=(0x[0-9a-f]+)$/gm)].map((m) => Number(m[1]))
  expect(tags).toEqual([51, 16, 6, 17, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14, 23, 25, 26, 31, 15, 27, 28])
  const value = (tag: number) => Number(new RegExp(`^tag=0x${tag.toString(16)}\\n  value=(0x[0-9a-f]+)$`, 'm').exec(output)![1])
  expect(value(51)).toBe(11952)
  expect(value(6)).toBe(4096)
  expect(value(4)).toBe(56)
  expect(value(26)).toBe(2)
  expect(value(27)).toBe(28)
  expect(value(28)).toBe(32)
  expect(output).toContain('aligned=0x1')
})

test('an old kernel has no rseq entries in the vector [LUX-03]', () => {
  const { output } = runProgram('start', { profile: 'linux-6.1' })
  expect(output).not.toContain('tag=0x1b')
})
