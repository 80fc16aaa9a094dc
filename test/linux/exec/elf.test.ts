import { describe, expect, test } from 'vitest'
import { ProgramError } from '../../../src/linux/exec/program-error.ts'
import { spawn } from '../../../src/linux/exec/spawn.ts'
import { bootHost } from '../host.ts'
import { oneFile, programBytes } from '../programs.ts'

/** Starts `bytes` as a program; the error it is refused with. */
function refusal(bytes: Uint8Array): ProgramError {
  const kernel = bootHost()
  kernel.bind('/opt/program', oneFile(bytes))
  const before = kernel.pages.used
  const sink = { write() {} }
  try {
    spawn(kernel, { path: '/opt/program', argv: ['program'], stdout: sink, stderr: sink })
  } catch (error) {
    if (!(error instanceof ProgramError)) throw error
    // Memory stays bounded whatever the headers claim.
    expect(kernel.pages.used - before).toBeLessThan(64)
    return error
  }
  throw new Error('it started')
}

/** A copy of a good program with one thing changed. */
function changed(edit: (view: DataView) => void): Uint8Array {
  const bytes = Uint8Array.from(programBytes('processes'))
  edit(new DataView(bytes.buffer))
  return bytes
}

/** Offset of program header `index`. */
const header = (view: DataView, index: number) => Number(view.getBigUint64(32, true)) + index * 56
const firstLoad = (view: DataView) => {
  for (let i = 0; i < view.getUint16(56, true); i++) if (view.getUint32(header(view, i), true) === 1) return header(view, i)
  throw new Error('no PT_LOAD')
}

describe('programs that cannot run here are refused with one reason [LUX-01]', () => {
  test.each<[string, Uint8Array, string]>([
    ['an empty file', new Uint8Array(0), 'not-elf'],
    [
      'a text file',
      Uint8Array.from(`hello world, this is no program at all, is it? no. ${'.'.repeat(80)}`, (c) => c.charCodeAt(0)),
      'not-elf',
    ],
    ['a header cut short', programBytes('processes').subarray(0, 40), 'truncated'],
    ['program headers cut short', programBytes('processes').subarray(0, 100), 'truncated'],
    ['segments cut short', programBytes('processes').subarray(0, 1000), 'truncated'],
    [
      'a 32-bit program',
      changed((v) => {
        v.setUint8(4, 1)
        v.setUint16(18, 3, true)
      }),
      'not-x86-64',
    ],
    ['another machine', changed((v) => v.setUint16(18, 183, true)), 'not-x86-64'],
    ['a relocatable object', changed((v) => v.setUint16(16, 1, true)), 'not-executable-type'],
    ['no program headers', changed((v) => v.setUint16(56, 0, true)), 'bad-program-headers'],
    ['too many program headers', changed((v) => v.setUint16(56, 0xffff, true)), 'bad-program-headers'],
    ['program headers far outside', changed((v) => v.setBigUint64(32, 0xffff_ffff_ffff_fff0n, true)), 'bad-program-headers'],
    ['an interpreter', changed((v) => v.setUint32(header(v, v.getUint16(56, true) - 1), 3, true)), 'dynamic'],
    ['a segment larger in the file than in memory', changed((v) => v.setBigUint64(firstLoad(v) + 40, 1n, true)), 'bad-segment'],
    ['a huge segment', changed((v) => v.setBigUint64(firstLoad(v) + 40, 1n << 62n, true)), 'bad-segment'],
    ['a wrapping segment', changed((v) => v.setBigUint64(firstLoad(v) + 16, 0xffff_ffff_ffff_f000n, true)), 'bad-segment'],
    ['a misaligned segment', changed((v) => v.setBigUint64(firstLoad(v) + 16, 0x400123n, true)), 'bad-segment'],
    ['a segment in the zero page', changed((v) => v.setBigUint64(firstLoad(v) + 16, 0n, true)), 'bad-segment'],
    ['an entry point in the kernel half', changed((v) => v.setBigUint64(24, 0xffff_8000_0000_0000n, true)), 'bad-segment'],
  ])('%s', (_what, bytes, code) => {
    const error = refusal(bytes)
    expect(error.code).toBe(code)
    expect(error.message).not.toContain('\n')
    expect(error.errno).toBeLessThan(0)
  })

  test('overlapping segments', () => {
    const bytes = changed((v) => {
      // Both headers become PT_LOADs of the same place.
      const load = firstLoad(v)
      const other = header(v, load === header(v, 0) ? 1 : 0)
      for (let i = 0; i < 56; i++) v.setUint8(other + i, v.getUint8(load + i))
    })
    expect(refusal(bytes).code).toBe('bad-segment')
  })

  test('a missing file and a directory', () => {
    const kernel = bootHost()
    const sink = { write() {} }
    const start = (path: string) => () => spawn(kernel, { path, argv: [path], stdout: sink, stderr: sink })
    expect(start('/no/such')).toThrow(expect.objectContaining({ code: 'not-found' }))
    expect(start('/tmp')).toThrow(expect.objectContaining({ code: 'is-directory' }))
  })
})
