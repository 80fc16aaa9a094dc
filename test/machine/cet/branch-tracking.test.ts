import { describe, expect, test } from 'vitest'
import { ENGINE_SWITCHES } from '../../../src/machine/code-cache.ts'
import { CTL, REG } from '../../../src/machine/execution-context.ts'
import {
  type CetMachine,
  CODE_USER,
  CODE0,
  CP,
  DONE,
  ENDBR_EN,
  LEG_IW_EN,
  LEGACY_BITMAP,
  MACHINES,
  NO_TRACK_EN,
  PF,
  SH_STK_EN,
  SUPPRESS,
  SUPPRESS_DIS,
  TRACKER,
} from './cet-machine.ts'
import { addressOf } from './code-image.ts'

const [RBX, R12] = [REG.RBX, REG.R12]
/** #CP(3) at a symbol. */
const missing = (symbol: string) => ({ vector: CP, errorCode: 3, rip: addressOf(symbol) })

/** Runs a routine with rax at a target; the machine's CET settings are `cet`. */
function branch(m: CetMachine, routine: string, target: string, cet = ENDBR_EN): ReturnType<CetMachine['run']> {
  m.cet = cet
  m.setReg(REG.RAX, target)
  m.setReg(REG.RCX, m.cpl === 3 ? CODE_USER : CODE0)
  m.setReg(R12, 0)
  return m.run(routine)
}

