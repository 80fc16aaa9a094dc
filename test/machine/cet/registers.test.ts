import { describe, expect, test } from 'vitest'
import { buildCpuModel } from '../../../src/isa/build-cpu-model.ts'
import { icelakeServer } from '../../../src/isa/cpu-models/xeon-2017-2021.ts'
import { CTL, REG } from '../../../src/machine/execution-context.ts'
import { PL0_SSP, PL3_SSP, U_CET, XSS } from '../../../src/machine/memory-map.ts'
import {
  BareCet,
  type CetMachine,
  DATA,
  DONE,
  ENDBR_EN,
  GP,
  GuestCet,
  SH_STK_EN,
  SUPPRESS,
  TRACKER,
  WR_SHSTK_EN,
} from './cet-machine.ts'
import { addressOf } from './code-image.ts'

const { RAX, RBX, RCX, RDX, RDI } = REG
const [U_CET_MSR, S_CET_MSR, PL0_MSR, PL3_MSR, TABLE_MSR] = [0x6a0, 0x6a2, 0x6a4, 0x6a7, 0x6a8]
const CR4_CET = 0x800000
const CR0_WP = 0x10000

function wrmsr(m: CetMachine, index: number, value: bigint): number | string {
  m.setReg(RCX, index)
  m.ctx.setReg(RAX, value & 0xffffffffn)
  m.ctx.setReg(RDX, (value >> 32n) & 0xffffffffn)
  return m.run('do_wrmsr').vector
}
function rdmsr(m: CetMachine, index: number): bigint {
  m.setReg(RCX, index)
  expect(m.run('do_rdmsr')).toMatchObject({ vector: DONE })
  return m.ctx.reg(RAX) | (m.ctx.reg(RDX) << 32n)
}

/** Bits 9:6; 10 and 11 together; a base that is not canonical in 57 bits. The model has both kinds of CET, and LA57. */
const BAD_SETTINGS = [0x40n, 0x80n, 0x200n, BigInt(SUPPRESS | TRACKER), 1n << 60n, 1n << 56n]
const GOOD_SETTINGS = [0x3n, 0x3fn, 0x400n, 0xff0000000000003fn, 0x4004n, 0xfffffffff000n]
const BAD_POINTERS = [1n, 2n, 1n << 56n, 0xfe00000000000000n]
const GOOD_POINTERS = [0n, 4n, 0x7fff00000008n, 0xffffc90000000ff8n, (1n << 56n) - 8n]

