import type { ChildProcess } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Scratch, worldswitch } from './command.ts'

const HOLDS = 0
const VIOLATED = 1
const USAGE = 2
const UNDECIDED = 3
const INTERRUPTED = 130
/** A search that nobody waits for the end of. */
const ENDLESS = ['explore', 'split-lock', '--bound', '12']
/** A busy machine makes a search long enough to tell how it goes. */
const QUIET = expect.stringMatching(/^(bound \d+: .*\n)*$/)
const ONE_LINE = /^worldswitch: [^\n]*\n$/

const files = new Scratch()
afterAll(() => files.remove())

const explore = (...args: string[]) => worldswitch(['explore', ...args])

describe('names', () => {
  test.concurrent('--list has the invariants of each scenario; --json an object a line', async () => {
    const text = await explore('--list')
    expect(text).toMatchObject({ status: HOLDS, stderr: '' })
    expect(text.stdout).toMatch(/^split-lock +.*\n {2}invariants\n {4}test-ctrl-follows-flag +MSR_TEST_CTRL\[29\] is what/m)
    expect(text.stdout).toMatch(/^ {4}host-goes-on +the host kernel goes on\n/m)
    const json = (await explore('--list', '--json')).stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    const xstate = json.find(({ name }) => name === 'xstate')
    expect(xstate.invariants.map(({ name }: { name: string }) => name)).toContain('own-xfd')
    expect(xstate.variants.map(({ name }: { name: string }) => name)).toContain('stale-owner')
  })

  test.concurrent.each([
    [['split-lok'], /unknown scenario 'split-lok'.*did you mean split-lock\?/],
    [['xstate', '--variant', 'stale-ownr'], /unknown variant 'stale-ownr'.*did you mean stale-owner\?/],
    [['xstate', '--invariant', 'own-xdf'], /unknown invariant 'own-xdf'.*did you mean own-xfd\?/],
    [['xstate', '--invariant', 'own-xdf', '--threads', '2'], /unknown invariant 'own-xdf'.*did you mean own-xfd\?/],
    [['xstate', '--kernel', 'linux-6.21'], /unknown kernel profile 'linux-6.21'.*did you mean linux-6.1,/],
    [['split-lock', '--kernel', 'linux-6.12'], /cannot run under linux-6.12.*SLD-36/],
    [['xstate', '--kernel', 'linux-5.16'], /cannot run under linux-5.16.*GUEST_PERM/],
    [[], /no scenario/],
    [['xstate', '--list'], /xstate and --list together/],
    [['xstate', '--shard', '1/2', '--threads', '2'], /--shard and --threads together/],
    [['xstate', '--shard', '3/2'], /the form is i\/n/],
    [['xstate', '--bound', '21'], /0 to 20 preemptions/],
    [['xstate', '--threads', '0'], /above 0/],
    [['xstate', '--max-steps', '10001'], /1 to 10000/],
    [['xstate', '--worker'], /nobody to answer/],
    [['--replay', 'no-such-file'], /cannot read no-such-file \(--replay\): ENOENT/],
    [['--replay', '/dev/zero'], /cannot read \/dev\/zero \(--replay\): it is larger than 16 MiB/],
    [['--replay', 'package.json'], /package.json is no schedule/],
    [['--merge', 'package.json'], /package.json is no result/],
    [['host-xfd-write', '--save', '/no/such/folder/file'], /cannot write \/no\/such\/folder\/file \(--save\): ENOENT/],
  ] as [string[], RegExp][])('explore %j: one line, exit code 2', async (args, because) => {
    const ran = await explore(...args)
    expect(ran).toMatchObject({ status: USAGE, stdout: '' })
    expect(ran.stderr).toMatch(ONE_LINE)
    expect(ran.stderr).toMatch(because)
  })
})

