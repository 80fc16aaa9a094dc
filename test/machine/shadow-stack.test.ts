import { describe, expect, it } from 'vitest'
import { CTL } from '../../src/machine/execution-context.ts'
import { HOST_EXIT_EXCEPTION, HOST_EXIT_SYSCALL } from '../../src/machine/exits.ts'
import { PHYSICAL_BASE, PL3_SSP, U_CET } from '../../src/machine/memory-map.ts'
import { BareHost } from './bare-host.ts'

const STACK = 0x40000

/** Code at 0x10000 with a user shadow stack of one page at 0x40000, SSP at its end. */
function shadowHost(code: number[], cet = 1): BareHost {
  const host = BareHost.withCode(code)
  host.map(STACK, 0x80000, 1, { shadow: true })
  host.ctx.setCtl(CTL.CR4, host.ctx.ctlLo(CTL.CR4) | 0x800000, 0)
  const p = host.machine.processors[0]
  p.setRegisterFile32(U_CET, cet)
  p.setRegisterFile32(PL3_SSP, STACK + 4096)
  return host
}
const word = (host: BareHost, linear: number): bigint => host.machine.mem.u64At(PHYSICAL_BASE + 0x80000 + linear - STACK)
const pl3 = (host: BareHost): number => host.machine.processors[0].registerFile32(PL3_SSP)

describe('user shadow stacks', () => {
  it('CALL pushes the return address on both stacks and RET compares them', () => {
    // call +2 ; syscall ; (f:) ret
    const host = shadowHost([0xe8, 2, 0, 0, 0, 0x0f, 0x05, 0xc3])
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect(pl3(host)).toBe(STACK + 4096)
    expect(word(host, STACK + 4088)).toBe(0x10005n)
  })

  it('a return address changed on the stack is #CP(1) with RSP and RIP at the RET', () => {
    // call f ; f: add qword [rsp], 1 ; ret
    const host = shadowHost([0xe8, 0x01, 0, 0, 0, 0x90, 0x48, 0x83, 0x04, 0x24, 0x01, 0xc3])
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(host.machine.processors[0].fault).toMatchObject({ vector: 21, errorCode: 1 })
    expect(host.ctx.rip).toBe(0x1000bn)
    expect(host.ctx.reg(4)).toBe(0x2f000n - 8n)
  })

  it('CALL with displacement 0 pushes nothing on the shadow stack', () => {
    // call 0 ; rdsspq rax ; syscall
    const host = shadowHost([0xe8, 0, 0, 0, 0, 0xf3, 0x48, 0x0f, 0x1e, 0xc8, 0x0f, 0x05])
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect(host.ctx.reg(0)).toBe(BigInt(STACK + 4096))
  })

  it('ordinary stores to a shadow stack and shadow accesses to an ordinary page are page faults', () => {
    // mov [0x40ff8], rax
    const store = shadowHost([0x48, 0x89, 0x04, 0x25, 0xf8, 0x0f, 0x04, 0])
    expect(store.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(store.machine.processors[0].fault).toMatchObject({ vector: 14, errorCode: 7 })
    // call with SSP in an ordinary page
    const call = shadowHost([0xe8, 1, 0, 0, 0, 0x90, 0xc3])
    call.machine.processors[0].setRegisterFile32(PL3_SSP, 0x21000)
    expect(call.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(call.machine.processors[0].fault).toMatchObject({ vector: 14, errorCode: 0x47, addressLo: 0x20ff8 })
  })

  it('WRSSQ writes only when WR_SHSTK_EN is set', () => {
    // mov rbx, 0x40ff0 ; mov rax, 0x1234 ; wrssq [rbx], rax ; syscall
    const code = [
      0x48, 0xc7, 0xc3, 0xf0, 0x0f, 0x04, 0, 0x48, 0xc7, 0xc0, 0x34, 0x12, 0, 0, 0x48, 0x0f, 0x38, 0xf6, 0x03, 0x0f, 0x05,
    ]
    const refused = shadowHost(code)
    expect(refused.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(refused.machine.processors[0].fault.vector).toBe(6)
    const host = shadowHost(code, 3)
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect(word(host, STACK + 4080)).toBe(0x1234n)
  })

  it('RSTORSSP takes a restore token, leaves the previous SSP, and SAVEPREVSSP makes a restore token of it', () => {
    // mov rbx, 0x407f8 ; rstorssp [rbx] ; saveprevssp ; rdsspq rax ; syscall
    const code = [
      0x48, 0xc7, 0xc3, 0xf8, 0x07, 0x04, 0, 0xf3, 0x0f, 0x01, 0x2b, 0xf3, 0x0f, 0x01, 0xea, 0xf3, 0x48, 0x0f, 0x1e, 0xc8, 0x0f,
      0x05,
    ]
    const host = shadowHost(code)
    host.machine.mem.setU64At(PHYSICAL_BASE + 0x80000 + 0x7f8, BigInt(STACK + 0x800) | 1n)
    host.machine.processors[0].setRegisterFile32(PL3_SSP, STACK + 0x1000)
    expect(host.run()).toBe(HOST_EXIT_SYSCALL)
    expect(host.ctx.reg(0)).toBe(BigInt(STACK + 0x800))
    expect(word(host, STACK + 0xff8)).toBe(BigInt(STACK + 0x1000) | 1n)
  })

  it('RSTORSSP of anything else is #CP(4)', () => {
    const host = shadowHost([0x48, 0xc7, 0xc3, 0xf8, 0x07, 0x04, 0, 0xf3, 0x0f, 0x01, 0x2b])
    expect(host.run()).toBe(HOST_EXIT_EXCEPTION)
    expect(host.machine.processors[0].fault).toMatchObject({ vector: 21, errorCode: 4 })
  })
})
