import { describe, expect, test } from 'vitest'
import { runProgram, values } from '../programs.ts'

const run = (scenario: string) => {
  const result = runProgram('signals', { args: [scenario] })
  return { ...result, values: values(result.output) }
}

describe('faults become signals with the record of the trap [LUX-40, LUX-18]', () => {
  test('#DE: SIGFPE FPE_INTDIV, and the program goes on where the handler says', () => {
    const { output, values: v, status } = run('d')
    expect(v).toMatchObject({ signal: 8, code: 1, trapno: 0, err: 0 })
    expect(output).toContain('after')
    expect(status).toBe(0)
  })
  test('#UD: SIGILL ILL_ILLOPN, trapno 6', () => {
    expect(run('u').values).toMatchObject({ signal: 4, code: 2, trapno: 6, err: 0 })
  })
  test('no mapping: SEGV_MAPERR with the address, the page-fault error code and CR2', () => {
    expect(run('m').values).toMatchObject({ signal: 11, code: 1, address: 0x1238, trapno: 14, err: 6, cr2: 0x1238 })
  })
  test('read-only mapping: SEGV_ACCERR, error code 7', () => {
    expect(run('w').values).toMatchObject({ signal: 11, code: 2, trapno: 14, err: 7 })
  })
  test('a non-canonical address is #GP: SI_KERNEL, address 0, trapno 13', () => {
    expect(run('g').values).toMatchObject({ signal: 11, code: 0x80, address: 0, trapno: 13, err: 0 })
  })
  test('uc_flags of 64-bit code: XSTATE, SIGCONTEXT_SS, STRICT_RESTORE_SS [LUX-41]', () => {
    expect(run('m').values['ucflags']).toBe(7)
  })
})

describe('default actions', () => {
  test('an unhandled SIGTERM ends the program with status 15', () => {
    expect(run('s').status).toBe(15)
  })
  test('an unhandled fault ends it, without core flag while cores are limited to 0', () => {
    expect(run('k').status).toBe(4)
  })
  test('a blocked fault is deadly [LUX-39]', () => {
    expect(run('b')).toMatchObject({ status: 11, output: '' })
  })
  test('a handler without SA_RESTORER cannot be started: SIGSEGV [LUX-38]', () => {
    expect(run('n').status).toBe(11)
  })
})

describe('interrupted calls [LUX-13, LUX-53]', () => {
  test('alarm interrupts pause after its seconds of virtual time', () => {
    expect(run('a').values).toMatchObject({ pause: 4, signal: 14, seconds: 2 })
  })
  test('read goes on with SA_RESTART and is EINTR without', () => {
    expect(run('r').values).toMatchObject({ read: 1, char: 0x78, handled: 1, eintr: 4 })
  })
  test('nanosleep is EINTR after a handler and stores what is left', () => {
    expect(run('x').values).toMatchObject({ sleep: 4, left: 99 })
  })
  test('rt_sigtimedwait takes a blocked pending signal, then times out with EAGAIN', () => {
    expect(run('t').values).toMatchObject({ taken: 10, again: 11 })
  })
})
