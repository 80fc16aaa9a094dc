import { describe, expect, test } from 'vitest'
import { ENGINE_SWITCHES } from '../../../src/machine/code-cache.ts'
import { CTL, REG } from '../../../src/machine/execution-context.ts'
import {
  type CetMachine,
  CODE_USER,
  CODE0,
  CP,
  DATA,
  DONE,
  GP,
  MACHINES,
  PF,
  SH_STK_EN,
  SHADOW_BYTES,
  SUPERVISOR_PAGE,
  SUPERVISOR_SHADOW,
  USER_SHADOW,
  WR_SHSTK_EN,
} from './cet-machine.ts'
import { addressOf } from './code-image.ts'

const { RAX, RBX, RCX, RSP, R12, R13, R14 } = REG
const UD = 6
/** A #PF error code: protection violation on a shadow-stack access (SDM Vol. 3, 4.7). */
const shadowFault = (m: CetMachine, write: boolean): number => 0x41 | (write ? 2 : 0) | (m.cpl === 3 ? 4 : 0)

function start(m: CetMachine, routine: string, cet = SH_STK_EN, ssp = m.shadowTop): ReturnType<CetMachine['run']> {
  m.cet = cet
  m.ssp = ssp
  return m.run(routine)
}
const selector = (m: CetMachine): number => (m.cpl === 3 ? CODE_USER : CODE0)

