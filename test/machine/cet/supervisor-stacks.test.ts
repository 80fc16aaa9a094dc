import { beforeEach, describe, expect, test } from 'vitest'
import { CTL, REG } from '../../../src/machine/execution-context.ts'
import { SEGMENT } from '../../../src/machine/memory-map.ts'
import { EPT_READ, EPT_WRITE } from '../../../src/machine/second-stage.ts'
import {
  CODE_USER,
  CODE0,
  CODE1,
  CP,
  DATA,
  DATA_USER,
  DATA1,
  DONE,
  ENDBR_EN,
  GP,
  GuestCet,
  IST1,
  PF,
  RSP0,
  SH_STK_EN,
  SHADOW_BYTES,
  SSP_TABLE,
  STACK_TOP,
  SUPERVISOR_SHADOW,
  SUPPRESS,
  TRACKER,
  USER_SHADOW,
} from './cet-machine.ts'
import { addressOf } from './code-image.ts'

const { RAX, RBX, RCX, RDX, RSP, R11, R12, R13, R14 } = REG
const USER_TOP = USER_SHADOW + SHADOW_BYTES
/** Token addresses: of the stack for CPL 0, of that of IST 1, of that for CPL 1. */
const TOKEN = SUPERVISOR_SHADOW + 0xff8
const IST_TOKEN = SUPERVISOR_SHADOW + 0x1ff8
const TOKEN1 = SUPERVISOR_SHADOW + 0x2ff8
const TOP = SUPERVISOR_SHADOW + SHADOW_BYTES
const BOTH = ENDBR_EN | SH_STK_EN
const handler = (vector: number): number => addressOf('handlers') + vector * 16
/** Where a handler halts: after its ENDBR64. */
const inHandler = (vector: number) => ({ vector: 'hlt', rip: handler(vector) + 4 })

/** A guest at CPL 3 or 0 with both kinds of CET on at both levels, and free tokens. */
function guest(cpl: 0 | 3): GuestCet {
  const m = new GuestCet(cpl)
  m.vmcs.controls.exceptionBitmap = 1 << 6
  m.userCet = BOTH
  m.ctx.setCtl(CTL.S_CET, BOTH, 0)
  m.ctx.setCtl(CTL.INT_SSP_TAB, SSP_TABLE, 0)
  m.ctx.rflags = 0x202
  for (const [level, at] of [TOKEN, TOKEN1].entries()) {
    m.setPlSsp(level, at)
    m.setWord(at, BigInt(at))
  }
  m.setWord(IST_TOKEN, BigInt(IST_TOKEN))
  m.setWord(SSP_TABLE + 8, BigInt(IST_TOKEN))
  return m
}
/** Goes on behind a HLT. */
function resume(m: GuestCet): ReturnType<GuestCet['go']> {
  m.ctx.advanceRip(1)
  return m.go()
}
const busy = (at: number): bigint => BigInt(at) | 1n

