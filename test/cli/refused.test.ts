import { describe, expect, test } from 'vitest'
import { exec } from './command.ts'

const ILL_ILLOPC = 1
const ILL_ILLOPN = 2
const ENOSYS = 38

const illegal = (code: number, trapno: number) =>
  `signal 4\ncode ${code}\ntrapno ${trapno}\nerr 0\naddress is the instruction's 1\n`

describe('what is not modelled is refused as a system without it does, counted, and named at the end', () => {
  test.concurrent('unknown system call: ENOSYS [LUX-09]', async () => {
    const ran = await exec([], 'refused', ['call', '9999', 'call', '9999', 'call', '500'])
    expect(ran).toMatchObject({ status: 0, stdout: `call -${ENOSYS}\n`.repeat(3) })
    expect(ran.stderr).toBe(
      'worldswitch: not modelled: system call 9999 (2 times)\nworldswitch: not modelled: system call 500 (once)\n',
    )
  })
  test.concurrent('instruction that the CPU model lacks: #UD, with the models that have it', async () => {
    const ran = await exec(['--cpu', 'EPYC-Milan'], 'refused', ['handle', 'avx512', 'avx512'])
    expect(ran).toMatchObject({ status: 0, stdout: illegal(ILL_ILLOPN, 6).repeat(2) })
    expect(ran.stderr).toMatch(
      /^worldswitch: not modelled: instruction VPXORD \[62f17d48efc0\] at 40[0-9a-f]{4}: not on this CPU model \(AVX512F\); on .*SapphireRapids.* \(2 times\)\n$/,
    )
    expect(ran.stderr).not.toContain('EPYC-Milan')
  })
  test.concurrent('the same instruction on a model that has it', async () => {
    expect(await exec([], 'refused', ['handle', 'avx512'])).toMatchObject({ status: 0, stdout: '', stderr: '' })
  })
  test.concurrent('instruction that the engine lacks', async () => {
    const ran = await exec([], 'refused', ['handle', 'enqcmd'])
    expect(ran).toMatchObject({ status: 0, stdout: illegal(ILL_ILLOPN, 6) })
    expect(ran.stderr).toMatch(/instruction ENQCMD \[f20f38f801\] at 40[0-9a-f]{4}: not in the engine \(ENQCMD\) \(once\)\n$/)
  })
  test.concurrent('bytes that are no instruction', async () => {
    const ran = await exec([], 'refused', ['handle', 'nothing'])
    expect(ran).toMatchObject({ status: 0, stdout: illegal(ILL_ILLOPN, 6) })
    expect(ran.stderr).toMatch(/not modelled: bytes \[06[0-9a-f]{28}\] at 40[0-9a-f]{4}: no instruction that the decoder knows/)
  })
  test.concurrent('UD2 is an instruction like any other: nothing to report', async () => {
    expect(await exec([], 'refused', ['handle', 'ud2'])).toMatchObject({ status: 0, stdout: illegal(ILL_ILLOPN, 6), stderr: '' })
    expect(await exec([], 'refused', ['ud2'])).toMatchObject({ status: 132, stderr: '' })
  })
})

describe('--trace names an unsupported instruction when it is met', () => {
  test.concurrent('as text', async () => {
    const { stderr } = await exec(['--cpu', 'EPYC-Milan', '--trace'], 'refused', ['avx512'])
    expect(stderr).toMatch(
      /us \S+ unsupported_instruction: mnemonic=VPXORD bytes=62f17d48efc0 address=40[0-9a-f]{4} reason=model feature=AVX512F models=.*Skylake-Server/,
    )
  })
  test.concurrent('as one JSON object a line', async () => {
    const { stderr } = await exec(['--cpu', 'EPYC-Milan', '--trace', '--trace-format', 'json'], 'refused', ['avx512'])
    const events = stderr.split('\n').filter((line) => line.startsWith('{'))
    const found = events.map((line) => JSON.parse(line)).find(({ event }) => event === 'unsupported_instruction')
    expect(found).toMatchObject({ mnemonic: 'VPXORD', bytes: '62f17d48efc0', reason: 'model', feature: 'AVX512F' })
  })
})

describe('tile data without permission', () => {
  test.concurrent('SIGILL ILL_ILLOPC at the instruction; the trap record stays as it was [PERM-37, PERM-67]', async () => {
    expect(await exec([], 'refused', ['handle', 'tile'])).toMatchObject({ status: 0, stdout: illegal(ILL_ILLOPC, 0), stderr: '' })
    const afterAnother = await exec([], 'refused', ['handle', 'ud2', 'tile'])
    expect(afterAnother.stdout).toBe(illegal(ILL_ILLOPN, 6) + illegal(ILL_ILLOPC, 6))
  })
  test.concurrent('without a handler it is the end, and the end report says why [PERM-37]', async () => {
    const ran = await exec([], 'refused', ['tile'])
    expect(ran).toMatchObject({ status: 132, stdout: '' })
    expect(ran.stderr).toMatch(/^worldswitch: refused\[\d+\] was killed by SIGILL: .*XTILE_DATA.*\(PERM-37\)\n/)
  })
  test.concurrent('a processor without AMX: #UD already at LDTILECFG', async () => {
    const ran = await exec(['--cpu', 'Skylake-Server'], 'refused', ['tile'])
    expect(ran).toMatchObject({ status: 132, stdout: '' })
    expect(ran.stderr).toMatch(/instruction LDTILECFG \[.*not on this CPU model \(AMX_TILE\); on .*GraniteRapids/)
  })
})