describe.each(MACHINES)('shadow stack: $name', ({ make }) => {
  const m = make()
  const top = m.shadowTop

  test('CALL pushes the return address on both stacks, RET pops and compares both [CET-51]', () => {
    expect(start(m, 'call_and_return')).toMatchObject({ vector: DONE })
    expect([m.reg(R14), m.reg(R13), m.ssp]).toEqual([top - 8, top, top])
    expect(m.word(top - 8)).toBe(m.word(m.reg(RSP) - 8))
  })

  test('CALL with displacement 0 pushes nothing on the shadow stack [CET-51]', () => {
    m.setWord(top - 8, 0x1234n)
    expect(start(m, 'call_next')).toMatchObject({ vector: DONE })
    expect([m.reg(R13), m.word(top - 8)]).toEqual([top, 0x1234n])
  })

  test('RET n releases on the data stack only [CET-51]', () => {
    expect(start(m, 'return_releasing')).toMatchObject({ vector: DONE })
    expect(m.reg(R13)).toBe(top)
  })

  test('a changed return address is #CP(1) at the RET, with nothing popped [CET-51, CET-53]', () => {
    expect(start(m, 'changed_return')).toEqual({ vector: CP, errorCode: 1, rip: addressOf('changed_return_at') })
    expect(m.ssp).toBe(top - 8)
  })

  test('with SH_STK_EN clear nothing is pushed; RDSSP is no operation, the others are #UD [CET-50, CET-54]', () => {
    expect(start(m, 'rdssp', 0)).toMatchObject({ vector: DONE })
    expect([m.ctx.reg(R13), m.ctx.reg(R14)]).toEqual([2n ** 64n - 1n, 2n ** 64n - 1n])
    m.setWord(top - 8, 0x1234n)
    expect(start(m, 'changed_return', 0).vector).not.toBe(CP)
    expect(m.word(top - 8)).toBe(0x1234n)
    for (const routine of ['incssp', 'rstorssp_only', 'saveprevssp_only', 'wrss', 'setssbsy', 'clrssbsy'])
      expect(start(m, routine, WR_SHSTK_EN)).toEqual({ vector: UD, errorCode: 0, rip: addressOf(routine) })
  })

  test('RDSSP reads SSP; the 32-bit form clears the upper half [CET-54]', () => {
    expect(start(m, 'rdssp')).toMatchObject({ vector: DONE })
    expect([m.reg(R13), m.ctx.reg(R14)]).toEqual([top, BigInt(top)])
  })

  test('INCSSP pops as many entries as the low 8 bits say, reading the first and the last [CET-54]', () => {
    const from = top - 4096
    for (const [routine, count, size] of [
      ['incssp', 3, 8],
      ['incssp', 255, 8],
      ['incssp', 0x700, 8],
      ['incssp_d', 5, 4],
    ] as const) {
      m.setReg(RAX, count)
      expect(start(m, routine, SH_STK_EN, from)).toMatchObject({ vector: DONE })
      expect(m.reg(R13)).toBe(from + (count & 0xff) * size)
    }
    m.setReg(RAX, 2)
    expect(start(m, 'incssp', SH_STK_EN, top - 8)).toEqual({
      vector: PF,
      errorCode: m.cpl === 3 ? 0x44 : 0x40,
      rip: addressOf('incssp'),
    })
    m.setReg(RAX, 0)
    expect(start(m, 'incssp', SH_STK_EN, DATA)).toMatchObject({ vector: PF, errorCode: shadowFault(m, false) })
  })

  test('RSTORSSP takes a restore token and leaves the previous SSP, of which SAVEPREVSSP makes a token there [CET-54]', () => {
    const token = top - 0x1008
    m.setWord(token, BigInt(token + 8) | 1n)
    m.setReg(RBX, token)
    expect(start(m, 'switch_stack')).toMatchObject({ vector: DONE })
    expect([m.reg(R14), m.reg(R13)]).toEqual([token, token + 8])
    expect(m.word(top - 8)).toBe(BigInt(top) | 1n)
    expect(m.word(token)).toBe(BigInt(top) | 3n)
  })

  test('RSTORSSP of anything but a restore token for its address is #CP(4), and leaves it [CET-53, CET-54]', () => {
    const at = top - 0x1008
    m.setReg(RBX, at)
    for (const token of [0n, BigInt(at + 8), BigInt(at + 8) | 3n, BigInt(at + 16) | 1n, BigInt(at) | 1n, (1n << 60n) | 1n]) {
      m.setWord(at, token)
      expect(start(m, 'rstorssp_only')).toEqual({ vector: CP, errorCode: 4, rip: addressOf('rstorssp_only') })
      expect([m.word(at), m.ssp]).toEqual([token, top])
    }
    m.setReg(RBX, at + 4)
    expect(start(m, 'rstorssp_only')).toMatchObject({ vector: GP, errorCode: 0 })
  })

  test('RSTORSSP to an SSP that is a multiple of 4 only sets CF; in 64-bit code SAVEPREVSSP then faults [CET-54]', () => {
    const at = top - 0x1008
    m.setWord(at, BigInt(at + 12) | 1n)
    m.setReg(RBX, at)
    expect(start(m, 'rstorssp_only')).toMatchObject({ vector: DONE })
    expect(m.ctx.rflags & 1).toBe(1)
    m.setWord(at, BigInt(at + 12) | 1n)
    expect(start(m, 'switch_stack')).toMatchObject({ vector: GP, errorCode: 0 })
  })

  test('SAVEPREVSSP without a previous-SSP token, or from an SSP that is not aligned, is #GP(0) [CET-54]', () => {
    m.ctx.rflags = 2
    m.setWord(top - 8, BigInt(top) | 1n)
    expect(start(m, 'saveprevssp_only', SH_STK_EN, top - 8)).toMatchObject({ vector: GP, errorCode: 0 })
    expect(start(m, 'saveprevssp_only', SH_STK_EN, top - 12)).toMatchObject({ vector: GP, errorCode: 0 })
  })

  test('WRSS writes to a shadow stack of its own level, with WR_SHSTK_EN only [CET-54, CET-55]', () => {
    m.setReg(RAX, 0x12345678)
    m.setReg(RBX, top - 16)
    expect(start(m, 'wrss')).toEqual({ vector: UD, errorCode: 0, rip: addressOf('wrss') })
    expect(start(m, 'wrss', SH_STK_EN | WR_SHSTK_EN)).toMatchObject({ vector: DONE })
    expect(m.word(top - 16)).toBe(0x12345678n)
    m.setWord(top - 16, -1n)
    m.setReg(RBX, top - 12)
    expect(start(m, 'wrss_d', SH_STK_EN | WR_SHSTK_EN)).toMatchObject({ vector: DONE })
    expect(m.word(top - 16)).toBe(0x12345678ffffffffn)
    expect(start(m, 'wrss', SH_STK_EN | WR_SHSTK_EN)).toMatchObject({ vector: GP, errorCode: 0 })
    const others = m.cpl === 3 ? SUPERVISOR_SHADOW : USER_SHADOW
    for (const at of [DATA, others, SUPERVISOR_PAGE]) {
      m.setReg(RBX, at)
      expect(start(m, 'wrss', SH_STK_EN | WR_SHSTK_EN)).toMatchObject({ vector: PF, errorCode: shadowFault(m, true) })
    }
  })

  test('WRUSS writes to user shadow stacks at CPL 0, whatever is enabled but CR4.CET; else #GP or #UD [CET-54, CET-55]', () => {
    m.setReg(RAX, 0x77)
    m.setReg(RBX, USER_SHADOW)
    m.setWord(USER_SHADOW, 0n)
    if (m.cpl === 3) expect(start(m, 'wruss')).toMatchObject({ vector: GP, errorCode: 0 })
    else {
      expect(start(m, 'wruss', 0)).toMatchObject({ vector: DONE })
      expect(m.word(USER_SHADOW)).toBe(0x77n)
      m.setReg(RBX, USER_SHADOW + 4)
      expect(start(m, 'wruss_d')).toMatchObject({ vector: DONE })
      expect(m.word(USER_SHADOW)).toBe(0x7700000077n)
      // A user access: the error code says so.
      for (const at of [SUPERVISOR_SHADOW, DATA]) {
        m.setReg(RBX, at)
        expect(start(m, 'wruss')).toMatchObject({ vector: PF, errorCode: 0x47 })
      }
    }
    m.ctx.setCtl(CTL.CR4, m.ctx.ctlLo(CTL.CR4) & ~0x800000, 0)
    expect(start(m, 'wruss')).toMatchObject({ vector: UD })
    m.ctx.setCtl(CTL.CR4, m.ctx.ctlLo(CTL.CR4) | 0x800000, 0)
  })

  test('ordinary stores to shadow-stack pages fault, loads do not; shadow accesses elsewhere have error-code bit 6 [CET-55]', () => {
    m.setReg(RBX, m.shadow)
    expect(start(m, 'load')).toMatchObject({ vector: DONE })
    expect(start(m, 'store')).toMatchObject({ vector: PF, errorCode: m.cpl === 3 ? 7 : 3 })
    const others = (m.cpl === 3 ? SUPERVISOR_SHADOW : USER_SHADOW) + SHADOW_BYTES
    for (const ssp of [DATA + 0x1000, others, SUPERVISOR_PAGE + 0x1000])
      expect(start(m, 'call_and_return', SH_STK_EN, ssp)).toMatchObject({ vector: PF, errorCode: shadowFault(m, true) })
    expect(start(m, 'call_and_return', SH_STK_EN, 0x7000008)).toMatchObject({ vector: PF, errorCode: shadowFault(m, true) & ~1 })
  })

  test('a CALL that faults on either stack changes neither [CET-51]', () => {
    m.setWord(top - 8, 0x1234n)
    m.cet = SH_STK_EN
    m.ssp = top
    m.ctx.rip = BigInt(addressOf('call_and_return'))
    m.ctx.setReg(RSP, 0x7000008n)
    expect(m.go()).toMatchObject({ vector: PF, rip: addressOf('call_and_return') })
    expect([m.reg(RSP), m.ssp, m.word(top - 8)]).toEqual([0x7000008, top, 0x1234n])
  })

  test('far CALL pushes CS, LIP and SSP, far RET compares them [CET-51]', () => {
    m.setReg(RAX, 'far_return')
    m.setReg(RCX, selector(m))
    expect(start(m, 'far_call_and_return')).toMatchObject({ vector: DONE })
    expect([m.reg(R14), m.reg(R13)]).toEqual([top - 24, top])
    expect([m.word(top - 8), m.word(top - 24)]).toEqual([BigInt(selector(m)), BigInt(top)])
  })

  test('far RET to another address or CS is #CP(2), with nothing popped [CET-51, CET-53]', () => {
    m.setReg(RAX, 'far_return_changed')
    m.setReg(RCX, selector(m))
    expect(start(m, 'far_call_and_return')).toEqual({ vector: CP, errorCode: 2, rip: addressOf('far_return_changed_at') })
    expect(m.ssp).toBe(top - 24)
    m.setWord(top - 8, m.word(top - 8) | (1n << 16n))
    m.ctx.rip = BigInt(addressOf('far_return') + 9)
    expect(m.go()).toMatchObject({ vector: CP, errorCode: 2 })
  })

  test('far RET from an SSP that is not aligned to 8 bytes is #CP(2); a far CALL aligns it, and the way back undoes that [CET-51]', () => {
    m.setReg(RAX, 'far_return')
    m.setReg(RCX, selector(m))
    m.setWord(top - 8, -1n)
    expect(start(m, 'far_call_and_return', SH_STK_EN, top - 4)).toMatchObject({ vector: DONE })
    expect([m.reg(R14), m.reg(R13)]).toEqual([top - 32, top - 4])
    expect(m.word(top - 8)).toBe(0xffffffff00000000n)
    expect(start(m, 'do_lret', SH_STK_EN, top - 28).vector).toBe(GP) // nothing was called
  })

  test('an entry may cross a page [CET-51]', () => {
    const at = m.shadow + 4096 + 4
    expect(start(m, 'call_and_return', SH_STK_EN, at)).toMatchObject({ vector: DONE })
    expect([m.reg(R14), m.reg(R13)]).toEqual([at - 8, at])
  })
})

describe('shadow stacks, hot and cold', () => {
  const switches = [{}, { regionLimit: 1 }, ...ENGINE_SWITCHES.map((name) => ({ [name]: false }))]
  test.each(switches)('30 times 700 calls deep and back, with %o [CET-51]', (engine) => {
    for (const { make } of MACHINES.slice(0, 3)) {
      const m = make(engine)
      m.cet = SH_STK_EN
      m.ssp = m.shadowTop
      m.setReg(RAX, 30)
      expect(m.run('deep_calls')).toMatchObject({ vector: DONE })
      expect([m.reg(R13), m.reg(R12)]).toEqual([m.shadowTop, 30 * 700])
    }
  })
})
