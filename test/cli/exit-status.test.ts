import { describe, expect, test } from 'vitest'
import { exec } from './command.ts'

describe("the command's exit status is the program's", () => {
  test.concurrent.each([0, 1, 2, 125, 126, 127, 128, 255])('exit(%i)', async (status) => {
    expect(await exec([], 'status', ['exit', `${status}`])).toMatchObject({ status, stdout: '', stderr: '' })
  })
  test.concurrent('exit(256 + n): the low byte', async () => {
    expect(await exec([], 'status', ['exit', '259'])).toMatchObject({ status: 3 })
  })
})

describe('128 + the signal that killed it', () => {
  const SIGNALS: [string, number][] = [
    ['SIGHUP', 1],
    ['SIGABRT', 6],
    ['SIGKILL', 9],
    ['SIGTERM', 15],
    ['the last real-time signal', 64],
  ]
  test.concurrent.each(SIGNALS)('%s', async (_name, signal) => {
    expect(await exec([], 'status', ['kill', `${signal}`])).toMatchObject({ status: 128 + signal, stdout: '', stderr: '' })
  })
  const FAULTS: [string, string, number][] = [
    ['store to an unmapped page: SIGSEGV', 'segv', 139],
    ['HLT in user mode: SIGSEGV', 'halt', 139],
    ['UD2: SIGILL', 'ud2', 132],
    ['division by zero: SIGFPE', 'divide', 136],
  ]
  test.concurrent.each(FAULTS)('%s [LUX-40]', async (_name, way, status) => {
    expect(await exec([], 'status', [way])).toMatchObject({ status, stdout: '', stderr: '' })
  })
  test.concurrent('more memory than the host has: SIGKILL', async () => {
    expect(await exec(['--memory', '16M'], 'status', ['memory'])).toMatchObject({ status: 137, stderr: '' })
  })
  test.concurrent('more processes than the host has memory for: fork fails, nothing else', async () => {
    const ran = await exec(['--memory', '16M', '--max-instructions', '5_000_000'], 'status', ['forks'])
    expect(ran.stderr).not.toContain('internal error')
    expect(ran.status).toBe(99)
  })
})