describe('a counterexample', () => {
  const saved = files.at('schedule.json')
  let found: { moments: object[]; invariantId: string; invariant: string; because: string; schedule: object[] }

  beforeAll(async () => {
    const ran = await explore('split-lock', '--variant', 'restore-on-old-processor', '--save', saved, '--json')
    expect(ran).toMatchObject({ status: VIOLATED, stderr: QUIET })
    found = JSON.parse(ran.stdout)
  })

  test.concurrent('replays in another process bit for bit', async () => {
    const { moments, invariantId: id, invariant, because } = found
    const [once, again] = await Promise.all([explore('--replay', saved, '--json'), explore('--replay', saved, '--json')])
    expect(once).toMatchObject({ status: VIOLATED, stderr: '' })
    expect(JSON.parse(once.stdout)).toEqual({
      scenario: 'split-lock',
      variant: 'restore-on-old-processor',
      kernel: 'proposal:sld-virt-v8',
      invariants: null,
      violation: { id, invariant, because },
      moments,
    })
    expect(again.stdout).toBe(once.stdout)
    expect(moments.length).toBeGreaterThan(2)
  })

  test.concurrent('is checked by replay against the invariants it was found with', async () => {
    const path = files.at('chosen.json')
    const search = await explore(
      'split-lock',
      '--variant',
      'no-restore',
      '--invariant',
      'test-ctrl-follows-flag',
      '--bound',
      '0',
      '--save',
      path,
    )
    // This one invariant does not see the mistake: nothing is written.
    expect(search.status).toBe(HOLDS)
    expect(search.stderr).toContain(`no counterexample: ${path} is not written\n`)
    expect(search.stdout).toContain('test-ctrl-follows-flag only')
    expect(existsSync(path)).toBe(false)
    const other = files.write(
      'other.json',
      files.read('schedule.json').replace('"invariants":null', '"invariants":["host-goes-on"]'),
    )
    const replayed = await explore('--replay', other)
    expect(replayed).toMatchObject({ status: HOLDS, stderr: QUIET })
    expect(replayed.stdout).toMatch(/nothing is violated\n$/)
  })

  test.concurrent.each([
    [
      'a step that cannot be',
      '"choice":"idle"',
      '"choice":"run task"',
      /step 5 of the schedule is impossible .*cpu0 cannot 'run task' here; possible: cpu0 'go on'/,
    ],
    [
      'a processor that there is not',
      /"process":"cpu0"/,
      '"process":"cpu7"',
      /step 1 of the schedule is impossible .*cpu7 cannot 'go on' here/,
    ],
    [
      'an unknown scenario',
      '"scenario":"split-lock"',
      '"scenario":"splitlock"',
      /unknown scenario 'splitlock' .*did you mean split-lock\?/,
    ],
    [
      'an unknown variant',
      'restore-on-old-processor',
      'restore-on-old-procesor',
      /unknown variant .*did you mean restore-on-old-processor\?/,
    ],
    [
      'an unknown kernel',
      'proposal:sld-virt-v8',
      'proposal:sld-virt-v9',
      /unknown kernel profile .*did you mean proposal:sld-virt-v8/,
    ],
    [
      'an unknown invariant',
      '"invariants":null',
      '"invariants":["own-split-lock-settin"]',
      /unknown invariant .*did you mean own-split-lock-setting/,
    ],
    ['a kernel that cannot run it', 'proposal:sld-virt-v8', 'linux-6.12', /cannot run under linux-6.12/],
  ] as [string, RegExp | string, string, RegExp][])(
    'edited by hand to have %s is refused in one line',
    async (name, from, to, because) => {
      const before = files.read('schedule.json')
      const text = before.replace(from, to)
      expect(text).not.toBe(before)
      const path = files.write(`${name}.json`, text)
      const ran = await explore('--replay', path)
      expect(ran).toMatchObject({ status: USAGE, stdout: '' })
      expect(ran.stderr).toMatch(ONE_LINE)
      expect(ran.stderr).toMatch(because)
      expect(ran.stderr).toContain(`--replay ${path}`)
    },
  )

  test.concurrent('becomes a page, from the search and from its file: the same one', async () => {
    const [one, other] = [files.at('search.html'), files.at('replay.html')]
    await Promise.all([
      explore('split-lock', '--variant', 'restore-on-old-processor', '--html', one),
      explore('--replay', saved, '--html', other),
    ])
    const page = readFileSync(one, 'utf8')
    expect(readFileSync(other, 'utf8')).toBe(page)
    expect(page).toContain('B7: the setting is restored on the processor where it was loaded')
    expect(page.match(/<tr><th scope="row">|<tr class="last">/g)).toHaveLength(found.moments.length)
  })

  test.concurrent('is a timeline of lines that a terminal has room for', async () => {
    const ran = await explore('xstate', '--variant', 'xfd-err-read-late')
    expect(ran).toMatchObject({ status: VIOLATED, stderr: QUIET })
    expect(ran.stdout).toMatch(/violated in 6 steps with 0 preemptions/)
    for (const line of ran.stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(140)
  })
})

describe('bounds', () => {
  test.concurrent('more memory than allowed: undecided, with figures, and no crash', async () => {
    const ran = await explore('split-lock', '--bound', '2', '--memory', '20')
    expect(ran).toMatchObject({ status: UNDECIDED, stderr: QUIET })
    expect(ran.stdout).toMatch(
      /^split-lock under .*: undecided, not exhaustive: \d+ MiB of memory are in use, and 20 may be; at \d preemptions?, runs of up to \d+ steps, \d+ MiB; \d+ executions, \d+\.\d s\n$/,
    )
  })

  test.concurrent('a run longer than allowed, and more runs than allowed', async () => {
    const [long, many] = await Promise.all([
      explore('split-lock', '--max-steps', '10', '--json'),
      explore('split-lock', '--max-executions', '50', '--json'),
    ])
    expect([long.status, many.status]).toEqual([UNDECIDED, UNDECIDED])
    expect(JSON.parse(long.stdout)).toMatchObject({ verdict: 'undecided', exhaustive: false, steps: 10, executions: 1 })
    expect(JSON.parse(many.stdout)).toMatchObject({ verdict: 'undecided', exhaustive: false, executions: 50 })
  })
})

describe('a search in parts', () => {
  const parts = 3

  test.concurrent('shards as jobs of their own: merged, with the counterexample; incomplete they are refused', async () => {
    const mistake = ['split-lock', '--variant', 'restore-on-old-processor', '--bound', '1']
    const paths = await Promise.all(
      Array.from({ length: parts }, async (_, i) => {
        const { stdout } = await explore(...mistake, '--shard', `${i + 1}/${parts}`, '--json')
        return files.write(`part${i + 1}.json`, stdout)
      }),
    )
    const path = files.at('merged.json')
    const merged = await explore('--merge', ...paths, '--save', path)
    expect(merged).toMatchObject({ status: VIOLATED, stderr: QUIET })
    expect(merged.stdout).toMatch(/violated in \d+ steps with 1 preemption;.*\n.*\n.*\n.*\nstep {2}cpu0/)
    expect(await explore('--replay', path)).toMatchObject({ status: VIOLATED })

    const incomplete = await explore('--merge', paths[0], '--merge', paths[2])
    expect(incomplete).toMatchObject({ status: USAGE, stdout: '' })
    expect(incomplete.stderr).toMatch(/^worldswitch: parts of the search are missing .*shard 2 of 3/)
    const twice = await explore('--merge', ...paths, paths[0])
    expect(twice).toMatchObject({ status: USAGE, stdout: '' })

    const violated = paths.find((each) => files.read(each.split('/').at(-1)!).includes('"verdict":"violated"'))!
    const text = readFileSync(violated, 'utf8')
    const edited = files.write('edited.json', text.replace(/"TEST_CTRL\[29\]":1/, '"TEST_CTRL[29]":0'))
    const other = await explore('--merge', ...paths.filter((each) => each !== violated), edited)
    expect(other).toMatchObject({ status: USAGE, stdout: '' })
    expect(other.stderr).toMatch(/counterexample is another run here/)
  })

  test.concurrent('--threads: the same each time, as in one process, and its counterexample is shown and saved', async () => {
    const mistake = ['split-lock', '--variant', 'restore-on-old-processor', '--bound', '1', '--json']
    const [path, page] = [files.at('threads.json'), files.at('threads.html')]
    const [one, first, second] = await Promise.all([
      explore(...mistake),
      explore(...mistake, '--threads', '2', '--save', path, '--html', page),
      explore(...mistake, '--threads', '2'),
    ])
    expect([one.status, first.status, second.status]).toEqual([VIOLATED, VIOLATED, VIOLATED])
    const read = ({ stdout }: { stdout: string }) => ({ ...JSON.parse(stdout), seconds: 0, memory: 0 })
    expect(read(first)).toEqual(read(second))
    const { verdict, bound, upTo, shard } = read(one)
    expect(read(first)).toMatchObject({ verdict, bound, upTo, shard })
    expect(read(first).moments.length).toBe(read(first).steps)
    expect(JSON.parse(files.read('threads.json')).steps).toEqual(read(first).schedule)
    expect(files.read('threads.html')).toContain(read(first).invariantId)
  })

  test.concurrent('--threads: good code holds, and what was chosen is passed on', async () => {
    const ran = await explore('permission', '--bound', '1', '--threads', '2', '--json', '--invariant', 'permission-never-shrinks')
    expect(ran).toMatchObject({ status: HOLDS, stderr: QUIET })
    expect(JSON.parse(ran.stdout)).toMatchObject({ verdict: 'holds', invariants: ['permission-never-shrinks'], shard: null })
    const small = await explore('split-lock', '--threads', '2', '--max-steps', '10', '--memory', '4000')
    expect(small).toMatchObject({ status: UNDECIDED, stderr: QUIET })
  })
})

/** Processes that a process started, while it is there. */
const childrenOf = ({ pid }: ChildProcess): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number)
const isThere = (pid: number): boolean =>
  existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
