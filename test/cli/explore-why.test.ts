import { expect, test } from 'vitest'
import { worldswitch } from './command.ts'

test('explore split-lock --why --json is an object for each row: time is lost in warn mode only, fatal mode kills [SLD-19, SLD-33]', async () => {
  const { status, stdout } = await worldswitch(['explore', 'split-lock', '--why', '--kernel', 'linux-6.1.0', '--json'])
  expect(status).toBe(0)
  const rows = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const slowed = rows.filter(({ lostMs }) => lostMs?.each > 0)
  expect(slowed).toEqual([expect.objectContaining({ modes: ['warn'], kernels: ['linux-6.1.0'], mitigate: null })])
  expect(slowed[0].lostMs.each).toBeGreaterThanOrEqual(10)
  expect(rows.filter(({ ending }) => ending === 'killed')).toEqual([expect.objectContaining({ modes: ['fatal'], lostMs: null })])
})

test.each([
  [['xstate', '--why'], /--why does not know xstate/],
  [['--why'], /worldswitch explore split-lock --why/],
  [['split-lock', '--why', '--bound', '1'], /--why.*--bound/],
  [['split-lock', '--why', '--kernel', 'linux-9'], /unknown kernel profile/],
])('explore %j is one line and status 2', async (args, says) => {
  const { status, stdout, stderr } = await worldswitch(['explore', ...args])
  expect([status, stdout]).toEqual([2, ''])
  expect(stderr).toMatch(says)
  expect(stderr.trim().split('\n')).toHaveLength(1)
})