describe.each(MACHINES)('indirect-branch tracking: $name', ({ make }) => {
  const m = make()

  test.each(['jmp_register', 'call_register', 'jmp_memory', 'call_memory', 'fs_jmp_memory', 'far_jmp', 'far_call'])(
    '%s to ENDBR64 goes on and leaves the tracker idle [CET-52]',
    (routine) => {
      expect(branch(m, routine, 'endbr_target')).toMatchObject({ vector: DONE })
      expect([m.reg(R12), m.cet]).toEqual([1, ENDBR_EN])
    },
  )

  test.each(['jmp_register', 'call_register', 'jmp_memory', 'call_memory', 'fs_jmp_memory', 'far_jmp', 'far_call'])(
    '%s to anything else is #CP(3) at the target, and the tracker goes on waiting [CET-52, CET-53]',
    (routine) => {
      expect(branch(m, routine, 'plain_target')).toEqual(missing('plain_target'))
      expect([m.reg(R12), m.cet]).toEqual([0, ENDBR_EN | TRACKER])
      // The fault is the instruction's: it is there again when the instruction is.
      expect(m.go()).toEqual(missing('plain_target'))
    },
  )

  test('with ENDBR_EN clear, or CR4.CET clear, nothing is tracked and ENDBR64 is no operation [CET-50, CET-54]', () => {
    expect(branch(m, 'jmp_register', 'plain_target', 0)).toMatchObject({ vector: DONE })
    expect(branch(m, 'jmp_register', 'endbr_target', SUPPRESS)).toMatchObject({ vector: DONE })
    expect([m.reg(R12), m.cet]).toEqual([1, SUPPRESS])
    m.ctx.setCtl(CTL.CR4, m.ctx.ctlLo(CTL.CR4) & ~0x800000, 0)
    expect(branch(m, 'jmp_register', 'plain_target', ENDBR_EN)).toMatchObject({ vector: DONE })
    expect(branch(m, 'far_jmp', 'plain_target', ENDBR_EN)).toMatchObject({ vector: DONE })
    m.ctx.setCtl(CTL.CR4, m.ctx.ctlLo(CTL.CR4) | 0x800000, 0)
  })

  test('direct branches and RET are not tracked [CET-52]', () => {
    expect(branch(m, 'direct_branches', 'plain_target')).toMatchObject({ vector: DONE })
    expect([m.reg(R12), m.cet]).toEqual([2, ENDBR_EN])
  })

  test('an indirect branch that faults itself does not set the tracker [CET-52]', () => {
    expect(branch(m, 'jmp_unmapped', 'plain_target')).toMatchObject({ vector: PF, rip: addressOf('jmp_unmapped') })
    expect(m.cet).toBe(ENDBR_EN)
  })

  test('ENDBR32 does not do in 64-bit code [CET-52]', () => {
    expect(branch(m, 'jmp_register', 'endbr32_target')).toEqual(missing('endbr32_target'))
  })

  test('bytes that are no instruction are #CP(3) while ENDBRANCH is due, and #UD else [CET-52]', () => {
    expect(branch(m, 'jmp_register', 'invalid_target')).toEqual(missing('invalid_target'))
    expect(branch(m, 'jmp_register', 'invalid_target', 0)).toMatchObject({ vector: 6, rip: addressOf('invalid_target') })
  })

  test('INT3 is taken while ENDBRANCH is due, which it stays [CET-52]', () => {
    expect(branch(m, 'jmp_register', 'int3_target')).toMatchObject({ vector: 3 })
    expect(m.cet).toBe(ENDBR_EN | TRACKER)
  })

  test('NOTRACK counts with NO_TRACK_EN only, on near branches, and not under an FS prefix [CET-52]', () => {
    for (const routine of ['notrack_jmp', 'notrack_call', 'notrack_jmp_memory']) {
      expect(branch(m, routine, 'plain_target', ENDBR_EN | NO_TRACK_EN)).toMatchObject({ vector: DONE })
      expect([m.reg(R12), m.cet]).toEqual([1, ENDBR_EN | NO_TRACK_EN])
      expect(branch(m, routine, 'plain_target', ENDBR_EN)).toEqual(missing('plain_target'))
    }
    for (const routine of ['jmp_register', 'fs_jmp_memory', 'notrack_far_jmp'])
      expect(branch(m, routine, 'plain_target', ENDBR_EN | NO_TRACK_EN)).toEqual(missing('plain_target'))
  })

  test('SUPPRESS lets near indirect branches go anywhere, until ENDBR64 clears it [CET-52]', () => {
    expect(branch(m, 'suppressed_then_plain', 'bounce_plain', ENDBR_EN | SUPPRESS)).toMatchObject({ vector: DONE })
    expect([m.reg(R12), m.cet]).toEqual([1, ENDBR_EN | SUPPRESS])
    const after = branch(m, 'suppressed_then_plain', 'bounce_endbr', ENDBR_EN | SUPPRESS)
    expect(after).toEqual({ vector: CP, errorCode: 3, rip: m.reg(RBX) })
    expect([m.reg(R12), m.cet]).toEqual([1, ENDBR_EN | TRACKER])
  })

  test('a far branch is tracked though suppressed, and ends the suppression [CET-52]', () => {
    expect(branch(m, 'far_jmp', 'plain_target', ENDBR_EN | SUPPRESS)).toEqual(missing('plain_target'))
    expect(m.cet).toBe(ENDBR_EN | TRACKER)
  })

  test('the legacy bitmap excuses the pages it lists, and suppresses tracking unless SUPPRESS_DIS [CET-52]', () => {
    const page = addressOf('plain_target') >> 12
    const legacy = ENDBR_EN | LEG_IW_EN | LEGACY_BITMAP
    m.setByte(LEGACY_BITMAP + (page >> 3), ~(1 << (page & 7)))
    expect(branch(m, 'jmp_register', 'plain_target', legacy)).toEqual(missing('plain_target'))
    m.setByte(LEGACY_BITMAP + (page >> 3), 1 << (page & 7))
    expect(branch(m, 'jmp_register', 'plain_target', legacy)).toMatchObject({ vector: DONE })
    expect([m.reg(R12), m.cet, m.processor.retired]).toEqual([1, legacy | SUPPRESS, 2])
    expect(branch(m, 'jmp_register', 'plain_target', legacy | SUPPRESS_DIS)).toMatchObject({ vector: DONE })
    expect([m.reg(R12), m.cet]).toEqual([1, legacy | SUPPRESS_DIS])
    // Without LEG_IW_EN nobody looks.
    expect(branch(m, 'jmp_register', 'plain_target', ENDBR_EN | LEGACY_BITMAP)).toEqual(missing('plain_target'))
    // An instruction that is excused is executed as it is, be it none.
    expect(branch(m, 'jmp_register', 'invalid_target', legacy)).toMatchObject({ vector: 6, rip: addressOf('invalid_target') })
  })

  test('a legacy bitmap that is not mapped is a page fault at the target [CET-52]', () => {
    expect(branch(m, 'jmp_register', 'plain_target', ENDBR_EN | LEG_IW_EN | 0x7000000)).toMatchObject({
      vector: PF,
      errorCode: m.cpl === 3 ? 4 : 0,
      rip: addressOf('plain_target'),
    })
    expect(m.cet & TRACKER).toBe(TRACKER)
  })

  test('the target may be the start of another page, or cross into one [CET-52]', () => {
    for (const target of ['page_target', 'crossing_target']) {
      expect(branch(m, 'jmp_register', target)).toMatchObject({ vector: DONE })
      expect([m.reg(R12), m.cet]).toEqual([1, ENDBR_EN])
    }
  })

  test('a target that cannot be fetched is a page fault, with the tracker still waiting [CET-52]', () => {
    m.cet = ENDBR_EN
    m.setReg(REG.RAX, 0x7000000)
    expect(m.run('jmp_register')).toMatchObject({ vector: PF, rip: 0x7000000 })
    expect(m.cet).toBe(ENDBR_EN | TRACKER)
  })

  test('a run that stops between branch and target still checks the target [CET-52, CET-57]', () => {
    m.cet = ENDBR_EN
    m.setReg(REG.RAX, 'plain_target')
    expect(m.run('jmp_register', 1)).toMatchObject({ vector: 'budget', rip: addressOf('plain_target') })
    expect(m.cet).toBe(ENDBR_EN | TRACKER)
    expect(m.go()).toEqual(missing('plain_target'))
  })

  test('a single step between branch and target does not lose the tracker [CET-52, CET-57]', () => {
    for (const [target, last] of [
      ['endbr_target', { vector: 1, rip: addressOf('endbr_target') + 4 }],
      ['plain_target', missing('plain_target')],
    ] as const) {
      m.ctx.rflags |= 0x100
      expect(branch(m, 'jmp_register', target)).toMatchObject({ vector: 1, rip: addressOf(target) })
      expect(m.cet).toBe(ENDBR_EN | TRACKER)
      expect(m.go()).toMatchObject(last)
      m.ctx.rflags &= ~0x100
    }
  })

  test('together with a shadow stack [CET-51, CET-52]', () => {
    m.ssp = m.shadowTop
    expect(branch(m, 'indirect_call_and_return', 'endbr_return', ENDBR_EN | SH_STK_EN)).toMatchObject({ vector: DONE })
    expect([m.reg(R12), m.reg(REG.R13)]).toEqual([1, m.shadowTop])
    expect(branch(m, 'indirect_call_and_return', 'plain_return', ENDBR_EN | SH_STK_EN)).toEqual(missing('plain_return'))
    m.ssp = m.shadowTop
    expect(branch(m, 'notrack_call', 'plain_return', ENDBR_EN | SH_STK_EN | NO_TRACK_EN)).toMatchObject({ vector: DONE })
    m.ssp = m.shadowTop
    expect(branch(m, 'hot_loop', 'endbr_return', ENDBR_EN | SH_STK_EN)).toMatchObject({ vector: DONE })
  })
})

describe('indirect-branch tracking, hot and cold', () => {
  const switches = [{}, { regionLimit: 1 }, ...ENGINE_SWITCHES.map((name) => ({ [name]: false }))]
  test.each(switches)('2,000 indirect calls and jumps, then one that misses, with %o [CET-52]', (engine) => {
    for (const { make } of MACHINES.slice(0, 3)) {
      const m = make(engine)
      m.cet = ENDBR_EN
      m.setReg(REG.RAX, 'endbr_return')
      m.setReg(RBX, 'plain_return')
      m.setReg(REG.RCX, 1000)
      expect(m.run('hot_then_miss')).toEqual(missing('plain_return'))
      expect([m.reg(R12), m.reg(REG.RCX), m.cet]).toEqual([1000, 0, ENDBR_EN | TRACKER])
      // lea; of each round call, endbr, inc, ret, jmp, endbr, dec, jnz; then call.
      expect(m.processor.retired).toBe(1 + 8 * 1000 + 1)
    }
  })
})
