import { describe, expect, it } from 'vitest'
import { CTL } from '../../../../src/machine/execution-context.ts'
import { HOST_EXIT_EXCEPTION, HOST_EXIT_SYSCALL } from '../../../../src/machine/exits.ts'
import { MXCSR, VECTOR, X87_FCW, X87_FDP, X87_FIP, X87_FOP, X87_FSW, X87_FTW } from '../../../../src/machine/memory-map.ts'
import { BareHost } from '../../bare-host.ts'
import { iced } from '../../differential/forms.ts'
import { instruction, SYSCALL } from './assemble.ts'

const { Code, Register } = iced
const OSXMMEXCPT = 1 << 10
const XM = 19
const MF = 16

function hostWith(code: ArrayLike<number>[], doubles: Record<number, number> = {}, mxcsr = 0x1f80): BareHost {
  const host = BareHost.withCode([...code.flatMap((bytes) => Array.from(bytes)), ...SYSCALL])
  const processor = host.machine.processors[0]
  processor.setMxcsr(mxcsr)
  for (const [n, value] of Object.entries(doubles))
    host.machine.mem.view.setFloat64(processor.registerFile + VECTOR + Number(n) * 64, value, true)
  return host
}
const file = (host: BareHost) => host.machine.processors[0].registerFile
const double = (host: BareHost, n: number) => host.machine.mem.view.getFloat64(file(host) + VECTOR + n * 64, true)
const mxcsrOf = (host: BareHost) => host.machine.processors[0].registerFile32(MXCSR)

const DIVSD = instruction(Code.Divsd_xmm_xmmm64, Register.XMM1, Register.XMM2)

describe('unmasked SIMD floating-point exceptions', () => {
  it('are #XM with nothing written and the flag in MXCSR', () => {
    const host = hostWith([DIVSD], { 1: 3, 2: 0 }, 0x1f80 & ~0x200)
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(host.machine.processors[0].fault).toMatchObject({ vector: XM, hasErrorCode: false })
    expect(host.ctx.rip).toBe(0x10000n)
    expect(double(host, 1)).toBe(3)
    expect(mxcsrOf(host)).toBe(0x1d84)
  })

  it('are #UD when CR4.OSXMMEXCPT is clear', () => {
    const host = hostWith([DIVSD], { 1: 3, 2: 0 }, 0x1f80 & ~0x200)
    host.ctx.setCtl(CTL.CR4, host.ctx.ctlLo(CTL.CR4) & ~OSXMMEXCPT, 0)
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(host.machine.processors[0].fault.vector).toBe(6)
  })

  it('masked: the default result, and the flag', () => {
    const host = hostWith([DIVSD], { 1: 3, 2: 0 })
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect(double(host, 1)).toBe(Number.POSITIVE_INFINITY)
    expect(mxcsrOf(host)).toBe(0x1f84)
  })

  it('{sae} raises none and sets no flag', () => {
    const divide = Uint8Array.from([0x62, 0xf1, 0xf7, 0x18, 0x5e, 0xca]) // vdivsd xmm1, xmm1, xmm2, {rn-sae}
    const host = hostWith([divide], { 1: 3, 2: 0 }, 0x1f80 & ~0x200)
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect(double(host, 1)).toBe(Number.POSITIVE_INFINITY)
    expect(mxcsrOf(host)).toBe(0x1d80)
  })
})

describe('MXCSR', () => {
  it.each([
    ['an inexact sum sets PE', Code.Addsd_xmm_xmmm64, 0.1, 0.2, 0x20],
    ['an exact sum does not', Code.Addsd_xmm_xmmm64, 0.5, 0.25, 0],
    ['an exact product does not', Code.Mulsd_xmm_xmmm64, 3, 7, 0],
    ['an exact quotient does not', Code.Divsd_xmm_xmmm64, 21, 7, 0],
    ['an inexact quotient sets PE', Code.Divsd_xmm_xmmm64, 1, 3, 0x20],
    ['an exact root does not', Code.Sqrtsd_xmm_xmmm64, 0, 49, 0],
    ['a denormal operand sets DE', Code.Addsd_xmm_xmmm64, 1, 5e-324, 0x22],
    ['a denormal operand of a comparison sets DE', Code.Ucomisd_xmm_xmmm64, 1, 5e-324, 2],
    ['a tiny product sets UE and PE', Code.Mulsd_xmm_xmmm64, 1e-200, 1e-200, 0x30],
    ['an overflow sets OE and PE', Code.Mulsd_xmm_xmmm64, 1e200, 1e200, 0x28],
    ['a number too large for an integer sets IE', Code.Cvttsd2si_r32_xmmm64, 0, 3e9, 1],
  ])('%s', (_what, code, a, b, flags) => {
    const operands = code === Code.Cvttsd2si_r32_xmmm64 ? [Register.EAX, Register.XMM2] : [Register.XMM1, Register.XMM2]
    for (const before of [0x1f80, 0x1fa0]) {
      const host = hostWith([instruction(code, ...operands)], { 1: a, 2: b }, before)
      expect(host.run()).toBe(HOST_EXIT_SYSCALL)
      expect(mxcsrOf(host)).toBe(before | flags)
    }
  })

  it('rounding control is obeyed also for exact-looking sums', () => {
    for (const [mxcsr, expected] of [
      [0x1fa0, 1],
      [0x3fa0, 1],
      [0x5fa0, 1.0000000000000002],
      [0x7fa0, 1],
    ] as const) {
      const host = hostWith([instruction(Code.Addsd_xmm_xmmm64, Register.XMM1, Register.XMM2)], { 1: 1, 2: 1e-30 }, mxcsr)
      host.run()
      expect(double(host, 1)).toBe(expected)
    }
    // x - x is -0 when rounding down
    const host = hostWith([instruction(Code.Subsd_xmm_xmmm64, Register.XMM1, Register.XMM2)], { 1: 5, 2: 5 }, 0x3fa0)
    host.run()
    expect(Object.is(double(host, 1), -0)).toBe(true)
  })
})

