import { describe, expect, test } from 'vitest'
import { runProgram, values } from '../programs.ts'

/** Runs one scenario of test/fixtures/linux-programs/xstate.c on Sapphire Rapids. */
const run = (scenario: string) => {
  const result = runProgram('xstate', { args: [scenario], processors: 1, physicalBytes: 32 << 20 })
  return { ...result, values: values(result.output), log: result.kernel.log.lines.join('\n') }
}

describe('first use of tiles', () => {
  test('without permission is SIGILL ILL_ILLOPC at the instruction; the configuration can be loaded, stored and released [PERM-35, PERM-37, PERM-39]', () => {
    const { output, status, values: v } = run('t')
    expect(v).toMatchObject({ palette: 1, signal: 4, code: 1, at_ip: 1 })
    expect(output).toMatch(/after\n$/)
    expect(status).toBe(0)
  })
  test('without permission and handler kills [PERM-37]', () => {
    expect(run('d').status).toBe(4)
  })
  test('with permission runs the instruction again [PERM-37]', () => {
    expect(run('p')).toMatchObject({ status: 0, output: 'granted=0x0\nafter\n' })
  })
  test('leaves trapno and err as the last ordinary fault left them: 0 when there was none, 6 after #UD [PERM-67]', () => {
    expect(run('t').values).toMatchObject({ signal: 4, code: 1, trapno: 0, err: 0 })
    const { output } = run('U')
    expect(output.match(/trapno=.*/g)).toEqual(['trapno=0x6', 'trapno=0x6'])
    expect(output.match(/code=.*/g)).toEqual(['code=0x2', 'code=0x1'])
  })
})

describe('a frame that the processor refuses on return', () => {
  test('is SIGSEGV with SI_KERNEL and address 0, the user state reset [PERM-54]', () => {
    const { values: v, log } = run('b')
    expect(v).toMatchObject({ signal: 11, code: 0x80, at_ip: 0, address: 0, fcw: 0x37f })
    expect(log).toContain('bad frame in rt_sigreturn')
  })
  test('leaves trapno and err as they were [PERM-67]', () => {
    expect(run('b').values).toMatchObject({ trapno: 0, err: 0 })
    expect(run('B').values).toMatchObject({ signal: 11, code: 0x80, trapno: 6, err: 0 })
  })
})

describe('alternate stacks', () => {
  test.each([
    ['too small for a frame, though sigaltstack took it', 'o', 'taken=0x0\n'],
    ['with room for one frame and not for a nested one', 'n', 'handler\n'],
  ])('%s: SIGSEGV, and the log says so [PERM-32]', (_what, scenario, output) => {
    const result = run(scenario)
    expect(result).toMatchObject({ status: 11, output })
    expect(result.log).toContain('overflowed sigaltstack')
  })
  test('with room: the handler runs [PERM-32]', () => {
    expect(run('f')).toMatchObject({ status: 0, output: 'handler\nsurvived\n' })
  })
  test('that sigreturn cannot restore stays as it is, and the return succeeds [PERM-31]', () => {
    expect(run('a')).toMatchObject({ status: 0, values: { size: 16384 } })
  })
})

test('a handler starts with initial state; its return brings the old one back, a jump out of it does not [PERM-49]', () => {
  expect(run('j').values).toEqual({
    fcw: 0x37f,
    palette: 0,
    fcw_returned: 0x27f,
    palette_returned: 1,
    fcw_jumped: 0x37f,
    palette_jumped: 0,
  })
})