describe('an interruption of CPL 3', () => {
  let m: GuestCet
  beforeEach(() => {
    m = guest(3)
  })

  test('INT n parks SSP in IA32_PL3_SSP and takes the stack of IA32_PL0_SSP, its token made busy; no frame is pushed [CET-56]', () => {
    expect(m.run('do_int')).toMatchObject(inHandler(0x80))
    expect([m.plSsp(3), m.ssp]).toEqual([USER_TOP, TOKEN])
    expect([m.word(TOKEN), m.word(TOKEN - 8)]).toEqual([busy(TOKEN), 0n])
    expect(m.reg(RSP)).toBe(RSP0 - 40)
  })

  test('IRET frees the token and goes back to IA32_PL3_SSP [CET-56]', () => {
    m.run('do_int')
    expect(resume(m)).toMatchObject({ vector: DONE })
    expect([m.ctx.cpl, m.reg(R13), m.ssp, m.word(TOKEN)]).toEqual([3, USER_TOP, USER_TOP, BigInt(TOKEN)])
  })

  test('IRET from an SSP that is not aligned to 8 bytes is #CP(2) [CET-51, CET-53]', () => {
    m.run('do_int')
    m.ssp = TOKEN - 4
    expect(resume(m)).toMatchObject(inHandler(CP))
    expect(m.word(m.reg(RSP))).toBe(2n)
  })

  test('IRET leaves a token alone that is not the busy one of the stack it leaves [CET-56]', () => {
    m.run('do_int')
    m.setWord(TOKEN, busy(TOKEN) | (1n << 32n))
    expect(resume(m)).toMatchObject({ vector: DONE })
    expect([m.ctx.cpl, m.word(TOKEN)]).toEqual([3, busy(TOKEN) | (1n << 32n)])
  })

  test('IRET to an IA32_PL3_SSP that is not canonical is #GP(0); without user shadow stacks it is not looked at [CET-56]', () => {
    m.run('do_int')
    m.host.machine.mem.setU64At(m.processor.registerFile + 0x220, 1n << 60n)
    expect(resume(m)).toMatchObject(inHandler(GP))
    m = guest(3)
    m.userCet = 0
    m.run('do_int')
    m.host.machine.mem.setU64At(m.processor.registerFile + 0x220, 1n << 60n)
    expect(resume(m)).toMatchObject({ vector: DONE })
    expect(m.ctx.cpl).toBe(3)
  })

  test.each([
    ['is busy', TOKEN, busy(TOKEN)],
    ['is none', TOKEN, 0n],
    ['is that of another address', TOKEN, BigInt(TOKEN - 32)],
    ['is not aligned', TOKEN - 4, BigInt(TOKEN - 4)],
    ['does not lie with its frame in 32 aligned bytes', TOKEN - 8, BigInt(TOKEN - 8)],
  ])('a token that %s is #GP(0), and with the same token for #GP and #DF a triple fault [CET-56]', (_what, at, token) => {
    m.setPlSsp(0, at)
    m.setWord(at & ~7, BigInt.asUintN(64, token))
    m.vmcs.controls.exceptionBitmap |= 1 << GP
    expect(m.run('do_int')).toMatchObject({ vector: GP, errorCode: 0, rip: addressOf('do_int') + 2 })
    expect([m.ctx.cpl, m.ssp]).toEqual([3, USER_TOP])
    m.vmcs.controls.exceptionBitmap = 0
    expect(m.run('do_int')).toMatchObject({ vector: 'triple fault' })
  })

  test('a token on a page that is no supervisor shadow stack is a page fault with error-code bit 6 [CET-55, CET-56]', () => {
    m.vmcs.controls.exceptionBitmap |= 1 << PF
    for (const at of [USER_SHADOW + 0xff8, DATA + 0xff8]) {
      m.setPlSsp(0, at)
      m.setWord(at, BigInt(at))
      expect(m.run('do_int')).toMatchObject({ vector: PF, errorCode: 0x43 })
      expect(m.word(at)).toBe(BigInt(at))
    }
  })

  test('with supervisor shadow stacks off only the user SSP is parked [CET-56]', () => {
    m.ctx.setCtl(CTL.S_CET, 0, 0)
    expect(m.run('do_int')).toMatchObject(inHandler(0x80))
    expect([m.plSsp(3), m.word(TOKEN)]).toEqual([USER_TOP, BigInt(TOKEN)])
    m.ssp = 0x1230
    expect(resume(m)).toMatchObject({ vector: DONE })
    expect(m.reg(R13)).toBe(USER_TOP)
  })

  test('with user shadow stacks off IA32_PL3_SSP stays as it is [CET-56]', () => {
    m.userCet = 0
    m.setPlSsp(3, 0x1238)
    expect(m.run('do_int')).toMatchObject(inHandler(0x80))
    expect([m.plSsp(3), m.ssp]).toEqual([0x1238, TOKEN])
  })

  test('a gate with IST takes its stack from the table of IA32_INTERRUPT_SSP_TABLE_ADDR [CET-56]', () => {
    m.setGate(0x80, handler(0x80), 1)
    expect(m.run('do_int')).toMatchObject(inHandler(0x80))
    expect([m.ssp, m.word(IST_TOKEN), m.word(TOKEN)]).toEqual([IST_TOKEN, busy(IST_TOKEN), BigInt(TOKEN)])
    expect(m.reg(RSP)).toBe(IST1 - 40)
    expect(resume(m)).toMatchObject({ vector: DONE })
    expect(m.word(IST_TOKEN)).toBe(BigInt(IST_TOKEN))
  })

  test('an exception and an event that VM entry injects do the same [CET-56]', () => {
    m.vmcs.controls.exceptionBitmap = 0
    expect(m.run('nothing')).toMatchObject(inHandler(6))
    expect([m.plSsp(3), m.ssp, m.word(TOKEN)]).toEqual([USER_TOP, TOKEN, busy(TOKEN)])
    m = guest(3)
    m.vmcs.entryInterruptionInfo = 0x80000030 | 0
    expect(m.run('nothing')).toMatchObject(inHandler(0x30))
    expect([m.plSsp(3), m.ssp, m.word(TOKEN)]).toEqual([USER_TOP, TOKEN, busy(TOKEN)])
  })

  test('a gate to CPL 1 takes IA32_PL1_SSP, and IRET from there frees its token [CET-56]', () => {
    m.setGate(0x80, addressOf('do_iretq'), 0, CODE1 & ~3)
    m.ctx.setCtl(CTL.S_CET, SH_STK_EN, 0)
    m.vmcs.controls.exceptionBitmap = 0
    expect(m.run('do_int', 1)).toMatchObject({ vector: 'budget', rip: addressOf('do_iretq') })
    expect([m.ctx.cpl, m.ssp, m.word(TOKEN1), m.plSsp(3)]).toEqual([1, TOKEN1, busy(TOKEN1), USER_TOP])
    expect(m.go(1)).toMatchObject({ vector: 'budget', rip: addressOf('do_int') + 2 })
    expect([m.ctx.cpl, m.ssp, m.word(TOKEN1)]).toEqual([3, USER_TOP, BigInt(TOKEN1)])
  })

  test('SYSCALL parks SSP and clears it; SETSSBSY takes the stack of IA32_PL0_SSP; SYSRET goes back [CET-56, CET-54]', () => {
    m.ctx.setCtl(CTL.STAR, 0, (0x18 << 16) | 8)
    m.ctx.setCtl(CTL.LSTAR, addressOf('syscall_entry'), 0)
    expect(m.run('do_syscall')).toMatchObject({ vector: 'hlt' })
    expect([m.ctx.cpl, m.plSsp(3), m.ssp, m.reg(R14)]).toEqual([0, USER_TOP, 0, 0])
    expect(resume(m)).toMatchObject({ vector: DONE })
    expect([m.ctx.cpl, m.ssp, m.reg(R13)]).toEqual([3, USER_TOP, USER_TOP])
  })

  test('SYSENTER and SYSEXIT likewise [CET-56]', () => {
    m.ctx.setCtl(CTL.SYSENTER_CS, 8, 0)
    m.ctx.setCtl(CTL.SYSENTER_EIP, addressOf('sysenter_entry'), 0)
    m.ctx.setCtl(CTL.SYSENTER_ESP, STACK_TOP, 0)
    expect(m.run('do_sysenter')).toMatchObject({ vector: 'hlt' })
    expect([m.ctx.cpl, m.plSsp(3), m.ssp, m.reg(R14)]).toEqual([0, USER_TOP, 0, 0])
    m.setReg(RDX, 'after_exit')
    m.setReg(RCX, STACK_TOP)
    expect(resume(m)).toMatchObject({ vector: DONE })
    expect([m.ctx.cpl, m.ssp, m.reg(R13)]).toEqual([3, USER_TOP, USER_TOP])
  })
})

