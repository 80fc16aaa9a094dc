import { describe, expect, test } from 'vitest'
import { runProgram, values } from '../programs.ts'

const run = (scenario: string, options: { processors?: number } = {}) => {
  const result = runProgram('processes', { args: [scenario], ...options })
  return { ...result, values: values(result.output) }
}

test('exit status is the program’s own', () => {
  expect(run('e').status).toBe(42 << 8)
})

describe('fork and wait4 [LUX-21, LUX-25]', () => {
  test('the parent gets status exit << 8, then ECHILD', () => {
    const { values: v, output } = run('c')
    expect(v).toMatchObject({ status: 0x700, positive: 1, echild: 10 })
    expect(output.startsWith('child\nparent\n')).toBe(true)
  })
  test('WNOHANG finds a running child, SIGKILL ends it: status 9', () => {
    expect(run('k').values).toMatchObject({ running: 0, status: 9 })
  })
})

describe('futex [LUX-23]', () => {
  test('a waker thread ends the wait', () => {
    expect(run('f').values).toMatchObject({ wait: 0, word: 1 })
  })
  test('ETIMEDOUT after virtual time, EAGAIN on a mismatch', () => {
    expect(run('t').values).toMatchObject({ timeout: 110, mismatch: 11 })
  })
})

describe('threads [LUX-20, LUX-22]', () => {
  test.each([1, 2, 4])('four threads and a spin lock on %i processors count right', (processors) => {
    expect(run('a', { processors }).values['counter']).toBe(80000)
  })
  test('exit_group takes a spinning thread along', () => {
    expect(run('g').status).toBe(3 << 8)
  })
})

test('sched_setaffinity moves the caller before it returns; no online processor is EINVAL [LUX-27]', () => {
  expect(run('p').values).toMatchObject({ none: 22, cpu1: 0, cpu: 1 })
})

test('execve replaces the program; a missing file is ENOENT', () => {
  const { status, values: v } = run('x')
  expect(v['missing']).toBe(2)
  expect(status).toBe(42 << 8)
})

test('ptrace stops, reads, writes and steps a child [LUX-54]', () => {
  expect(run('q').values).toMatchObject({
    stopped: 0x137f,
    peeked: 0x1234,
    step: 0x57f,
    'child sees': 0x5678,
    status: 0x500,
    own: 0x1234,
  })
})

describe('one run is one history', () => {
  test('the same program twice: same output, same instruction count, same times', () => {
    const [a, b] = [run('a'), run('a')]
    expect(a.kernel.clock.instructions).toBe(b.kernel.clock.instructions)
    expect(a.kernel.scheduler.contextSwitches).toBe(b.kernel.scheduler.contextSwitches)
  })
  test('a finished program leaves no memory behind', () => {
    const { kernel } = run('c')
    const fresh = runProgram('processes', { args: ['e'] }).kernel
    expect(kernel.heap.bytesInUse).toBe(fresh.heap.bytesInUse)
    expect(kernel.pages.used).toBe(fresh.pages.used)
  })
})
