import { afterAll, describe, expect, test, vi } from 'vitest'
import { report } from '../../src/cli/report.ts'
import { exec, type Ran, Scratch, shell, worldswitch } from './command.ts'

const scratch = new Scratch()
afterAll(() => scratch.remove())

const USAGE = 2

function expectUsageError(ran: Ran, because: RegExp): void {
  expect(ran).toMatchObject({ status: USAGE, stdout: '' })
  expect(ran.stderr).toMatch(/^worldswitch: [^\n]+\n$/)
  expect(ran.stderr).toMatch(because)
  expect(ran.stderr).not.toContain('internal error')
}

/** Options of `exec` that cannot be, and what is said about them. */
const WRONG: [string[], RegExp][] = [
  [['--cpu', 'SaphireRapids'], /unknown CPU model 'SaphireRapids'.*did you mean SapphireRapids/],
  [['--cpu', 'Saphire'], /unknown CPU model 'Saphire'.*SapphireRapids/],
  [['--cpu', 'Pentium'], /unknown CPU model 'Pentium'.*known models: .*Skylake-Server/],
  [['--cpu', ''], /unknown CPU model ''/],
  [['--cpu', 'SapphireRapids,+amxtile'], /unknown CPU feature 'amxtile'.*did you mean amx-tile/],
  [['--cpu', 'SapphireRapids,avx512=off'], /unknown CPU feature 'avx512'.*avx512/],
  [['--cpu', 'SapphireRapids,amx-tile=maybe'], /'maybe' is neither on nor off/],
  [['--cpu', 'SapphireRapids,,'], /empty item/],
  [['--cpu', 'Skylake-Server,+amx-int8'], /amx-int8 needs amx-tile/],
  [['--kernel', 'linux-6.21'], /unknown kernel profile 'linux-6.21'.*did you mean .*linux-6.12/],
  [['--kernel', 'windows'], /unknown kernel profile 'windows'/],
  [['--bind', '/no/such/place'], /cannot bind '\/no\/such\/place'.*does not exist/],
  [['--bind', ''], /cannot bind ''.*DIR\[:AT\]\[:ro\]/],
  [['--bind', ':'], /cannot bind ':'.*DIR\[:AT\]\[:ro\]/],
  [['--bind', ':/data'], /cannot bind/],
  [['--bind', '/tmp:/a:/b'], /the form is not/],
  [['--bind', '/tmp:/a:/b:ro'], /the form is not/],
  [['--bind', '/dev/null'], /neither a directory nor a regular file/],
  [['--bind', '/tmp:/etc/passwd/x'], /a file is in the way/],
  [['--bind', '/tmp:/dev/null/x'], /a file is in the way/],
  [['--memory', '0'], /--memory.*16M to 4064M/],
  [['--memory', '64K'], /--memory.*16M to 4064M/],
  [['--memory', '8G'], /--memory.*16M to 4064M/],
  [['--memory', 'lots'], /--memory.*a size such as 512M/],
  [['--memory', '-1'], /--memory/],
  [['--cpus', '0'], /--cpus.*above 0/],
  [['--cpus', '17'], /--cpus.*1 to 16/],
  [['--cpus', '1.5'], /--cpus/],
  [['--cpus', 'all'], /--cpus/],
  [['--engine', 'turbo'], /unknown engine switch 'turbo'.*no-tiers/],
  [['--engine', 'regionLimit=0'], /unknown engine switch 'regionLimit=0'/],
  [['--seed', 'lucky'], /--seed.*whole number/],
  [['--max-instructions', '0'], /--max-instructions/],
  [['--max-instructions', '1e6x'], /--max-instructions/],
  [['--env', 'NOTHING'], /--env.*NAME=VALUE/],
  [['--trace-format', 'xml'], /--trace-format.*text, json/],
  [['--stats-json', '/no/such/directory/stats.json'], /cannot write '\/no\/such\/directory\/stats.json'.*ENOENT/],
  [['--stats-json', '/tmp'], /cannot write '\/tmp'.*EISDIR/],
  [['--no-such-option'], /unknown option '--no-such-option'/],
  [['--sta'], /unknown option '--sta'.*--stats/],
]