describe('an interruption of CPL 0', () => {
  let m: GuestCet
  beforeEach(() => {
    m = guest(0)
  })

  test('pushes CS, LIP and SSP on the same shadow stack, and IRET compares and pops them [CET-51, CET-56]', () => {
    expect(m.run('do_int')).toMatchObject(inHandler(0x80))
    expect(m.ssp).toBe(TOP - 24)
    expect([m.word(TOP - 8), m.word(TOP - 16), m.word(TOP - 24)]).toEqual([
      BigInt(CODE0),
      BigInt(addressOf('do_int') + 2),
      BigInt(TOP),
    ])
    expect(m.word(TOKEN)).toBe(BigInt(TOKEN))
    expect(resume(m)).toMatchObject({ vector: DONE })
    expect([m.ssp, m.reg(R13)]).toEqual([TOP, TOP])
  })

  test('an SSP that is a multiple of 4 only gets a hole of zeros, and IRET goes back to it [CET-51]', () => {
    m.ssp = TOP - 4
    m.setWord(TOP - 8, -1n)
    expect(m.run('do_int')).toMatchObject(inHandler(0x80))
    expect([m.ssp, m.word(TOP - 8), m.word(TOP - 32)]).toEqual([TOP - 32, 0xffffffff00000000n, BigInt(TOP - 4)])
    expect(resume(m)).toMatchObject({ vector: DONE })
    expect(m.ssp).toBe(TOP - 4)
  })

  test.each([
    ['CS', TOP - 8, 0x10n],
    ['CS above bit 15', TOP - 8, 0x10008n],
    ['LIP', TOP - 16, 0x1234n],
    ['SSP, not aligned', TOP - 24, BigInt(TOP) | 2n],
  ])('IRET with another %s on the shadow stack is #CP(2), with nothing popped [CET-51, CET-53]', (_what, at, value) => {
    m.vmcs.controls.exceptionBitmap |= 1 << CP
    m.run('do_int')
    m.setWord(at, value)
    expect(resume(m)).toMatchObject({ vector: CP, errorCode: 2, rip: handler(0x80) + 5 })
    expect([m.ssp, m.reg(RSP)]).toEqual([TOP - 24, STACK_TOP - 40])
  })

  test('with IST it changes stacks, and IRET frees the token of the one it leaves [CET-56]', () => {
    m.setGate(0x80, handler(0x80), 1)
    expect(m.run('do_int')).toMatchObject(inHandler(0x80))
    expect([m.ssp, m.word(IST_TOKEN)]).toEqual([IST_TOKEN - 24, busy(IST_TOKEN)])
    expect([m.word(IST_TOKEN - 8), m.word(IST_TOKEN - 24)]).toEqual([BigInt(CODE0), BigInt(TOP)])
    expect(resume(m)).toMatchObject({ vector: DONE })
    expect([m.ssp, m.word(IST_TOKEN)]).toEqual([TOP, BigInt(IST_TOKEN)])
  })

  test('an IST stack that is busy is #GP(0): the event nests [CET-56]', () => {
    m.setGate(0x80, handler(0x80), 1)
    m.setWord(IST_TOKEN, busy(IST_TOKEN))
    m.vmcs.controls.exceptionBitmap |= 1 << GP
    expect(m.run('do_int')).toMatchObject({ vector: GP, errorCode: 0 })
  })

  test('a shadow stack that is full makes the delivery fault, with registers and token unchanged [CET-56]', () => {
    m.vmcs.controls.exceptionBitmap |= 1 << PF
    m.ssp = SUPERVISOR_SHADOW
    expect(m.run('do_int')).toMatchObject({ vector: PF, errorCode: 0x42, rip: addressOf('do_int') + 2 })
    expect([m.ssp, m.reg(RSP)]).toEqual([SUPERVISOR_SHADOW, STACK_TOP])
  })

  test('an exception with an error code that VM entry injects leaves both frames [CET-30, CET-56]', () => {
    m.vmcs.entryInterruptionInfo = 0x80000b00 | CP
    m.vmcs.entryErrorCode = 1
    expect(m.run('nothing')).toMatchObject(inHandler(CP))
    expect([m.word(m.reg(RSP)), m.ssp, m.word(TOP - 16)]).toEqual([1n, TOP - 24, BigInt(addressOf('nothing'))])
  })

  test('an EPT violation on the new shadow stack stops the delivery with its token free, so that it can be made again [CET-56]', () => {
    m.setGate(0x80, handler(0x80), 1)
    const page = IST_TOKEN >> 12
    m.second.map(page, (GuestCet.HPA >> 12) + page, EPT_READ)
    expect(m.run('do_int')).toMatchObject({ vector: 'EPT violation' })
    expect([m.vmcs.exitGpa, m.vmcs.idtVectoringInfo & 0xff, m.word(IST_TOKEN), m.ssp]).toEqual([
      IST_TOKEN,
      0x80,
      BigInt(IST_TOKEN),
      TOP,
    ])
    m.second.map(page, (GuestCet.HPA >> 12) + page, EPT_READ | EPT_WRITE)
    m.vmcs.entryInterruptionInfo = m.vmcs.idtVectoringInfo
    m.vmcs.entryInstructionLength = 0
    expect(m.go()).toMatchObject(inHandler(0x80))
    expect([m.ssp, m.word(IST_TOKEN)]).toEqual([IST_TOKEN - 24, busy(IST_TOKEN)])
  })

  test('SYSCALL at CPL 0 parks SSP, too [CET-56]', () => {
    m.ctx.setCtl(CTL.LSTAR, addressOf('syscall_entry'), 0)
    m.ctx.setCtl(CTL.STAR, 0, 8)
    expect(m.run('do_syscall')).toMatchObject({ vector: 'hlt' })
    expect([m.plSsp(3), m.ssp]).toEqual([TOP, 0])
  })

  /** An IRETQ or far RET frame at RSP. */
  function frame(m: GuestCet, words: readonly number[]): void {
    m.ctx.setReg(RSP, BigInt(STACK_TOP - 64))
    words.forEach((word, i) => {
      m.setWord(STACK_TOP - 64 + i * 8, BigInt(word))
    })
  }
  function enter(m: GuestCet, routine: string): ReturnType<GuestCet['go']> {
    m.ctx.rip = BigInt(addressOf(routine))
    return m.go()
  }

  test('IRET and far RET to CPL 3 take SSP from IA32_PL3_SSP and free the token they leave [CET-56]', () => {
    for (const [routine, words] of [
      ['do_iretq', [addressOf('rdssp'), CODE_USER, 0x202, STACK_TOP - 256, DATA_USER]],
      ['do_lret', [addressOf('rdssp'), CODE_USER, STACK_TOP - 256, DATA_USER]],
    ] as const) {
      m = guest(0)
      m.setPlSsp(3, USER_TOP - 16)
      m.setWord(TOKEN, busy(TOKEN))
      m.ssp = TOKEN
      frame(m, words)
      expect(enter(m, routine)).toMatchObject({ vector: DONE })
      expect([m.ctx.cpl, m.reg(R13), m.word(TOKEN)]).toEqual([3, USER_TOP - 16, BigInt(TOKEN)])
    }
  })

  test('a far RET to CPL 1 compares the frame and takes the SSP in it [CET-51, CET-56]', () => {
    m.ssp = TOP - 24
    m.setWord(TOP - 24, BigInt(TOKEN1))
    m.setWord(TOP - 16, BigInt(addressOf('rdssp')))
    m.setWord(TOP - 8, BigInt(CODE1))
    m.setWord(TOP, 0n)
    frame(m, [addressOf('rdssp'), CODE1, STACK_TOP - 256, DATA1])
    m.ssp = TOP - 0x1000 - 24
    for (const [i, value] of [TOKEN1, addressOf('rdssp'), CODE1, TOP - 0x1000 + 1].entries())
      m.setWord(TOP - 0x1000 - 24 + i * 8, BigInt(value))
    expect(enter(m, 'do_lret')).toMatchObject({ vector: DONE })
    expect([m.ctx.cpl, m.reg(R13), m.word(TOP - 0x1000)]).toEqual([1, TOKEN1, BigInt(TOP - 0x1000)])
  })

  test('IRET to compatibility code with an SSP above 4 GiB is #GP(0) [CET-56]', () => {
    m.vmcs.controls.exceptionBitmap |= 1 << GP
    m.host.machine.mem.setU64At(m.processor.registerFile + 0x220, 1n << 32n)
    frame(m, [addressOf('compat_calls'), 0x1b, 0x202, STACK_TOP - 256, DATA_USER])
    m.setWord(TOKEN, busy(TOKEN))
    m.ssp = TOKEN
    expect(enter(m, 'do_iretq')).toMatchObject({ vector: GP, errorCode: 0, rip: addressOf('do_iretq') })
    expect([m.ctx.cpl, m.word(TOKEN)]).toEqual([0, busy(TOKEN)])
  })

  test('far CALL and JMP to compatibility code with an SSP above 4 GiB are #GP(0) [CET-24b]', () => {
    m.vmcs.controls.exceptionBitmap |= 1 << GP
    m.ctx.setCtl(CTL.SSP, 0, 1)
    for (const routine of ['far_jmp', 'far_call']) {
      m.setReg(RAX, 'compat_endbr')
      m.setReg(RCX, 0x30)
      expect(m.run(routine)).toMatchObject({ vector: GP, errorCode: 0 })
      expect(m.ctx.selector(SEGMENT.CS)).toBe(CODE0)
    }
  })
})