describe('x87', () => {
  const FNINIT = [0xdb, 0xe3]
  const FLD1 = [0xd9, 0xe8]
  const FLDZ = [0xd9, 0xee]
  const FDIVP = [0xde, 0xf9]
  const FWAIT = [0x9b]
  /** fldcw [0x20000] */
  const FLDCW = [0xd9, 0x2c, 0x25, 0, 0, 2, 0]
  const state = (host: BareHost, offset: number) => host.machine.mem.view.getUint16(file(host) + offset, true)

  it('an unmasked exception waits for the next waiting instruction', () => {
    const host = hostWith([FNINIT, FLDCW, FLD1, FLDZ, FDIVP, [0xdf, 0xe0], FWAIT]) // ... fnstsw ax; fwait
    host.write(0x20000, [0x7b, 3])
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(host.machine.processors[0].fault.vector).toBe(MF)
    expect(host.ctx.rip).toBe(0x10000n + 2n + 7n + 2n + 2n + 2n + 2n)
    // ZE, ES and B; TOP = 6: nothing was popped
    expect(Number(host.ctx.reg(0) & 0xffffn)).toBe(0xb084)
    expect(state(host, X87_FOP)).toBe(0x6f9)
    expect(host.machine.mem.u64At(file(host) + X87_FIP)).toBe(0x1000dn)
  })

  it('FIP is that of the last instruction that is no control instruction; FDP stays without an exception', () => {
    const host = hostWith([FNINIT, [0xdd, 0x04, 0x25, 0, 0, 2, 0], [0xd9, 0x3c, 0x25, 8, 0, 2, 0]]) // fld m64; fnstcw
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect(host.machine.mem.u64At(file(host) + X87_FIP)).toBe(0x10002n)
    expect(host.machine.mem.u64At(file(host) + X87_FDP)).toBe(0n)
    expect([...host.read(0x20008, 2)]).toEqual([0x7f, 3])
  })

  it('CR0.TS and CR0.EM raise #NM, FWAIT only with CR0.MP and CR0.TS', () => {
    const vectorOf = (code: number[], cr0: number): number | null => {
      const host = hostWith([code])
      host.ctx.setCtl(CTL.CR0, cr0, 0)
      return host.run() === HOST_EXIT_EXCEPTION ? host.machine.processors[0].fault.vector : null
    }
    const CR0 = 0x80050031 | 0
    expect(vectorOf(FLD1, CR0 | 8)).toBe(7)
    expect(vectorOf(FLD1, CR0 | 4)).toBe(7)
    expect(vectorOf(FLD1, CR0)).toBe(null)
    expect(vectorOf(FWAIT, CR0 | 8)).toBe(null)
    expect(vectorOf(FWAIT, CR0 | 8 | 2)).toBe(7)
    expect(vectorOf(FWAIT, CR0 | 4)).toBe(null)
  })

  it('a store that faults leaves the stack as it was', () => {
    const host = hostWith([FNINIT, FLD1, [0xdd, 0x1c, 0x25, 0, 0, 5, 0]]) // fstp qword [0x50000]
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(host.machine.processors[0].fault).toMatchObject({ vector: 14, addressLo: 0x50000 })
    expect(state(host, X87_FSW)).toBe(7 << 11)
    expect(state(host, X87_FTW) & 0xff).toBe(0x80)
  })

  it('FNSAVE and FRSTOR carry the whole state', () => {
    const host = hostWith([FNINIT, FLD1, FLDZ, [0xdd, 0x34, 0x25, 0, 0, 2, 0], [0xdd, 0x24, 0x25, 0, 0, 2, 0]])
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect(state(host, X87_FCW)).toBe(0x37f)
    expect(state(host, X87_FSW)).toBe(6 << 11)
    expect(state(host, X87_FTW) & 0xff).toBe(0xc0)
  })

  it('FCOMI and FCMOV pass conditions through RFLAGS', () => {
    // fld1; fldz; fcomi st, st(1); fcmovb st, st(1); fistp dword [0x20000]
    const host = hostWith([FNINIT, FLD1, FLDZ, [0xdb, 0xf1], [0xda, 0xc1], [0xdb, 0x1c, 0x25, 0, 0, 2, 0]])
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect([...host.read(0x20000, 4)]).toEqual([1, 0, 0, 0])
  })
})
