import { describe, expect, test } from 'vitest'
import { EXPECTED_TO_PASS } from '../../scripts/conformance/programs.ts'
import rungs from '../../scripts/conformance/rungs.json' with { type: 'json' }
import { tableHead, tableRow } from '../../scripts/conformance/table.ts'
import { lastLine, verdictOf } from '../../scripts/conformance/verdict.ts'

describe('verdict on a test program', () => {
  test('exit status 0 passes, 4 skips, anything else fails', () => {
    expect(verdictOf(0, 'Random seed: 0x6b8b4567\n')).toBe('pass')
    expect(verdictOf(4, '1..0 # SKIP - Requirement not met: kvm_cpu_has(X86_FEATURE_AMX)\n')).toBe('skip')
    expect(verdictOf(254, '==== Test Assertion Failure ====\n')).toBe('fail')
    expect(verdictOf(139, '')).toBe('fail')
    expect(verdictOf(undefined, '')).toBe('fail')
  })

  test('a program that passed but left parts out is skipped', () => {
    expect(verdictOf(0, 'ok 1 # SKIP no such device\n')).toBe('skip')
    expect(verdictOf(0, '[RUN]\tx\n[SKIP]\tCode segment unavailable for 16-bit CS\n')).toBe('skip')
    expect(verdictOf(0, '# Totals: pass:3 fail:0 xfail:0 xpass:0 skip:1 error:0\n')).toBe('skip')
  })

  test('a part that is known to be left out does not count, any other does', () => {
    const known = '[SKIP]\tUretprobe test, uprobes are not available'
    expect(verdictOf(0, `[OK]\ta\n${known}\n`, [known])).toBe('pass')
    expect(verdictOf(0, `${known}\n`)).toBe('skip')
    expect(verdictOf(0, `[SKIP]\tUserfaultfd unavailable.\n${known}\n`, [known])).toBe('skip')
    expect(verdictOf(1, `${known}\n`, [known])).toBe('fail')
  })

  test('words about skipping in running text are no result', () => {
    expect(verdictOf(0, 'will skip nested state checks\n')).toBe('pass')
    expect(verdictOf(0, '# Totals: pass:3 fail:0 xfail:0 xpass:0 skip:0 error:0\n')).toBe('pass')
  })

  test('a failed part fails the program whatever its exit status', () => {
    expect(verdictOf(0, 'ok 1 a\nnot ok 2 b\n')).toBe('fail')
    expect(verdictOf(0, '[FAIL]\tSIGSEGV expected\n')).toBe('fail')
  })
})

describe('last line of a run', () => {
  test('is the program’s own', () => {
    expect(lastLine('a\n[OK]\tBack in the main thread.\n\n', 'worldswitch: not modelled: x\n')).toBe(
      '[OK]\tBack in the main thread.',
    )
  })

  test('is on stderr when the program reports there', () => {
    expect(lastLine('Random seed: 0x1\n', 'GUEST_SYNC(1)\nUCALL_DONE\nworldswitch: not modelled: x\n')).toBe('UCALL_DONE')
    expect(lastLine('GUEST_SYNC(3)\n', 'Test Assertion\n  rc == 0\n')).toBe('rc == 0')
  })

  test('is ours when the program said nothing', () => {
    expect(lastLine('', 'worldswitch: ./x is a 32-bit program\n')).toBe('worldswitch: ./x is a 32-bit program')
    expect(lastLine('', '')).toBe('')
  })
})

test('a table row keeps its columns when a program left no statistics', () => {
  const result = { suite: 'kvm', program: 'amx_test', result: 'pass', last: 'UCALL_DONE', seconds: 1.5 } as const
  const complete = tableRow({ ...result, instructions: { guest: 1234, host: 56789 } })
  const without = tableRow({ ...result, instructions: null })
  expect(complete).toContain('1,234')
  expect([complete, without].map((row) => row.indexOf('UCALL_DONE'))).toEqual([
    tableHead().indexOf('last'),
    tableHead().indexOf('last'),
  ])
})

test('the rungs that CI requires are programs of the ladder', () => {
  expect(rungs.filter((name) => !EXPECTED_TO_PASS.some((program) => program.name === name))).toEqual([])
})