describe('SETSSBSY and CLRSSBSY', () => {
  const m = guest(0)
  beforeEach(() => {
    m.vmcs.controls.exceptionBitmap = -1
    m.setPlSsp(0, TOKEN)
    m.setWord(TOKEN, BigInt(TOKEN))
    m.ssp = TOP
    m.setReg(RBX, TOKEN)
  })

  test('SETSSBSY makes the token of IA32_PL0_SSP busy and takes its stack [CET-54]', () => {
    expect(m.run('setssbsy')).toMatchObject({ vector: DONE })
    expect([m.reg(R13), m.word(TOKEN)]).toEqual([TOKEN, busy(TOKEN)])
  })

  test('SETSSBSY with a busy token, or none, is #CP(5) [CET-53, CET-54]', () => {
    for (const token of [busy(TOKEN), 0n, BigInt(TOKEN) | (1n << 40n)]) {
      m.setWord(TOKEN, token)
      expect(m.run('setssbsy')).toEqual({ vector: CP, errorCode: 5, rip: addressOf('setssbsy') })
      expect([m.ssp, m.word(TOKEN)]).toEqual([TOP, token])
    }
  })

  test('SETSSBSY: an IA32_PL0_SSP that is not aligned is #GP(0), one on another page #PF with bit 6 [CET-54, CET-55]', () => {
    m.setPlSsp(0, TOKEN + 4)
    expect(m.run('setssbsy')).toMatchObject({ vector: GP, errorCode: 0 })
    m.setPlSsp(0, USER_SHADOW)
    expect(m.run('setssbsy')).toMatchObject({ vector: PF, errorCode: 0x43 })
  })

  test('CLRSSBSY frees a busy token and clears SSP; CF says that there was none [CET-54]', () => {
    m.setWord(TOKEN, busy(TOKEN))
    expect(m.run('clrssbsy')).toMatchObject({ vector: DONE })
    expect([m.reg(R13), m.word(TOKEN), m.reg(RAX) & 0xff]).toEqual([0, BigInt(TOKEN), 0])
    expect(m.run('clrssbsy')).toMatchObject({ vector: DONE })
    expect([m.reg(R13), m.word(TOKEN), m.reg(RAX) & 0xff]).toEqual([0, BigInt(TOKEN), 1])
    m.setReg(RBX, TOKEN - 4)
    expect(m.run('clrssbsy')).toMatchObject({ vector: GP, errorCode: 0 })
  })

  test('both are #UD with supervisor shadow stacks off, else #GP(0) above CPL 0 [CET-54]', () => {
    for (const routine of ['setssbsy', 'clrssbsy']) {
      const user = guest(3)
      user.vmcs.controls.exceptionBitmap = -1
      expect(user.run(routine)).toMatchObject({ vector: GP, errorCode: 0 })
      user.ctx.setCtl(CTL.S_CET, 0, 0)
      expect(user.run(routine)).toMatchObject({ vector: 6, rip: addressOf(routine) })
    }
  })
})