async function untilGone(pids: readonly number[]): Promise<void> {
  for (let i = 0; i < 100 && pids.some(isThere); i++) await new Promise((resolve) => setTimeout(resolve, 50))
  expect(pids.filter(isThere)).toEqual([])
}

// One after another: each has several processes that work.
describe('a long search', () => {
  test.each([[[]], [['--threads', '2']]])('tells how far it is, and Ctrl-C ends it: %j', async (threads) => {
    let pids: number[] = []
    const ran = await worldswitch([...ENDLESS, ...threads], {
      watch: (child) =>
        child.stderr!.once('data', () => {
          pids = childrenOf(child)
          child.kill('SIGINT')
        }),
    })
    expect(ran).toMatchObject({ status: INTERRUPTED, stdout: '' })
    const progress = /bound \d+: \d+ executions, \d+ steps deep, \d+\/s, \d+ MiB(, 0 of 2 shards done)?/
    expect(ran.stderr).toMatch(
      new RegExp(`^${progress.source}\n(.*\n)?worldswitch: interrupted, not exhaustive: ${progress.source}\n$`),
    )
    expect(pids).toHaveLength(threads.length)
    await untilGone(pids)
  })

  test('a shard that dies: one line, and the others are stopped', async () => {
    let pids: number[] = []
    const ran = await worldswitch([...ENDLESS, '--threads', '3'], {
      watch: (child) =>
        child.stderr!.once('data', () => {
          pids = childrenOf(child)
          process.kill(pids[1], 'SIGKILL')
        }),
    })
    expect(ran).toMatchObject({ status: USAGE, stdout: '' })
    expect(ran.stderr).toMatch(
      /^(bound .*\n)+worldswitch: the process of shard 2 of 3 ended without a result \(--threads\): ended by SIGKILL; .*\n$/,
    )
    await untilGone(pids)
  })

  test('a parent that dies takes its shards with it', async () => {
    let pids: number[] = []
    const ran = await worldswitch([...ENDLESS, '--threads', '2'], {
      watch: (child) =>
        child.stderr!.once('data', () => {
          pids = childrenOf(child)
          child.kill('SIGKILL')
        }),
    })
    expect(ran.status).toBeNull()
    expect(pids).toHaveLength(2)
    await untilGone(pids)
  })
})