describe.each([
  ['bare', () => new BareCet(0)],
  ['guest', () => new GuestCet(0)],
] as const)('registers of CET, %s', (_name, make) => {
  test('WRMSR refuses with #GP(0) what the processor does not take, and leaves the register; RDMSR gives back the rest [CET-03]', () => {
    const m = make()
    m.ctx.setCtl(CTL.CR4, m.ctx.ctlLo(CTL.CR4) & ~CR4_CET, 0)
    for (const [index, good, bad] of [
      [U_CET_MSR, GOOD_SETTINGS, BAD_SETTINGS],
      [S_CET_MSR, GOOD_SETTINGS, BAD_SETTINGS],
      [PL0_MSR, GOOD_POINTERS, BAD_POINTERS],
      [PL0_MSR + 1, GOOD_POINTERS, BAD_POINTERS],
      [PL0_MSR + 2, GOOD_POINTERS, BAD_POINTERS],
      [PL3_MSR, GOOD_POINTERS, BAD_POINTERS],
      [TABLE_MSR, [1n, 3n, ...GOOD_POINTERS], [1n << 56n, 1n << 63n]],
    ] as const) {
      for (const value of good) {
        expect([index, value, wrmsr(m, index, value)]).toEqual([index, value, DONE])
        expect(rdmsr(m, index)).toBe(value)
      }
      const last = rdmsr(m, index)
      for (const value of bad) {
        expect([index, value, wrmsr(m, index, value)]).toEqual([index, value, GP])
        expect(rdmsr(m, index)).toBe(last)
      }
    }
  })

  test('enabling by WRMSR holds from the next instruction on [CET-50]', () => {
    const m = make()
    m.ctx.setCtl(CTL.SSP, 0x7000000, 0)
    expect(wrmsr(m, S_CET_MSR, BigInt(ENDBR_EN | TRACKER))).toBe(21)
    expect(m.ctx.rip).toBe(BigInt(addressOf('do_wrmsr') + 2))
    m.ctx.setCtl(CTL.S_CET, 0, 0)
    expect(wrmsr(m, S_CET_MSR, BigInt(SH_STK_EN))).toBe(DONE)
    expect(m.run('call_and_return')).toMatchObject({ vector: 14, errorCode: 0x42 })
  })

  test('XSAVES writes CET_U and CET_S as they lie in the registers, XRSTORS brings them back; IA32_S_CET is not moved [CET-01, CET-02, CET-58]', () => {
    const m = make()
    const image = DATA + 0x1000
    const components = 0x1800
    const p = m.processor
    const file = (place: number): bigint => m.host.machine.mem.u64At(p.registerFile + place)
    const setFile = (place: number, value: bigint): void => m.host.machine.mem.setU64At(p.registerFile + place, value)
    p.setRegisterFile32(XSS, components)
    const values = [0x7001n, 0xffffc90000000ff8n, 0x1000n, 0x2000n, 0x7fff00000008n]
    const places = [U_CET, PL0_SSP, PL0_SSP + 8, PL0_SSP + 16, PL3_SSP]
    places.forEach((place, i) => {
      setFile(place, values[i])
    })
    m.ctx.setCtl(CTL.S_CET, WR_SHSTK_EN, 0)
    m.setReg(RBX, image)
    m.setReg(RDI, components)
    expect(m.run('do_xsaves')).toMatchObject({ vector: DONE })
    expect([m.word(image + 512), m.word(image + 520)]).toEqual([0x1800n, (1n << 63n) | 0x1800n])
    const words = [0, 8, 16, 24, 32].map((offset) => m.word(image + 576 + offset))
    expect(words).toEqual([values[0], values[4], values[1], values[2], values[3]])
    for (const place of places) setFile(place, 0n)
    expect(m.run('do_xrstors')).toMatchObject({ vector: DONE })
    expect(places.map(file)).toEqual(values)
    expect(m.ctx.ctlLo(CTL.S_CET)).toBe(WR_SHSTK_EN)
    // Both initial: the bits stay clear, and the other way round.
    m.setWord(image + 512, 0n)
    expect(m.run('do_xrstors')).toMatchObject({ vector: DONE })
    expect(places.map(file)).toEqual([0n, 0n, 0n, 0n, 0n])
    expect(m.run('do_xsaves')).toMatchObject({ vector: DONE })
    expect(m.word(image + 512)).toBe(0n)
  })

  test('XRSTORS faults with what WRMSR refuses, and loads nothing [CET-58]', () => {
    const m = make()
    const image = DATA + 0x1000
    m.processor.setRegisterFile32(XSS, 0x1800)
    m.setReg(RBX, image)
    m.setReg(RDI, 0x1800)
    for (let offset = 0; offset < 640; offset += 8) m.setWord(image + offset, 0n)
    m.setWord(image + 512, 0x1800n)
    m.setWord(image + 520, (1n << 63n) | 0x1800n)
    const [cetU, pl3, pl0, pl1, pl2] = [0, 8, 16, 24, 32].map((offset) => image + 576 + offset)
    m.userCet = 0x1003
    for (const [at, bad] of [
      [cetU, BAD_SETTINGS],
      [pl3, BAD_POINTERS],
      [pl0, BAD_POINTERS],
      [pl1, BAD_POINTERS],
      [pl2, BAD_POINTERS],
    ] as const) {
      for (const value of bad) {
        m.setWord(at, value)
        expect([at, value, m.run('do_xrstors').vector]).toEqual([at, value, GP])
        expect(m.userCet).toBe(0x1003)
      }
      m.setWord(at, 0n)
    }
    expect(m.run('do_xrstors')).toMatchObject({ vector: DONE })
    expect(m.userCet).toBe(0)
  })
})

