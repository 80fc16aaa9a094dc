import type { ChildProcess } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { exec, NEVER } from './command.ts'

const OUR_FAILURE = 125
const INTERRUPTED = 130

describe('a program that does not end', () => {
  test.concurrent('stops after exactly --max-instructions, with its state', async () => {
    const ran = await exec(['--max-instructions', '1_000_003'], 'status', ['forever'])
    expect(ran).toMatchObject({ status: OUR_FAILURE, stdout: 'ready\n' })
    const [because, retired, task, ...registers] = ran.stderr.trimEnd().split('\n')
    expect(because).toBe('worldswitch: stopped after 1000003 instructions (--max-instructions)')
    expect(retired).toBe('  1000003 instructions retired')
    expect(task).toMatch(/^ {2}task \d+ \(status\): rip 00000000004[0-9a-f]{5} rflags [0-9a-f]+$/)
    expect(registers.join(' ').match(/\br(ax|cx|dx|bx|sp|bp|si|di|8|9|1[0-5]) +[0-9a-f]{16}/g)).toHaveLength(16)
  })
  test.concurrent('stops at the same place each time', async () => {
    const stopped = () => exec(['--max-instructions', '234_567'], 'status', ['forever-calls'])
    expect((await stopped()).stderr).toBe((await stopped()).stderr)
  })
  test.concurrent('says so when nothing will ever happen', async () => {
    const ran = await exec([], 'status', ['pause'])
    expect(ran.status).toBe(OUR_FAILURE)
    expect(ran.stderr).toMatch(/^worldswitch: every task sleeps and nothing will wake one\n {2}\d+ instructions retired\n/)
  })
})

/** Ctrl-C as soon as `ready`: how it ended, and how long after the signal. */
async function interrupted(program: string, args: string[], ready: (child: ChildProcess, then: () => void) => void) {
  let sent = Number.NaN
  const ran = await exec([], program, args, {
    input: NEVER,
    watch: (child) =>
      ready(child, () => {
        sent = performance.now()
        child.kill('SIGINT')
      }),
  })
  return { ran, milliseconds: performance.now() - sent }
}

describe('Ctrl-C ends the run within half a second, with its state', () => {
  // Twice that here, where other tests want the processors too.
  const SOON_MS = 1000

  test.concurrent.each([
    ['a loop', 'forever'],
    ['a loop of slow instructions', 'forever-float'],
    ['a loop of system calls', 'forever-calls'],
    ['a sleep during which timers tick for nobody', 'ticking'],
  ])('%s', async (_name, way) => {
    const { ran, milliseconds } = await interrupted('status', [way], (child, then) =>
      child.stdout?.once('data', () => setTimeout(then, 200)),
    )
    expect(ran).toMatchObject({ status: INTERRUPTED, stdout: 'ready\n' })
    expect(ran.stderr).toMatch(/^worldswitch: interrupted\n {2}\d+ instructions retired\n {2}task \d+ \(status\): rip /)
    expect(milliseconds).toBeLessThan(SOON_MS)
  })
  test.concurrent('a program that waits for input', async () => {
    const { ran, milliseconds } = await interrupted('stream', ['wait'], (child, then) =>
      child.stdout?.once('data', () => setTimeout(then, 200)),
    )
    expect(ran).toMatchObject({ status: INTERRUPTED, stdout: 'ready\n' })
    expect(milliseconds).toBeLessThan(SOON_MS)
  })
  test.concurrent('a program whose output nobody reads', async () => {
    const { ran, milliseconds } = await interrupted('stream', ['write', '1000000000'], (child, then) =>
      child.stdout?.once('data', () => {
        child.stdout?.pause()
        setTimeout(then, 200)
        child.once('exit', () => child.stdout?.resume())
      }),
    )
    expect(ran.status).toBe(INTERRUPTED)
    expect(ran.stderr).toContain('worldswitch: interrupted\n')
    expect(milliseconds).toBeLessThan(SOON_MS)
  })
})