describe('the trackers across events', () => {
  test('an event leaves the user tracker waiting and starts its handler waiting, unsuppressed [CET-52, CET-57]', () => {
    const m = guest(3)
    m.vmcs.controls.exceptionBitmap = 0
    m.ctx.setCtl(CTL.S_CET, ENDBR_EN | SUPPRESS, 0)
    m.userCet = ENDBR_EN
    m.setReg(RAX, 'endbr_target')
    m.setReg(R12, 0)
    expect(m.run('do_int_waiting', 1)).toMatchObject({ vector: 'budget' })
    m.vmcs.entryInterruptionInfo = 0x80000030 | 0
    expect(m.go(0)).toMatchObject({ vector: 'budget', rip: handler(0x30) })
    expect([m.userCet, m.ctx.ctlLo(CTL.S_CET)]).toEqual([ENDBR_EN | TRACKER, ENDBR_EN | TRACKER])
    expect(m.go()).toMatchObject(inHandler(0x30))
    expect([m.userCet, m.ctx.ctlLo(CTL.S_CET)]).toEqual([ENDBR_EN | TRACKER, ENDBR_EN])
    m.vmcs.controls.exceptionBitmap = -1
    expect(resume(m)).toMatchObject({ vector: DONE })
    expect([m.ctx.cpl, m.reg(R12), m.userCet]).toEqual([3, 1, ENDBR_EN])
  })

  test('after the return the user target is checked [CET-57]', () => {
    const m = guest(3)
    m.userCet = ENDBR_EN
    m.setReg(RAX, 'plain_target')
    m.run('do_int_waiting', 1)
    m.vmcs.entryInterruptionInfo = 0x80000030 | 0
    expect(m.go()).toMatchObject(inHandler(0x30))
    m.vmcs.controls.exceptionBitmap = -1
    expect(resume(m)).toEqual({ vector: CP, errorCode: 3, rip: addressOf('plain_target') })
  })

  test('a handler without ENDBR64 is #CP(3) at its first instruction [CET-52]', () => {
    const m = guest(3)
    m.setGate(0x80, addressOf('plain_handler'))
    m.vmcs.controls.exceptionBitmap |= 1 << CP
    expect(m.run('do_int')).toMatchObject({ vector: CP, errorCode: 3, rip: addressOf('plain_handler') })
    expect(m.ctx.cpl).toBe(0)
  })

  test('at one level the interrupted code loses its tracker: IRET does not bring it back [CET-57]', () => {
    const m = guest(0)
    m.setReg(RAX, 'plain_target')
    m.setReg(R12, 0)
    expect(m.run('do_int_waiting')).toMatchObject(inHandler(CP))
    expect(m.word(m.reg(RSP))).toBe(3n)
    m.ctx.rip = BigInt(addressOf('return_with_error'))
    expect(m.go()).toMatchObject({ vector: DONE })
    expect(m.reg(R12)).toBe(1)
  })

  test('SYSCALL and SYSENTER arrive waiting, and leave the user tracker alone [CET-52, CET-57]', () => {
    for (const routine of ['do_syscall', 'do_sysenter']) {
      const m = guest(3)
      m.ctx.setCtl(CTL.STAR, 0, (0x18 << 16) | 8)
      m.ctx.setCtl(CTL.LSTAR, addressOf('syscall_entry_plain'), 0)
      m.ctx.setCtl(CTL.SYSENTER_CS, 8, 0)
      m.ctx.setCtl(CTL.SYSENTER_EIP, addressOf('syscall_entry_plain'), 0)
      m.ctx.setCtl(CTL.SYSENTER_ESP, STACK_TOP, 0)
      m.vmcs.controls.exceptionBitmap |= 1 << CP
      m.setReg(R11, 0x202)
      expect(m.run(routine)).toMatchObject({ vector: CP, errorCode: 3, rip: addressOf('syscall_entry_plain') })
      expect([m.ctx.cpl, m.userCet, m.ctx.ctlLo(CTL.S_CET)]).toEqual([0, BOTH, BOTH | TRACKER])
    }
  })

  test('a single step traps at the target of an indirect branch with the user tracker waiting [CET-57]', () => {
    const m = guest(3)
    m.vmcs.controls.exceptionBitmap = 0
    m.setReg(RAX, 'endbr_target')
    m.ctx.rflags = 0x302
    expect(m.run('do_int_waiting')).toMatchObject(inHandler(1))
    expect([m.userCet, m.word(RSP0 - 40)]).toEqual([BOTH | TRACKER, BigInt(addressOf('endbr_target'))])
  })
})