describe('CR0 and CR4', () => {
  const CR4 = 0x4406a0
  function machine(): CetMachine {
    const m = new BareCet(0)
    m.ctx.setCtl(CTL.CR4, CR4, 0)
    return m
  }
  function write(m: CetMachine, register: 'cr0' | 'cr4', value: number): number | string {
    m.setReg(RAX, value >>> 0)
    return m.run(`mov_to_${register}`).vector
  }

  test('CR4.CET needs CR0.WP, and CR0.WP stays while CR4.CET is set [CET-06]', () => {
    const m = machine()
    const cr0 = m.ctx.ctlLo(CTL.CR0)
    expect(write(m, 'cr4', CR4 | CR4_CET)).toBe(DONE)
    expect(write(m, 'cr0', cr0 & ~CR0_WP)).toBe(GP)
    expect(m.ctx.ctlLo(CTL.CR0)).toBe(cr0)
    expect(write(m, 'cr4', CR4)).toBe(DONE)
    expect(write(m, 'cr0', cr0 & ~CR0_WP)).toBe(DONE)
    expect(write(m, 'cr4', CR4 | CR4_CET)).toBe(GP)
    expect(m.ctx.ctlLo(CTL.CR4)).toBe(CR4)
  })

  test('LMSW cannot clear WP: it reaches bits 3:0 only [CET-06]', () => {
    const m = machine()
    expect(write(m, 'cr4', CR4 | CR4_CET)).toBe(DONE)
    const cr0 = m.ctx.ctlLo(CTL.CR0)
    m.setReg(RAX, 0xa)
    expect(m.run('lmsw')).toMatchObject({ vector: DONE })
    expect(m.ctx.ctlLo(CTL.CR0)).toBe((cr0 & ~14) | 0xa)
  })

  test('a model with neither kind of CET: CR4.CET is reserved, the registers do not exist [CET-06]', () => {
    const m = new BareCet(0, {}, buildCpuModel(icelakeServer))
    m.ctx.setCtl(CTL.CR4, CR4, 0)
    expect(write(m, 'cr4', CR4 | CR4_CET)).toBe(GP)
    expect(write(m, 'cr4', CR4)).toBe(DONE)
    for (const index of [U_CET_MSR, S_CET_MSR, PL0_MSR, PL3_MSR, TABLE_MSR]) {
      expect(wrmsr(m, index, 0n)).toBe(GP)
      m.setReg(RCX, index)
      expect(m.run('do_rdmsr')).toMatchObject({ vector: GP })
    }
  })

  test('a guest’s MOV to CR4 exits before any check: it is the hypervisor’s [CET-07]', () => {
    const m = new GuestCet(0)
    m.setReg(RAX, 0)
    expect(m.run('mov_to_cr4')).toMatchObject({ vector: 'cr' })
  })
})

describe('VM entry', () => {
  test('fails with CR4.CET set and CR0.WP clear, and nothing runs [CET-07]', () => {
    const m = new GuestCet(0)
    m.ctx.setCtl(CTL.CR0, m.ctx.ctlLo(CTL.CR0) & ~CR0_WP, 0)
    m.vmcs.entryInterruptionInfo = 0x80000030 | 0
    expect(m.run('nothing')).toMatchObject({ vector: 'invalid state', rip: addressOf('nothing') })
    expect(m.vmcs.entryInterruptionInfo).toBe(0x80000030 | 0)
    m.ctx.setCtl(CTL.CR4, m.ctx.ctlLo(CTL.CR4) & ~CR4_CET, 0)
    m.vmcs.entryInterruptionInfo = 0
    expect(m.run('nothing')).toMatchObject({ vector: DONE })
  })

  test('checks IA32_S_CET, SSP and IA32_INTERRUPT_SSP_TABLE_ADDR of the guest [CET-30]', () => {
    const m = new GuestCet(0)
    m.ctx.setCtl(CTL.SSP, 0, 0)
    for (const [slot, good, bad] of [
      [CTL.S_CET, [0n, 0x1000n, 1n << 60n, 0x400n], [0x40n, 0xc00n]],
      [CTL.SSP, [4n, 1n << 56n], [1n, 2n, 1n << 57n]],
      [CTL.INT_SSP_TAB, [1n, (1n << 56n) - 1n], [1n << 56n]],
    ] as const) {
      for (const value of bad) {
        m.ctx.setCtl64(slot, value)
        expect([slot, value, m.run('nothing').vector]).toEqual([slot, value, 'invalid state'])
      }
      for (const value of good) {
        m.ctx.setCtl64(slot, value)
        expect([slot, value, m.run('nothing').vector]).toEqual([slot, value, DONE])
      }
      m.ctx.setCtl64(slot, 0n)
    }
  })

  test('the host’s and the guest’s IA32_S_CET, SSP and table are their own; IA32_U_CET and IA32_PL0..3_SSP are the processor’s [CET-30, CET-33]', () => {
    const m = new GuestCet(0)
    const host = m.host.ctx
    host.setCtl(CTL.SSP, 0x1230, 0)
    m.ctx.setCtl(CTL.S_CET, SH_STK_EN, 0)
    m.setPlSsp(1, 0x5550)
    expect(m.run('call_and_return')).toMatchObject({ vector: DONE })
    expect([host.ctlLo(CTL.SSP), host.ctlLo(CTL.S_CET), host.ctlLo(CTL.INT_SSP_TAB)]).toEqual([0x1230, 0, 0])
    m.setReg(RCX, PL0_MSR + 1)
    expect(rdmsr(m, PL0_MSR + 1)).toBe(0x5550n)
    expect(m.processor.rdmsr(PL0_MSR + 1)).toBe(0x5550n)
  })
})