describe('wrong usage of exec is one line and exit code 2', () => {
  test.concurrent.each(WRONG)('%j', async (options, because) => {
    expectUsageError(await exec(options, 'status', ['exit', '0']), because)
  })

  test.concurrent('no program', async () => {
    expectUsageError(await worldswitch(['exec']), /missing required argument 'program'/)
    expectUsageError(await worldswitch(['exec', '--']), /missing required argument 'program'/)
  })
  test.concurrent('an option without its value', async () => {
    expectUsageError(await worldswitch(['exec', '--cpu']), /--cpu <model>.*argument missing/)
  })
  test.concurrent('a bind below a file that another bind shows', async () => {
    const file = scratch.write('file', 'text')
    const binds = ['--bind', `${file}:/shown`, '--bind', `${scratch.path}:/shown/below`]
    expectUsageError(await exec(binds, 'status', ['exit', '0']), /cannot bind .*a file is in the way/)
  })
})

describe('what looks odd and is right', () => {
  test.concurrent('the smallest and the largest host', async () => {
    expect(await exec(['--memory', '16M', '--cpus', '1'], 'status', ['exit', '7'])).toMatchObject({ status: 7, stderr: '' })
    expect(await exec(['--memory', '4064M', '--cpus', '16'], 'status', ['exit', '7'])).toMatchObject({ status: 7, stderr: '' })
  })
  test.concurrent('digits in groups', async () => {
    expect(await exec(['--max-instructions', '1_000_000'], 'status', ['exit', '7'])).toMatchObject({ status: 7 })
  })
  test.concurrent('binds inside one another, in either order, and the same twice', async () => {
    scratch.write('inner.txt', 'inner\n')
    const { path } = scratch
    const binds = [
      `${path}:/a/b`,
      `${path}:/a:ro`,
      `${path}:/c`,
      `${path}:/c/d`,
      `${path}:/c/d`,
      `${path}:/tmp/x`,
      `${path}:/dev/shm/x`,
    ]
    const options = binds.flatMap((bind) => ['--bind', bind])
    const paths = ['/a/b/inner.txt', '/a/inner.txt', '/c/inner.txt', '/c/d/inner.txt', '/tmp/x/inner.txt', '/dev/shm/x/inner.txt']
    const ran = await exec(
      options,
      'files',
      paths.flatMap((each) => ['show', each]),
    )
    expect(ran).toMatchObject({ status: 0, stdout: 'inner\n'.repeat(paths.length), stderr: '' })
  })
  test.concurrent("options after the program are the program's", async () => {
    expect(await worldswitch(['exec', 'test/fixtures/programs/status', 'exit', '3', '--cpu', 'none'])).toMatchObject({
      status: 3,
    })
  })
})

describe('trouble of our own is one line and exit code 125', () => {
  test('no memory to be had', () => {
    const printed = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
    const status = report(new RangeError('WebAssembly.Memory(): could not allocate memory'))
    const lines = printed.mock.calls.map(([text]) => text)
    printed.mockRestore()
    expect(status).toBe(125)
    expect(lines).toEqual([
      expect.stringMatching(/^worldswitch: this machine does not give the memory [^\n]* try a smaller --memory\n$/),
    ])
  })
  test.concurrent('a working directory that is gone is none', async () => {
    const ran = await shell(
      `mkdir '${scratch.path}/gone'; cd '${scratch.path}/gone'; rmdir '${scratch.path}/gone'; $WORLDSWITCH exec -- $PROGRAMS/status exit 3`,
    )
    expect(ran).toMatchObject({ status: 3, stdout: '', stderr: '' })
  })
})

describe('the command as a whole', () => {
  test.concurrent('an unknown command, and one that is nearly right', async () => {
    expectUsageError(await worldswitch(['fly']), /unknown command 'fly'/)
    expectUsageError(await worldswitch(['exce']), /unknown command 'exce'.*exec/)
  })
  test.concurrent('--version and --help are no errors', async () => {
    expect(await worldswitch(['--version'])).toMatchObject({ status: 0, stderr: '' })
    const help = await worldswitch(['exec', '--help'])
    expect(help).toMatchObject({ status: 0, stderr: '' })
    expect(help.stdout).toContain('Example: worldswitch exec --cpu SapphireRapids')
  })
})