describe('32-bit code', () => {
  /** Compatibility code at CPL 3. */
  function compat(): GuestCet {
    const m = guest(3)
    m.ctx.setSegment(SEGMENT.CS, 0x1b, 0xc0fb, 0xffffffff, 0, 0)
    m.vmcs.controls.exceptionBitmap = -1
    return m
  }

  test('ENDBR32 is due after indirect branches, and ENDBR64 does not do [CET-52]', () => {
    for (const routine of ['compat_jmp', 'compat_call']) {
      const m = compat()
      m.userCet = ENDBR_EN
      m.setReg(RAX, 'compat_endbr')
      m.setReg(REG.RSI, 0)
      expect(m.run(routine)).toMatchObject({ vector: DONE })
      expect([m.reg(REG.RSI), m.userCet]).toEqual([1, ENDBR_EN])
      m.setReg(RAX, 'compat_endbr64')
      expect(m.run(routine)).toEqual({ vector: CP, errorCode: 3, rip: addressOf('compat_endbr64') })
    }
  })

  test('the legacy bitmap is looked up with 32 bits [CET-52]', () => {
    const m = compat()
    const page = addressOf('compat_endbr64') >> 12
    m.userCet = ENDBR_EN | 8 | 0x30000
    m.setByte(0x30000 + (page >> 3), 1 << (page & 7))
    m.setReg(RAX, 'compat_endbr64')
    expect(m.run('compat_jmp')).toMatchObject({ vector: DONE })
  })

  test('with shadow stacks off CALL and RET use the data stack alone [CET-50]', () => {
    const m = compat()
    m.userCet = 0
    m.setReg(RBX, 0x55)
    expect(m.run('compat_calls')).toMatchObject({ vector: DONE })
    expect([m.reg(RBX), m.reg(RSP), m.ssp]).toEqual([0x55, STACK_TOP, USER_TOP])
  })

  test('near CALL and RET use entries of 4 bytes [CET-51]', () => {
    const m = compat()
    expect(m.run('compat_calls')).toMatchObject({ vector: DONE })
    expect([m.reg(RBX), m.reg(RDX), m.reg(RCX)]).toEqual([USER_TOP, USER_TOP - 4, USER_TOP])
    expect(m.run('compat_changed_return')).toEqual({ vector: CP, errorCode: 1, rip: addressOf('compat_changed_return_at') })
    expect(m.ssp).toBe(USER_TOP - 4)
  })

  test('an event in it pushes no frame and comes back to it [CET-56]', () => {
    const m = compat()
    m.vmcs.controls.exceptionBitmap = 1 << 6
    m.vmcs.entryInterruptionInfo = 0x80000030 | 0
    expect(m.run('compat_calls')).toMatchObject(inHandler(0x30))
    expect([m.plSsp(3), m.ssp]).toEqual([USER_TOP, TOKEN])
    expect(resume(m)).toMatchObject({ vector: DONE })
    expect(m.reg(RBX)).toBe(USER_TOP)
  })
})
